"""Train `sample_models/sentiment_transformer.py` on reviews from a small grammar.

A clause scores its adjective, times its degree, turned by negation; a review scores its
clauses, weighed by how they are joined. The label is the sign of the score; reviews whose score
is near zero are left out, because a person could not tell either.
"""

import zlib

import numpy as np
import training  # puts sample_models/ on sys.path, for the imports below

# isort: split
import sentiment_transformer as sample
from sample_data import Arrays

SUBJECTS = ("the {}", "this {}", "its {}", "their {}", "that {}")
NOUNS = (
    *("plot", "acting", "music", "ending", "dialogue", "pacing", "service", "food", "staff"),
    *("screen", "battery", "price", "room", "location", "design", "story", "camera", "sound"),
    *("menu", "coffee", "delivery", "support", "manual", "keyboard", "cast", "humour", "view"),
)
VERBS = ("is", "was", "felt", "seemed")
ADJECTIVES = {
    **dict.fromkeys(("superb", "brilliant", "wonderful", "excellent", "delightful"), 2.0),
    **dict.fromkeys(("good", "nice", "pleasant", "promising", "solid", "charming"), 1.0),
    **dict.fromkeys(("decent", "fine", "acceptable", "adequate"), 0.6),
    **dict.fromkeys(("flawed", "uneven", "forgettable", "bland"), -0.6),
    **dict.fromkeys(("bad", "dull", "weak", "clumsy", "boring", "annoying"), -1.0),
    **dict.fromkeys(("terrible", "awful", "dreadful", "horrible", "disastrous"), -2.0),
}
DEGREES = {
    "": 1.0,
    "slightly": 0.5,
    "somewhat": 0.7,
    "quite": 1.1,
    "very": 1.4,
    "really": 1.4,
    "extremely": 1.8,
}
NEGATIONS = {
    "{verb} {adjective}": 1.0,
    "{verb} not {adjective}": -0.7,
    "{verb} never {adjective}": -0.9,
    "{verb} not {adjective} at all": -1.1,
    "{verb} hardly {adjective}": -0.6,
    "{verb} anything but {adjective}": -1.2,
    "{verb} not without being {adjective}": 0.5,
}
NEGATION_ODDS = (0.46, 0.14, 0.08, 0.1, 0.08, 0.08, 0.06)
JOINS = {
    "{} and {}": (1.0, 1.0),
    "{} but {}": (0.5, 1.3),
    "although {} , {}": (0.5, 1.3),
    "{} although {}": (1.3, 0.5),
    "{} even though {}": (1.3, 0.5),
    "{} . {}": (1.0, 1.0),
    "{} . still , {}": (0.6, 1.2),
}
UNDECIDED = 0.5
HELD_OUT_IN = 6
TRAIN_COUNT, TEST_COUNT, CALIBRATION_COUNT = 50_000, 1000, 256


def clause(rng: np.random.Generator) -> tuple[str, float, bool]:
    """Return a clause, its score, and whether its noun and adjective are a test-only pair."""
    noun, adjective = str(rng.choice(NOUNS)), str(rng.choice(list(ADJECTIVES)))
    degree = str(rng.choice(list(DEGREES)))
    negation = str(rng.choice(list(NEGATIONS), p=NEGATION_ODDS))
    described = negation.format(verb=rng.choice(VERBS), adjective=f"{degree} {adjective}")
    text = f"{str(rng.choice(SUBJECTS)).format(noun)} {described}"
    held_out = zlib.crc32(f"{noun} {adjective}".encode()) % HELD_OUT_IN == 0
    return text, ADJECTIVES[adjective] * DEGREES[degree] * NEGATIONS[negation], held_out


def review(rng: np.random.Generator) -> tuple[str, float, bool]:
    """Return one to three joined clauses, their score, and whether any pair is test-only."""
    text, score, held_out = clause(rng)
    for _ in range(rng.choice(3, p=(0.2, 0.5, 0.3))):
        more, more_score, more_held_out = clause(rng)
        join = str(rng.choice(list(JOINS)))
        text = join.format(text, more)
        weight, more_weight = JOINS[join]
        score = weight * score + more_weight * more_score
        held_out |= more_held_out
    return text, score, held_out


def write(count: int, test: bool, seed: int) -> Arrays:
    """Return the ids and labels of `count` different reviews that fit and are decided."""
    rng = np.random.default_rng(seed)
    labels: dict[str, bool] = {}
    while len(labels) < count:
        text, score, held_out = review(rng)
        text = " ".join(text.split())
        fits = len(text.split()) <= sample.MAX_WORDS
        if held_out == test and abs(score) > UNDECIDED and fits:
            labels[text] = score > 0
    ids = np.stack([sample.encode(text) for text in labels]).astype(np.uint8)
    return {"ids": ids, "labels": np.array(list(labels.values()), np.uint8)}


def write_vocabulary() -> None:
    """Write every word of the grammar beside the sample, padding first."""
    phrases = [*SUBJECTS, *NOUNS, *VERBS, *ADJECTIVES, *DEGREES, *NEGATIONS, *JOINS]
    words = {word for phrase in phrases for word in phrase.split() if "{" not in word}
    lines = [sample.PADDING, sample.UNKNOWN, *sorted(words)]
    path = training.SAMPLES / f"{sample.__name__}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write the vocabulary and reviews, train, store, and print the accuracy."""
    training.start(seed=0)
    write_vocabulary()
    known = write(TRAIN_COUNT, test=False, seed=1)
    test = write(TEST_COUNT, test=True, seed=2)
    model = sample.SentimentTransformer()
    recipe = training.Recipe(epochs=5, learning_rate=2e-3)
    training.train(model, sample.to_inputs(known["ids"]), known["labels"], recipe)
    calibration = {name: array[:CALIBRATION_COUNT] for name, array in known.items()}
    training.save(sample, model, {"test": test, "calibration": calibration})


if __name__ == "__main__":
    main()
