"""Executes artifacts of `faulty_format`: doubled = 2 x, negated = -x, wrong where it was asked."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.errors import UnavailableError
from edgekit.tensors import Signature

FORMATS = ("faulty_format",)
RANK = 1
NOTE = os.environ.get("FAULTY_RUNTIME_NOTE")


def unavailable():
    if "FAULTY_RUNTIME_ABSENT" in os.environ:
        return UnavailableError("The faulty runtime is not installed.", "Install it.")
    return None


def version():
    return "faulty 1.0"


def load(path: Path, *, threads: int):
    return _Engine(json.loads(path.read_text()))


class _Engine:
    def __init__(self, model):
        self.fault = model["fault"]
        declared = Signature.from_json(model["signature"])
        if self.fault == "renamed":
            first, *rest = declared.outputs
            declared = Signature(declared.inputs, (replace(first, name="other"), *rest))
        self.signature = declared

    def infer(self, feeds, watch):
        x = feeds["x"]
        results = {
            "wrong_factor": (2.001 * x, -x),
            "swapped": (-x, 2 * x),
            "wrong_dtype": ((2 * x).astype(np.float64), -x),
            "nan": (np.where(np.arange(x.size) == 1, np.nan, 2 * x), -x),
            "constant": (np.ones_like(x), -x),
        }
        doubled, negated = results.get(self.fault, (2 * x, -x))
        names = [spec.name for spec in self.signature.outputs]
        doubled = doubled if self.fault == "wrong_dtype" else doubled.astype(np.float32)
        return dict(zip(names, (doubled, negated), strict=True))

    def close(self):
        pass
