"""Compile a firmware package's C wrapper and call it from Python."""

import ctypes
import subprocess

import numpy as np

from edgekit.packages import _c

STRICT = ["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-O1"]
RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
POINTS = {"image": "picture", "classes": "scored", "boxes": "box"}


def structure(name, fields):
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Picture = structure(
    "Picture",
    [("pixels", ctypes.c_void_p)] + [(n, ctypes.c_size_t) for n in ("height", "width", "channels")],
)
Scored = structure(
    "Scored", [("label", ctypes.c_char_p), ("index", ctypes.c_int), ("score", ctypes.c_double)]
)
Box = structure(
    "Box",
    [*Scored._fields_, *((n, ctypes.c_double) for n in ("left", "top", "right", "bottom"))],
)


def compiled(folder, sources):
    """Return the library that a strict C99 compiler makes of sources."""
    command = [*STRICT, "-shared", "-fPIC", "-o", "library.so", *sources, "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "library.so"))


class Wrapper:
    """The functions of a wrapper, with numpy arrays as the interpreter's tensors."""

    def __init__(self, library, name, bound):
        self.library, self.name, self.bound = library, name, bound
        self.feeds, self.outputs = (
            {s.name: np.zeros(shape_of(s), s.dtype.numpy()) for s in specs}
            for specs in (bound.signature.inputs, bound.signature.outputs)
        )
        self.inputs_struct, self.outputs_struct = (
            structure("Pointers", [(f"p{i}", ctypes.c_void_p) for i in range(len(arrays))])(
                *(array.ctypes.data for array in arrays.values())
            )
            for arrays in (self.feeds, self.outputs)
        )
        self.prediction = structure("Prediction", list(map_fields(bound, self.outputs)))()
        self.workspaces = [
            np.zeros(2 * step.options["fft"]) for step in bound.before if step.kind == "log_mel"
        ]

    def prepare(self, arguments):
        """Return the model's inputs, or None where the wrapper refuses an argument."""
        kept, given = [], []
        for step in self.bound.before:
            value = arguments[step.name]
            if step.kind == "image":
                array = np.ascontiguousarray(value)
                size = (*array.shape, 1)[:3]
                kept += [array, Picture(array.ctypes.data, *size)]
                given.append(ctypes.byref(kept[-1]))
            elif step.kind == "tokens":
                given.append(value.encode())
            else:
                exact = _c._copies(step)
                array = np.ascontiguousarray(value, step.options["dtype"] if exact else np.float32)
                kept.append(array)
                given.append(ctypes.c_void_p(array.ctypes.data))
                given += [ctypes.c_size_t(len(array))] if step.kind == "log_mel" else []
        code = self._function("prepare")(*given, *self._works(), ctypes.byref(self.inputs_struct))
        return None if code else {name: array.copy() for name, array in self.feeds.items()}

    def finish(self, outputs):
        """Return the results for some outputs, each as one line of numbers."""
        for name, array in outputs.items():
            self.outputs[name][...] = array
        outputs_struct, prediction = ctypes.byref(self.outputs_struct), self.prediction
        self._function("finish")(outputs_struct, ctypes.byref(prediction))
        return {step.name: self._line(step) for step in self.bound.after}

    def self_check(self, infer):
        """Run the recorded self-check; return what it says, or None."""

        @RUN
        def run(_context):
            for name, array in infer(self.feeds).items():
                self.outputs[name][...] = array
            return 0

        check = self._function("self_check")
        check.restype = ctypes.c_char_p
        structs = (self.inputs_struct, self.outputs_struct)
        said = check(
            *map(ctypes.byref, structs), *self._works(), ctypes.byref(self.prediction), run, None
        )
        return said and said.decode()

    def _function(self, name):
        return self.library[f"{self.name}_{name}"]

    def _works(self):
        return [ctypes.c_void_p(each.ctypes.data) for each in self.workspaces]

    def _line(self, step):
        found = getattr(self.prediction, step.name)
        if step.kind not in POINTS:
            return np.array(found)
        names = [name for name, _ in found._type_._fields_[1:]]
        kept = found[: getattr(self.prediction, f"{step.name}_count")]
        assert all(each.label.decode() == step.options["labels"][each.index] for each in kept)
        return np.array([getattr(each, name) for each in kept for name in names])


def shape_of(spec):
    return [size if isinstance(size, int) else 1 for size in spec.shape]


def map_fields(bound, outputs):
    for step in bound.after:
        if step.kind == "classes":
            count = len(step.options["labels"])
            yield step.name, Scored * min(step.options["top_k"] or count, count)
        elif step.kind == "boxes":
            yield step.name, Box * step.options["top_k"]
        elif step.kind == "class_map":
            array = outputs[step.options["output"]]
            yield step.name, ctypes.c_uint8 * (array.size // array.shape[step.options["axis"]])
        else:
            kind = {"float32": ctypes.c_float, "int64": ctypes.c_int64}[step.options["dtype"]]
            yield step.name, kind * outputs[step.options["output"]].size
        if step.kind in POINTS:
            yield f"{step.name}_count", ctypes.c_size_t


def line_of(kind, value):
    """Return a result of the reference as one line of numbers."""
    if kind in POINTS:
        return np.array([x for each in value for x in list(vars(each).values())[1:]], np.float64)
    return np.asarray(value).reshape(-1)
