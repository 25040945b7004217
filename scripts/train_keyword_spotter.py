"""Train `sample_models/keyword_spotter.py` on words spoken by espeak-ng.

Needs `espeak-ng` (Debian: `apt-get install espeak-ng`) on the path.
"""

import io
import subprocess
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch
import training  # puts sample_models/ on sys.path, for the imports below

# isort: split
import keyword_spotter as sample
from sample_data import Array, Arrays
from scipy.signal import resample_poly  # type: ignore[import-untyped]
from torch import Tensor

ACCENTS = ("en-us", "en-us-nyc", "en-029", "en-gb", "en-gb-scotland", "en-gb-x-rp")
# Variants of the synthesizer's own voice; the screeching and robotic novelties are left out.
TRAIN_VOICES = (
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Hugo", "Jacky"),
    *("Lee", "Mario", "Michael", "Mike", "Nguyen", "adam", "anika", "antonio", "aunty"),
    *("benjamin", "boris", "caleb", "ed", "edward", "f1", "f2", "f3", "f5", "grandpa"),
    *("iven", "iven3", "john", "kaukovalta", "klatt2", "klatt4", "linda", "m1", "m2", "m3"),
    *("m5", "m6", "m8", "marcelo", "max", "miguel", "pablo", "pedro", "quincy", "robert"),
    *("shelby", "steph", "travis", "victor"),
)
TEST_VOICES = (
    *("david", "f4", "grandma", "gustave", "iven2", "klatt", "m4", "m7", "michel", "norbert"),
    *("paul", "rob", "sandro", "steph2", "zac", "Marco", "Henrique"),
)
TRAIN_UNKNOWN = (
    *("nose", "gone", "yet", "cup", "town", "lift", "light", "stock", "goat", "often", "one"),
    *("three", "seven", "house", "marvin", "bird", "happy", "tree", "zero", "wow", "stuff", "lamp"),
    *("know it", "upper", "ride", "step", "loft", "mess", "gnome", "darn", "open", "sheila"),
    *("two", "four", "five", "six", "eight", "nine", "bed", "cat", "dog", "visual", "learn"),
    *("forward", "follow", "music", "volume", "hello", "thanks", "please", "window", "kitchen"),
    *("dust", "nut", "bell", "yard", "pop", "tap", "row", "low", "down town", "bought", "caught"),
    *("leaf", "lead", "reef", "white", "bite", "rain", "nap", "apple", "snow", "doll", "shop"),
)
TEST_UNKNOWN = (
    *("note", "got", "yell", "pup", "noun", "late", "rice", "backward", "coat", "office"),
    *TRAIN_UNKNOWN[:10],
)
UNKNOWN_SHARE = 3
"""In training, how many times as many utterances are unknown as are any one keyword."""
TRAIN_PER_WORD, TEST_PER_WORD, CALIBRATION_PER_WORD = 320, 50, 12
MIXES_PER_UTTERANCE = 3


@dataclass(frozen=True)
class Utterance:
    """One thing for espeak-ng to say, and how."""

    text: str
    voice: str
    words_per_minute: int
    pitch: int


def script(label: str, count: int, test: bool, rng: np.random.Generator) -> list[Utterance]:
    """Choose `count` ways to say a word; "unknown" is a word out of a list."""
    unknown, voices = (TEST_UNKNOWN, TEST_VOICES) if test else (TRAIN_UNKNOWN, TRAIN_VOICES)
    return [
        Utterance(
            text=rng.choice(unknown) if label == "unknown" else label,
            voice=f"{rng.choice(ACCENTS)}+{rng.choice(voices)}",
            words_per_minute=int(rng.integers(110, 200)),
            pitch=int(rng.integers(20, 85)),
        )
        for _ in range(count)
    ]


