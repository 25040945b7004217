"""Train `sample_models/gesture_gru.py` on gestures from a small motion simulator."""

from dataclasses import dataclass

import numpy as np
import training  # puts sample_models/ on sys.path, for the imports below

# isort: split
import gesture_gru as sample
from sample_data import Array, Arrays

SECONDS_PER_STEP = 1 / 50
GRAVITY = 9.81
TRAIN_COUNT, TEST_COUNT, CALIBRATION_COUNT = 8000, 600, 200


@dataclass(frozen=True)
class Performance:
    """How one gesture is performed, whichever it is.

    Attributes:
        start: When it begins, in seconds; the window is 1.28 s.
        duration: How long it takes, in seconds.
        size: How far the hand goes, in metres.
        turn: How far the wrist turns with it, in radians.
        direction: 1 or -1: which way round.
        cycles: How often a repeated movement repeats.
    """

    start: float
    duration: float
    size: float
    turn: float
    direction: int
    cycles: float


def perform(rng: np.random.Generator) -> Performance:
    """Draw a performance."""
    return Performance(
        start=rng.uniform(0.0, 0.45),
        duration=rng.uniform(0.5, 1.1),
        size=0.08 * float(np.exp(rng.normal(0, 0.8))),
        turn=rng.uniform(0.1, 0.8),
        direction=int(rng.choice([-1, 1])),
        cycles=rng.uniform(0.8, 1.4),
    )


def gesture_path(label: str, how: Performance, time: Array) -> tuple[Array, Array]:
    """Return the hand's path (T, 3) in metres and the wrist's angles (T, 3) in radians."""
    progress = ((time - how.start) / how.duration).clip(0, 1)
    eased = progress**3 * (10 - 15 * progress + 6 * progress**2)  # minimum-jerk reaching
    envelope = np.sin(np.pi * progress) ** 2
    phase = how.direction * 2 * np.pi * how.cycles * eased
    path, angles = np.zeros((len(time), 3)), np.zeros((len(time), 3))
    if label == "tap":
        since = (time - how.start - 0.1).clip(0)
        ringing = np.exp(-since / 0.06) * np.sin(2 * np.pi * 9 * since)
        path[:, 2] = -0.06 * how.size * ringing
        angles[:, 0] = 0.06 * how.turn * ringing
    elif label == "shake":
        path[:, 0] = 0.4 * how.size * envelope * np.sin(2.5 * phase)
        angles[:, 2] = 0.3 * how.turn * envelope * np.sin(2.5 * phase)
    elif label in ("swipe_left", "swipe_right"):
        side = 1 if label == "swipe_right" else -1
        path[:, 0] = side * 3 * how.size * eased
        angles[:, 2] = -side * how.turn * eased
    elif label == "circle":
        path[:, 0], path[:, 1] = how.size * (np.cos(phase) - 1), how.size * np.sin(phase)
        angles[:, 0] = 0.3 * how.turn * np.sin(phase)
    elif label == "figure_eight":
        path[:, 0], path[:, 1] = how.size * np.sin(phase), 0.5 * how.size * np.sin(2 * phase)
        angles[:, 0] = 0.3 * how.turn * np.sin(2 * phase)
    elif label == "twist":
        angles[:, 1] = how.direction * 2 * how.turn * envelope
    return path, angles


def rotations(angles: Array) -> Array:
    """Return the rotation matrices (T, 3, 3) of x, y, z angles (T, 3), x applied first."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def simulate(label: str, rng: np.random.Generator) -> Array:
    """Return what the sensor reads (64, 6) while one gesture is performed."""
    # Two steps more on each side than are kept: differences at the ends are one-sided.
    time = np.arange(-2, sample.TIME_STEPS + 2) * SECONDS_PER_STEP
    path, angles = gesture_path(label, perform(rng), time)
    path = path + tremor(time, 0.002, rng)
    angles = angles + tremor(time, 0.02, rng)
    velocity = np.gradient(path, SECONDS_PER_STEP, axis=0)
    acceleration = np.gradient(velocity, SECONDS_PER_STEP, axis=0)
    acceleration[:, 2] += GRAVITY
    grip = rotations(rng.normal(0, 0.3, (1, 3)))
    to_sensor = (rotations(angles) @ grip).transpose(0, 2, 1)
    felt = (to_sensor @ acceleration[..., None])[..., 0] / GRAVITY
    # The angles are small enough for their rates to stand for the body's angular rate.
    turning = np.gradient(angles, SECONDS_PER_STEP, axis=0) @ grip[0]
    read = np.concatenate([felt, turning], axis=1)[2:-2]
    read += rng.normal(0, 0.03, (1, sample.CHANNELS))  # bias
    read += rng.normal(0, rng.uniform(0.02, 0.15), read.shape)
    return read.astype(np.float16)


def tremor(time: Array, amplitude: float, rng: np.random.Generator) -> Array:
    """Return the slow sway of a held hand (T, 3): a few sines under 6 Hz."""
    hertz, phase = rng.uniform(0.5, 6, (4, 1, 3)), rng.uniform(0, 2 * np.pi, (4, 1, 3))
    waves = np.sin(2 * np.pi * hertz * time[None, :, None] + phase) / hertz
    sway: Array = amplitude * rng.uniform(0, 1) * waves.sum(axis=0)
    return sway


def record(count: int, seed: int) -> Arrays:
    """Return `count` simulated gestures, as they are stored, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(sample.LABELS), count)
    motion = np.stack([simulate(sample.LABELS[label], rng) for label in labels])
    return {"motion": motion, "labels": labels.astype(np.uint8)}


def main() -> None:
    """Simulate, train, store, and print the accuracy."""
    training.start(seed=0)
    known, test = record(TRAIN_COUNT, seed=1), record(TEST_COUNT, seed=2)
    model = sample.GestureGru()
    recipe = training.Recipe(epochs=12, learning_rate=8e-3)
    motion = {"motion": known["motion"].astype(np.float32)}
    training.train(model, motion, known["labels"], recipe)
    calibration = {name: array[:CALIBRATION_COUNT] for name, array in known.items()}
    training.save(sample, model, {"test": test, "calibration": calibration})


if __name__ == "__main__":
    main()
