"""A job: what a runner on a device is asked to measure.  It travels as one JSON file.

``edgekit/device_agent.py`` and the native runner read the same keys.  A runner ignores no key
silently: one that it does not know, or cannot honour, is an error with the reason
``unsupported_job``.  All times are seconds.

::

    schema_version   1
    run_id           any text; every line of the answer bears it
    model            path of the model file, relative to the JOB file
    format           onnx | tflite | coreml | ...
    runtime          onnxruntime | litert | tflite_runtime | tensorflow, or another runtime of
                     edgekit where edgekit is installed (coreml, mil, torch_eager)
    threads          threads that one inference may use
    inputs           a list, in calling order, of
                       name       as the format spells it
                       index      TFLite: index of the tensor; otherwise its position
                       position   TFLite: its place among the inputs of the subgraph
                       dtype      numpy's name
                       shape      fixed numbers
                       seed       seeded values (floats: -1..1; others: 0 or 1), the same in
                                  every runner; or
                       file       an .npy file, or a raw one in C order, relative to the JOB file
    outputs          a list of {name, index, position}: which ones, in what order
    outputs_folder   where the outputs of the first inference are written as out0.npy, ... (by the
                     native runner as out0.raw), relative to the JOB file; null: nowhere
    scenario         {"name": "single-stream"} or another one of `edgekit.benchmarks.scenarios`,
                     with its parameters
    warmup           {"min_s", "max_s", "min_runs"}: untimed inferences end when the series is
                     steady (`steady` in the agent), or at max_s; max_s 0: no warm-up at all
    runs             samples to take, at least
    min_s, max_s     how long to take samples, at least and at most
    max_samples      above it, several inferences become one sample
    copies           how many times to measure the copying of inputs and outputs
    sustained_s      null, or how long to go on: a state is taken every second
    cold             null, or how many new processes measure load and first inference
    turns            true: take turns; see below
    delegate         TFLite: null, "none" (no XNNPACK), or path of a delegate's library, with
    delegate_options   its options, text by text
    providers        ONNX Runtime: names of execution providers, in order of preference, with
    provider_options   one {text: text} per provider
    session_config   ONNX Runtime: session config entries, text by text
    profile          how many profiled inferences follow the timed ones; 0: none
    placement        true: say which nodes run on which delegate or provider
    state_root       root of the tree that /sys and /proc are read from, "/" on a real device

Taking turns, for comparisons: after its warm-up such a job says ``{"event": "state", "when":
"ready"}`` and takes one turn for every line ``{"seconds": s, "session": n}`` of its standard
input, until that ends.  A job with the keys ``rivals`` (a list of such jobs), ``rounds``,
``turn_s`` and ``pairs`` starts them all, in new processes ``pairs`` times over, and lets them take
turns; the lines of rival `i` bear ``"side": i``, those of process pair `p` ``"pair": p``.

The answer is one JSON object a line, written out as it is measured; other lines are talk.

::

    facts      machine, runtimes, clock; what `facts` alone prints
    load       seconds, stages {name: seconds}, engine ("LiteRT 2.3.0"), peak_rss_bytes
    first      seconds
    warmup     seconds [...], batch, steady (true | false), why
    samples    series ("latency", or "copy_in", "copy_out", "with_copies", "cold_load",
               "cold_first", "overhead"), t (start, since the run began), batch (inferences per
               sample), seconds [...] (per inference); session when it took turns; scenarios add
               late [...] (missed deadlines), queued_s [...], dropped
    state      when (before | ready | during | after), t, and what `Probe` in the agent reads
    placement  nodes [{name, op, on, reason}], or not_run with the reason
    profile    nodes [{name, op, seconds, count}], or not_run with the reason
    outputs    files [...]
    error      reason (a word that stays), message (one sentence), hint; exit code 1
    done       wall_s, cpu_s, peak_rss_bytes, switches; the last line of a whole answer
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.tensors import Dim, TensorSpec

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Warmup:
    """When warming up ends: at the steady state, within these bounds."""

    min_s: float = 0.1
    max_s: float = 3.0
    min_runs: int = 3


@dataclass(frozen=True)
class Job:
    """What to measure; the page above describes each key."""

    model: str
    format: str
    runtime: str
    threads: int = 1
    inputs: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    outputs_folder: str | None = None
    scenario: Mapping[str, Any] = field(default_factory=lambda: {"name": "single-stream"})
    warmup: Warmup = Warmup()
    runs: int = 50
    min_s: float = 0.0
    max_s: float = 60.0
    max_samples: int = 100_000
    copies: int = 20
    sustained_s: float | None = None
    cold: int | None = None
    turns: bool = False
    delegate: str | None = None
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    provider_options: tuple[Mapping[str, str], ...] = ()
    session_config: Mapping[str, str] = field(default_factory=dict)
    profile: int = 0
    placement: bool = True
    state_root: str = "/"
    run_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as the JOB file holds it."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the JOB file."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")


def job_for(
    model: Path,
    format_name: str,
    runtime: str,
    *,
    data: Mapping[str, str] | None = None,
    **chosen: Any,
) -> Job:
    """Return the job of measuring a model file, its inputs and outputs read from the file.

    Args:
        model: The file as it lies here.  The job names it by its absolute path; whoever pushes it
            to a device replaces that.
        format_name: Its format.
        runtime: Name of the runtime that is to execute it.
        data: Files with the values of inputs, by name; the others are seeded.
        chosen: Other fields of `Job`.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    signature = registry.load("formats", format_name).summarize(model).signature
    places = _tflite_places(model) if format_name == "tflite" else None
    files = data or {}
    return Job(
        str(model.absolute()),
        format_name,
        runtime,
        inputs=tuple(
            {
                **_entry(spec, number, places and places[0]),
                "dtype": spec.dtype.value,
                "shape": fixed_shape(spec),
                **({"file": files[spec.name]} if spec.name in files else {"seed": number}),
            }
            for number, spec in enumerate(signature.inputs)
        ),
        outputs=tuple(
            _entry(spec, number, places and places[1])
            for number, spec in enumerate(signature.outputs)
        ),
        **chosen,
    )


def fixed_shape(spec: TensorSpec) -> list[int]:
    """Return the shape to measure with: dynamic dimensions are at their least."""
    return [dim.min if isinstance(dim, Dim) else dim for dim in spec.shape]


Places = Sequence[tuple[int, int]]


def _entry(spec: TensorSpec, number: int, places: Places | None) -> dict[str, Any]:
    index, position = places[number] if places else (number, number)
    return {"name": spec.name, "index": index, "position": position}


def _tflite_places(model: Path) -> tuple[Places, Places]:
    """Return tensor index and position of the inputs, and of the outputs, of the main subgraph."""
    from edgekit.wire.tflite import read_model

    main = read_model(model).main
    return (
        [(index, place) for place, index in enumerate(main.inputs)],
        [(index, place) for place, index in enumerate(main.outputs)],
    )