def speak(utterance: Utterance) -> Array:
    """Return the spoken word at 16 kHz without the silence around it, peak 1."""
    command = ["espeak-ng", "-v", utterance.voice, "-s", str(utterance.words_per_minute)]
    command += ["-p", str(utterance.pitch), "--stdout", utterance.text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(spoken)) as recording:
        rate = recording.getframerate()
        pcm = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
    common = gcd(rate, sample.SAMPLE_RATE)
    sound = resample_poly(pcm / 32768, sample.SAMPLE_RATE // common, rate // common)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    word: Array = sound[loud[0] : loud[-1] + 1][: sample.SAMPLE_RATE]
    word /= np.abs(word).max()
    return word


def mix(speech: Array, rng: np.random.Generator) -> Array:
    """Put the word somewhere in a second of noise, at a random loudness and distance."""
    room = sample.SAMPLE_RATE - len(speech)
    sound = np.zeros(sample.SAMPLE_RATE)
    begin = int(rng.integers(0, room + 1))
    sound[begin : begin + len(speech)] = speech
    if rng.random() < 0.3:  # a muffled microphone
        sound = np.convolve(sound, np.full(4, 0.25), mode="same")
    snr_db = rng.uniform(5, 30)
    hiss = noise(rng)
    level = np.std(speech) / np.std(hiss) * 10 ** (-snr_db / 20)
    mixed: Array = (sound + level * hiss) * 10 ** rng.uniform(-1.3, -0.2)
    return mixed.clip(-1, 1)


def noise(rng: np.random.Generator) -> Array:
    """Return a second of noise whose power falls as 1/f to a random power, perhaps with a hum."""
    count = sample.SAMPLE_RATE
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0, 1)
    hiss = np.fft.irfft(spectrum, count)
    if rng.random() < 0.3:
        hum_hz = rng.choice([50, 60, 100, 120])
        hiss += np.std(hiss) * np.sin(2 * np.pi * hum_hz * np.arange(count) / count)
    return hiss


def record(counts: dict[str, int], test: bool, mixes: int, seed: int) -> Arrays:
    """Return levels and labels of `mixes` noisy versions of each label's count of utterances."""
    rng = np.random.default_rng(seed)
    utterances = [u for label in counts for u in script(label, counts[label], test, rng)]
    with ThreadPoolExecutor(2) as pool:  # espeak-ng is a process of its own
        speech = list(pool.map(speak, utterances))
    levels = [sample.mel_decibels(mix(word, rng)) for word in speech for _ in range(mixes)]
    numbers = [sample.LABELS.index(label) for label in counts]
    labels = np.repeat(numbers, [count * mixes for count in counts.values()]).astype(np.uint8)
    order = rng.permutation(len(labels))
    return {"levels": np.stack(levels)[order], "labels": labels[order]}


def calibration(known: Arrays) -> Arrays:
    """Return the first few training samples of each word."""
    words = range(len(sample.LABELS))
    chosen = [np.flatnonzero(known["labels"] == word)[:CALIBRATION_PER_WORD] for word in words]
    return {name: array[np.concatenate(chosen)] for name, array in known.items()}


def change_throat(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Shift the mel bands: much what a longer or shorter throat than the voices' own would do."""
    bands = int(torch.randint(-2, 3, ()))
    return tuple(torch.roll(features, bands, dims=2) for features in batch)


def main() -> None:
    """Speak, train, store, and print the accuracy."""
    training.start(seed=0)
    counts = dict.fromkeys(sample.LABELS, TRAIN_PER_WORD)
    counts["unknown"] *= UNKNOWN_SHARE
    known = record(counts, test=False, mixes=MIXES_PER_UTTERANCE, seed=1)
    test_counts = dict.fromkeys(sample.LABELS, TEST_PER_WORD)
    unheard = record(test_counts, test=True, mixes=1, seed=2)
    model = sample.KeywordSpotter()
    features = {"features": sample.to_features(known["levels"])}
    recipe = training.Recipe(epochs=9, batch_size=128, learning_rate=1e-2)
    training.train(model, features, known["labels"], recipe, change_throat)
    training.save(sample, model, {"test": unheard, "calibration": calibration(known)})


if __name__ == "__main__":
    main()
