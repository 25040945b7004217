"""The engine of all packages that offer TensorFlow Lite's Python interpreter.

Their interpreters share one interface; this keeps to the oldest of them, tflite-runtime 2.14.
Names and their order come from the file's own records, since an interpreter lists the outputs of a
signature by alphabet.  Reading these records first also keeps cut-off files away from
tflite-runtime and TensorFlow, which end the process on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.runtimes import Array, Arrays
from edgekit.runtimes._vendor import failure, quiet
from edgekit.tensors import Signature, TensorSpec
from edgekit.wire.tflite import read_model, same_call


class InterpreterEngine:
    """A TFLite file in some package's interpreter; implements `edgekit.runtimes.Engine`."""

    def __init__(self, path: Path, create: Callable[..., Any], vendor: str, threads: int) -> None:
        """Open a file.

        Args:
            path: The TFLite file.
            create: The package's class ``Interpreter``.
            vendor: The package's name in messages.
            threads: How many threads the interpreter's kernels may use.

        Raises:
            ArtifactError: the file is damaged, or has operators that the interpreter lacks.
        """
        self._model = read_model(path)
        main = self._model.main
        self._inputs = _indices(main.signature.inputs, main.inputs)
        self._outputs = _indices(main.signature.outputs, main.outputs)
        self._path, self._create, self._vendor, self._threads = path, create, vendor, threads
        self._plain = self._open()
        self._watching: _Prepared | None = None

    @property
    def signature(self) -> Signature:
        """Inputs and outputs in calling order, by the signature's names where the file has one."""
        return self._model.main.signature

    def infer(self, feeds: Arrays, watch: Sequence[str]) -> Arrays:
        """Run once; a watched name is a tensor's, read from an interpreter that keeps them all."""
        prepared, wanted = self._plain, self._outputs
        if watch:
            self._watching = self._watching or self._open(experimental_preserve_all_tensors=True)
            prepared = self._watching
            inner = {name: prepared.index_of(name) for name in watch if name not in wanted}
            wanted = wanted | inner
        key = self._other_subgraph(feeds)
        with self._blaming("failed while running"):
            if key is not None and not watch:
                return self._plain.call(key, feeds)
            return prepared.run({i: feeds[name] for name, i in self._inputs.items()}, wanted)

    def _other_subgraph(self, feeds: Arrays) -> str | None:
        """Return the signature made for the sizes of these arrays; None for the main subgraph."""
        main = self._model.main
        for key, entry in self._model.signatures.items():
            fits = all(spec.accepts(feeds[spec.name].shape) for spec in entry.signature.inputs)
            if same_call(entry, main) and fits:
                return None if entry.subgraph == main.subgraph else key
        return None

    def intermediates(self) -> tuple[str, ...]:
        """List the results of the main subgraph's operators, except where two share a name."""
        times = Counter(self._model.computed)
        return tuple(name for name in self._model.computed if times[name] == 1)

    def close(self) -> None:
        """Free the interpreters."""
        del self._plain, self._watching

    def _open(self, **options: bool) -> _Prepared:
        with self._blaming("cannot open"), quiet():
            return _Prepared(self._create(str(self._path), num_threads=self._threads, **options))

    @contextmanager
    def _blaming(self, deed: str) -> Iterator[None]:
        """Turn a vendor's exception into an `ArtifactError` that names vendor, deed and file."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            flex = any(op.startswith("CUSTOM:Flex") for op in self._model.ops)
            hint = "Its Flex operators run in the runtime 'tensorflow' only." if flex else None
            raise failure(f"{self._vendor} {deed}", self._path, error, hint) from error


class _Prepared:
    """An interpreter with memory allocated for the input shapes that it last saw."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._shapes: dict[int, tuple[int, ...]] = {
            item["index"]: tuple(item["shape"]) for item in interpreter.get_input_details()
        }
        interpreter.allocate_tensors()

    def run(self, feeds: dict[int, Array], wanted: dict[str, int]) -> Arrays:
        """Run once, from arrays by tensor index to copies of the wanted tensors by name."""
        self._fit({index: array.shape for index, array in feeds.items()})
        for index, array in feeds.items():
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in wanted.items()}

    def call(self, key: str, feeds: Arrays) -> Arrays:
        """Run another signature once; its outputs are copies."""
        outputs = self._interpreter.get_signature_runner(key)(**feeds)
        return {name: np.array(value) for name, value in outputs.items()}

    def index_of(self, name: str) -> int:
        """Return the index of the tensor `name`.

        Raises:
            UsageError: the model has no tensor of that name.
        """
        for item in self._interpreter.get_tensor_details():
            if item["name"] == name:
                return int(item["index"])
        raise UsageError(f"The model has no value named {name!r} to watch.")

    def _fit(self, shapes: dict[int, tuple[int, ...]]) -> None:
        """Allocate memory anew if an input's shape changed."""
        if shapes.items() <= self._shapes.items():
            return
        self._shapes = {}  # what is allocated is unknown until the last line
        with quiet():
            for index, shape in shapes.items():
                self._interpreter.resize_tensor_input(index, shape)
            self._interpreter.allocate_tensors()
        self._shapes = shapes


def _indices(specs: tuple[TensorSpec, ...], indices: tuple[int, ...]) -> dict[str, int]:
    """Return the tensor index of each name."""
    return {spec.name: index for spec, index in zip(specs, indices, strict=True)}
