"""Processing that the sample models do not declare: every kind and most options, with no model."""

import numpy as np

from edgekit.artifact import Artifact
from edgekit.packages import Card, Cargo
from edgekit.packages._selfcheck import SelfCheck
from edgekit.processing.binding import bind
from edgekit.processing.schema import read
from edgekit.tensors import DType, Signature, TensorSpec

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "##a", "fun", "über", "##s"]
PIECES += ['say "what??/"', "naïve", "é", "##é", "##ßen", "stra", "日", "##本"]
PHOTO = {"kind": "image", "divide_by": 255.0, "mean": [0.485, 0.456, 0.406], "std": [0.2, 0.3, 0.4]}
SOUND = {"kind": "log_mel", "sample_rate": 8000, "samples": 1600, "high_hz": 3900, "mels": 12}
LETTERS = list("abcdefgh")


def image(dtype="float32", shape=(1, 3, 12, 16), **options):
    return {"input": {**PHOTO, **options}}, {}, {"input": (dtype, shape)}, {}


def sound(shape=(1, 12, 11), **options):
    given = {"frame": 240, "hop": 136, "fft": 256, **SOUND, **options}
    return {"input": given}, {}, {"input": ("float32", shape)}, {}


def scores(**options):
    given = {"kind": "classes", "output": "out", "labels": LETTERS, **options}
    return {}, {"result": given}, {}, {"out": ("float32", (1, 8))}


def found(**options):
    given = {"kind": "boxes", "corners": "b", "scores": "s", "labels": LETTERS[:3], **options}
    outputs = {"b": ("float32", (1, 40, 4)), "s": ("float32", (1, 40, 3))}
    return {}, {"result": given}, {}, outputs


def text(**options):
    given = {"kind": "tokens", "ids": "ids", "vocabulary": "words.txt", "length": 7, **options}
    given |= {"padding": "[PAD]", "unknown": "[UNK]"}
    return {"input": given}, {}, {"ids": ("int32", (1, 7)), "mask": ("float32", (1, 7))}, {}


SIZE = {"size": [12, 16]}
CASES = {
    "stretch": image(resize="stretch", **SIZE),
    "bilinear": image(resize="stretch", interpolation="bilinear", channels="bgr", **SIZE),
    "nearest": image(
        "uint8", resize="stretch", interpolation="nearest", mean=0, std=1, divide_by=1, **SIZE
    ),
    "letterbox": image(resize="letterbox", fill=114.0, **SIZE),
    "crop": image(resize="shorter", size=20, crop=[12, 16], interpolation="antialias"),
    "last": image(
        "int8",
        (1, 12, 16, 3),
        layout="nhwc",
        resize="letterbox",
        interpolation="area",
        mean=0.5,
        std=0.01,
        **SIZE,
    ),
    "gray": image(
        "float32", (1, 1, 12, 16), resize="stretch", channels="gray", mean=0.5, std=2, **SIZE
    ),
    "decibels": sound(log="db", mel_norm="sum", window="hann", clip=[-60, 0], layout="mel_time"),
    "odd_fft": sound(fft=250, spectrum="magnitude", window="none", log="none"),
    "time_mel": sound(
        (11, 12), layout="time_mel", round=True, offset=3.0, low_hz=100, mean=1, std=2
    ),
    "wordpiece": text(tokenizer="wordpiece", begin="[CLS]", end="[SEP]", mask="mask"),
    "words": text(lower=False, end="[SEP]"),
    "numbers": (
        {
            "a": {"kind": "tensor", "divide_by": 3, "mean": [1, 2, 3], "std": 0.7},
            "b": {"kind": "tensor"},
        },
        {},
        {"a": ("float32", (1, 4, 3)), "b": ("int64", (1, 5))},
        {},
    ),
    "top": scores(top_k=3),
    "sigmoid": scores(activation="sigmoid", threshold=0.4),
    "raw": scores(activation="none", top_k=20),
    "boxes": found(),
    "centred": found(format="cxcywh", activation="sigmoid", threshold=0.5, iou=0.2, top_k=5),
    "corner": found(format="xywh", top_k=3),
    "map": (
        {},
        {"result": {"kind": "class_map", "output": "m", "labels": LETTERS[:4]}},
        {},
        {"m": ("float32", (1, 4, 5, 6))},
    ),
    "values": (
        {},
        {
            "plain": {"kind": "values", "output": "v"},
            "unit": {"kind": "values", "output": "v", "normalize": True},
            "whole": {"kind": "values", "output": "w"},
        },
        {},
        {"v": ("float32", (1, 2, 9)), "w": ("int64", (1, 3))},
    ),
}
WORDS = [
    "Unaffable",
    "fun",
    "xyz",
    "ÜBER",
    "über",
    "unaffables",
    "affable",
    "naïve",
    "NAÏVE",
    "É",
    "ÉÉ",
    "straSSen",
    "straßen",
    "STRAẞEN",
    "日本",
    "日",
    "[CLS]",
    "ƒ",
    "a" * 40,
]
SPACES = [" ", "  ", "\t", "\n", "\u2003", "\u00a0", "\u3000", "\x1c"]


def cargo(name, folder):
    """Return a cargo with the processing of a case, and nothing that could be run."""
    (folder / "words.txt").write_text("\n".join(PIECES))
    before, after, *borders = CASES[name]
    sides = [
        tuple(
            TensorSpec(n, DType(kind), shape)
            for n, (kind, shape) in (border or {"spare": ("float32", (1, 2))}).items()
        )
        for border in borders
    ]
    signature = Signature(*sides)
    bound = bind(read({"preprocess": before, "postprocess": after}, folder, "case"), signature)
    artifact = Artifact(folder / "case.tflite", "tflite", "fp32", signature, "", 4, "", "case")
    return Cargo(artifact, {}, bound, SelfCheck([], b""), Card("some_case", "1.0"))


def arguments(bound, random):
    """Return random arguments, plain and unusual ones."""
    return {step.name: _GIVEN[step.kind](step, random) for step in bound.before}


def outputs(bound, random):
    """Return random outputs, with ties among them."""
    return {
        spec.name: (random.randint(-6, 7, spec.shape) / 3).astype(spec.dtype.numpy())
        for spec in bound.signature.outputs
    }


def _picture(_step, random):
    low = 21 if "crop" in str(_step.options["resize"]) else 1
    shape = (*random.randint(low, 60, 2), random.choice([1, 3, 4]))
    return random.randint(0, 256, shape).astype(np.uint8)


def _text(_step, random):
    return "".join(
        random.choice(WORDS) + random.choice(SPACES) for _ in range(random.randint(0, 9))
    )


def _numbers(step, random):
    whole = np.dtype(step.options["dtype"]).kind == "i"
    made = (
        random.randint(-9, 9, step.options["shape"])
        if whole
        else random.normal(size=step.options["shape"])
    )
    return made if whole else made.astype(np.float32)


def _sound(step, random):
    length = random.choice([0, 700, 1600, 2500])
    return random.uniform(-1, 1, length).astype(np.float32)


_GIVEN = {"image": _picture, "tokens": _text, "tensor": _numbers, "log_mel": _sound}
