"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, UnavailableError, UsageError
from edgekit.runtimes import Arrays, Engine
from edgekit.runtimes._vendor import failure, missing, version_of
from edgekit.tensors import DType, Signature, TensorSpec
from edgekit.wire import map_file, shape_of
from edgekit.wire.onnx import integer_clamps, read_model, with_outputs

FORMATS = ("onnx",)
RANK = 10
NOTE = None

_RENAMED = {"float": "float32", "double": "float64"}
_FOLDER = "session.model_external_initializers_file_folder_path"


def unavailable() -> UnavailableError | None:
    """Return why ONNX Runtime cannot run here; None when it can."""
    return missing("onnxruntime", "onnxruntime")


def version() -> str:
    """Return the engine's name and version."""
    return version_of("ONNX Runtime", "onnxruntime")


def load(path: Path, *, threads: int) -> Engine:
    """Open an ONNX file; weights beside it are found by the file's own account."""
    return _OnnxEngine(path, threads)


def executed_operators(path: Path) -> dict[str, int]:
    """Return how often each operator occurs in the graph that ONNX Runtime makes of a file.

    A `Clip` of 8-bit integers is counted as ``QLinearClip``, as the like are called there.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        _OnnxEngine(path, 1, optimized).close()
        found = Counter(read_model(optimized).ops)
        clamps = integer_clamps(optimized)
        return dict(found - Counter(Clip=clamps) + Counter(QLinearClip=clamps))


class _OnnxEngine:
    """An ONNX file in a session of ONNX Runtime."""

    def __init__(self, path: Path, threads: int, optimized: Path | None = None) -> None:
        map_file(path)  # for its account of a missing file
        self._path, self._threads, self._optimized = path, threads, optimized
        self._session = self._open(str(path))
        self._watching: tuple[tuple[str, ...], Any] = ((), self._session)
        self._signature = Signature(
            tuple(_specs(self._session.get_inputs())), tuple(_specs(self._session.get_outputs()))
        )

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the session declares them."""
        return self._signature

    def infer(self, feeds: Arrays, watch: Sequence[str]) -> Arrays:
        """Run once; watched values become outputs of a second session."""
        wanted = [spec.name for spec in self._signature.outputs]
        extra = tuple(name for name in dict.fromkeys(watch) if name not in wanted)
        session = self._session_with(extra)
        try:
            arrays = session.run([*wanted, *extra], feeds)
        except Exception as error:
            raise failure("ONNX Runtime failed while running", self._path, error) from error
        return dict(zip([*wanted, *extra], arrays, strict=True))

    def intermediates(self) -> tuple[str, ...]:
        """List the results of the graph's own nodes, not those of nested graphs."""
        return read_model(self._path).computed

    def close(self) -> None:
        """Free the sessions."""
        del self._session, self._watching

    def _session_with(self, extra: tuple[str, ...]) -> Any:
        """Return a session that gives `extra` values beside the outputs; the last one is kept."""
        if not extra:
            return self._session
        if self._watching[0] != extra:
            try:
                session = self._open(with_outputs(map_file(self._path), extra))
            except ArtifactError as error:
                raise UsageError(
                    f"The values {', '.join(extra)} cannot be watched: {error.message}"
                ) from error
            self._watching = (extra, session)
        return self._watching[1]

    def _open(self, model: str | bytes) -> Any:
        """Start a session on a file, or on the changed content of one."""
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(_FOLDER, str(self._path.parent.absolute()))
        if self._optimized is not None:
            options.optimized_model_filepath = str(self._optimized)
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise failure("ONNX Runtime cannot open", self._path, error) from error


def _specs(values: Sequence[Any]) -> Iterator[TensorSpec]:
    """Yield the specs of those inputs or outputs that are tensors, which sequences are not."""
    for value in values:
        kind, _, element = value.type.rstrip(")").partition("(")
        if kind == "tensor":
            dtype = DType(_RENAMED.get(element, element))
            yield TensorSpec(value.name, dtype, shape_of(value.name, value.shape))
