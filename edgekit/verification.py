"""Verification: run an artifact, compare it with the source model, judge by the recipe's tolerance.

Running (`measure`) and judging (`judge`) are apart: what was measured can be judged again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import metrics, runtimes
from edgekit.errors import EdgekitError, UnavailableError
from edgekit.matching import named_after
from edgekit.metrics import Difference
from edgekit.recipe import Tolerance
from edgekit.runtimes import Array, Arrays, Session
from edgekit.tensors import DType, Signature, TensorSpec

PASSED, FAILED, NOT_RUN = "passed", "failed", "not_run"


@dataclass(frozen=True)
class OutputCheck:
    """One output over all samples; each figure is the worst of them.

    Attributes:
        name: The output's name.
        dtype: Element type that the artifact gave.
        shape: Shape that the artifact gave for the first sample.
        sqnr_db: See `edgekit.metrics`, as for the figures that follow.
        cosine: Cosine similarity.
        max_abs: Largest absolute error.
        max_rel: Largest error as a share of the reference's peak.
        argmax_agreement: Share of equal argmax; None where the output has no class axis.
        passed: Whether every figure is within the tolerance.
        reasons: Which are not, in words.
        notes: What weakens the check, in words.
        nonfinite_mismatch: How many values of all samples are NaN or infinite on one side only.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sqnr_db: float
    cosine: float
    max_abs: float
    max_rel: float
    argmax_agreement: float | None
    passed: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    nonfinite_mismatch: int = 0


@dataclass(frozen=True)
class Verification:
    """The verdict on one artifact, and the measurements behind it.

    Attributes:
        status: ``passed``, ``failed`` or ``not_run``.
        reason: Why it failed or did not run; empty when it passed.
        runtime: The runtime that executed the artifact, with its version.
        note: What must be known of that runtime, e.g. that it is a reference and not the product.
        samples: How many input sets were run.
        outputs: One check per output.
        quantization_sqnr_db: Quantized graph against float source; None for float recipes.
        rounding_sqnr_db: Two equally right computations of the quantized graph against each other:
            an artifact cannot be nearer.  None for float recipes.
        float32_sqnr_db: Lowest SQNR of any output when the runtime does not round to float16, on
            the sample where rounding costs most: what the conversion itself loses.  None for an
            artifact that does not compute in float16, and in runtimes that always round.
        divergence: After a failure: what float16 does to the first value that it spoils.
        calibration: What the artifact was calibrated on; empty for recipes that need nothing.
        remarks: What was odd in calibration, one sentence each.
        placement: Which operators run as integer kernels, and why the others do not; see
            `edgekit.quantize.placement`.  None without quantization, or where nothing can tell.
    """

    status: str
    reason: str = ""
    runtime: str = ""
    note: str = ""
    samples: int = 0
    outputs: tuple[OutputCheck, ...] = ()
    quantization_sqnr_db: float | None = None
    rounding_sqnr_db: float | None = None
    float32_sqnr_db: float | None = None
    divergence: str = ""
    calibration: str = ""
    remarks: tuple[str, ...] = ()
    placement: dict[str, Any] | None = None

    @property
    def sqnr_db(self) -> float | None:
        """Lowest SQNR of any output, in dB; None when nothing was run."""
        return min((check.sqnr_db for check in self.outputs), default=None)

    @property
    def cosine(self) -> float | None:
        """Lowest cosine similarity of any output."""
        return min((check.cosine for check in self.outputs), default=None)

    @property
    def max_abs(self) -> float | None:
        """Largest absolute error of any output."""
        return max((check.max_abs for check in self.outputs), default=None)

    @property
    def nonfinite_mismatch(self) -> int:
        """How many values of all outputs are NaN or infinite on one side only."""
        return sum(check.nonfinite_mismatch for check in self.outputs)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; infinite figures become the strings "inf" and "-inf"."""
        return {
            **vars(self),
            "quantization_sqnr_db": plain(self.quantization_sqnr_db),
            "rounding_sqnr_db": plain(self.rounding_sqnr_db),
            "float32_sqnr_db": plain(self.float32_sqnr_db),
            "outputs": [
                {key: plain(value) for key, value in vars(check).items()} for check in self.outputs
            ],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Verification:
        """Rebuild a verification from `to_json`."""
        checks = tuple(
            OutputCheck(**{key: unplain(value) for key, value in check.items()})
            for check in data["outputs"]
        )
        ratios = ("float32_sqnr_db", "quantization_sqnr_db", "rounding_sqnr_db")
        return Verification(
            **{
                **data,
                "outputs": checks,
                **{name: unplain(data.get(name)) for name in ratios},
                "remarks": tuple(data.get("remarks", ())),
            }
        )


def verify_file(
    path: Path,
    format_name: str,
    signature: Signature,
    samples: Sequence[Arrays],
    references: Sequence[Arrays],
    tolerance: Tolerance,
    *,
    runtime: str | None = None,
    layers: Callable[[], Mapping[str, str]] | None = None,
) -> Verification:
    """Run an artifact on samples and compare it with the outputs that are expected.

    Args:
        path: The artifact.
        format_name: Its format.
        signature: What it should take and give, as recorded at conversion.
        samples: Input sets in the source's layout and element types.
        references: The source model's outputs for each.
        tolerance: The bounds.
        runtime: Name of the runtime to use; None for the best available.
        layers: Gives the layer that each value of the source's graph belongs to, by the value's
            name, so that a failure can name it; see `edgekit.layers.layers_of`.
    """
    try:
        session = runtimes.open_session(path, format_name, runtime=runtime)
    except UnavailableError as error:
        return Verification(NOT_RUN, error.message)
    except EdgekitError as error:
        return Verification(FAILED, f"It does not open: {error.message}")
    described = runtimes.describe(session.runtime)
    with session:
        try:
            mismatch = _signature_mismatch(session, signature)
            if mismatch:
                return Verification(FAILED, mismatch, described, session.note or "")
            feeds = [feeds_for(signature, sample) for sample in samples]
            outputs = [as_in_source(signature, session.run(each)) for each in feeds]
            checks = tuple(
                judge(
                    spec,
                    [each[spec.name] for each in outputs],
                    [r[spec.name] for r in references],
                    tolerance,
                )
                for spec in signature.outputs
            )
            bad = [check for check in checks if not check.passed]
            worst = worst_sample(outputs, references)
            rounding = _rounding(
                session, signature, feeds[worst], references[worst], tolerance, failed=bool(bad)
            )
        except UnavailableError as error:
            return Verification(NOT_RUN, error.message, described, session.note or "")
        except EdgekitError as error:
            return Verification(
                FAILED, f"It does not run: {error.message}", described, session.note or ""
            )
    reasons = [f"{check.name}: {', '.join(check.reasons)}" for check in bad]
    divergence = _with_layer(rounding, layers)
    return Verification(
        FAILED if bad else PASSED,
        "; ".join([*reasons, *([divergence] if divergence else [])]),
        described,
        session.note or "",
        len(samples),
        checks,
        float32_sqnr_db=rounding.sqnr_db,
        divergence=divergence,
    )


@dataclass(frozen=True)
class _Rounding:
    """What rounding to float16 does, as far as the runtime can tell."""

    sqnr_db: float | None = None  # of the unrounded outputs against the source
    value: str = ""
    loss: str = ""


def _rounding(
    session: Session,
    signature: Signature,
    feeds: Arrays,
    reference: Arrays,
    tolerance: Tolerance,
    *,
    failed: bool,
) -> _Rounding:
    """Ask the runtime what it gives without rounding and, after a failure, where rounding hurts."""
    found = session.explain(feeds, tolerance.sqnr_db if failed else None)
    if found is None:
        return _Rounding()
    ratio = _lowest_sqnr(as_in_source(signature, found.outputs), reference)
    if failed and not ratio >= tolerance.sqnr_db:
        loss = (
            f"with float32 arithmetic it is {ratio:.1f} dB: "
            "its weights or its operations lose it, not the rounding of results"
        )
        return _Rounding(ratio, "", loss)
    return _Rounding(ratio, found.value, found.loss)


def worst_sample(outputs: Sequence[Arrays], references: Sequence[Arrays]) -> int:
    """Return the index of the sample whose outputs have the lowest SQNR."""
    pairs = zip(outputs, references, strict=True)
    ratios = [_lowest_sqnr(output, reference) for output, reference in pairs]
    return int(np.argmin(np.nan_to_num(ratios, nan=-math.inf)))


def _lowest_sqnr(output: Arrays, reference: Arrays) -> float:
    """Return the lowest SQNR of any floating-point output."""
    found = math.inf
    for name, want in reference.items():
        got = output[name]
        if want.dtype.kind != "f" or got.shape != want.shape:
            continue
        found = min(found, metrics.compare(want, got).sqnr_db)
    return found


def _with_layer(rounding: _Rounding, layers: Callable[[], Mapping[str, str]] | None) -> str:
    if not rounding.value or layers is None:
        return rounding.loss
    known = layers()
    origin = named_after(rounding.value, known)
    return f"{rounding.loss}, in layer {known[origin]}" if origin else rounding.loss


def feeds_for(signature: Signature, sample: Arrays) -> Arrays:
    """Turn an input set in the source's terms into the artifact's: layout, types and shapes."""
    feeds = {}
    for spec in signature.inputs:
        array = sample[spec.name]
        if spec.layout == "nhwc":
            array = array.transpose(0, 2, 3, 1)
        elif spec.layout == "image":
            array = array.transpose(0, 3, 1, 2)
        if array.dtype.kind == "b" and spec.dtype is not DType.BOOL:
            array = array.astype(spec.dtype.numpy())
        if spec.scale is not None:
            array = spec.quantized(array)
        if spec.source_shape is not None:
            array = array.reshape([size for size in spec.shape if isinstance(size, int)])
        feeds[spec.name] = array
    return feeds


def as_in_source(signature: Signature, outputs: Arrays) -> Arrays:
    """Give outputs the values and shapes that the source has, where the format changed them."""
    specs = {spec.name: spec for spec in signature.outputs}
    return {
        name: _as_in_source(specs[name], array) if name in specs else array
        for name, array in outputs.items()
    }


def _as_in_source(spec: TensorSpec, array: Array) -> Array:
    if spec.scale is not None and array.dtype == spec.dtype.numpy():
        array = spec.dequantized(array)
    shape = spec.source_shape
    same = shape is not None and array.size == math.prod(shape)
    return array.reshape(shape) if same else array


def judge(
    spec: TensorSpec, values: Sequence[Array], references: Sequence[Array], tolerance: Tolerance
) -> OutputCheck:
    """Hold one output, over all samples, to the tolerance."""
    first = values[0]
    reasons: list[str] = []
    wanted = spec.dtype if spec.scale is None else DType.FLOAT32  # it is dequantized by now
    if DType.of(first) is not wanted:
        reasons.append(f"its type is {first.dtype.name}, not {wanted.value}")
    for value, reference in zip(values, references, strict=True):
        if value.shape != reference.shape:
            reasons.append(f"its shape is {list(value.shape)}, not {list(reference.shape)}")
            break
    if reasons:
        return OutputCheck(
            spec.name,
            first.dtype.name,
            first.shape,
            -math.inf,
            0.0,
            math.inf,
            math.inf,
            None,
            passed=False,
            reasons=tuple(reasons),
        )
    found = [metrics.compare(r, v) for r, v in zip(references, values, strict=True)]
    agreements = [each.argmax_agreement for each in found if each.argmax_agreement is not None]
    reasons += _violations(found, references[0].dtype.kind == "f", tolerance)
    return OutputCheck(
        spec.name,
        first.dtype.name,
        first.shape,
        min(each.sqnr_db for each in found),
        min(each.cosine for each in found),
        max(each.max_abs for each in found),
        max(each.max_rel for each in found),
        min(agreements) if agreements else None,
        passed=not reasons,
        reasons=tuple(reasons),
        notes=_notes(references, found),
        nonfinite_mismatch=sum(each.nonfinite_mismatch for each in found),
    )


def _violations(found: list[Difference], is_float: bool, tolerance: Tolerance) -> list[str]:
    """Say which bounds are broken; a comparison is written so that NaN breaks it."""
    reasons = []
    odd = sum(each.nonfinite_mismatch for each in found)
    if odd:
        return [f"{odd} values are NaN or infinite where the source's are not, or the other way"]
    if not is_float:
        share = min(each.equal_share for each in found)
        if not share >= tolerance.integer_agreement:
            reasons.append(
                f"{share:.4%} of values are equal, not {tolerance.integer_agreement:.4%}"
            )
        return reasons
    for label, value, bound, low in (
        ("SQNR is {:.1f} dB, not {:.1f}", min(e.sqnr_db for e in found), tolerance.sqnr_db, True),
        ("cosine is {:.8f}, not {:.8f}", min(e.cosine for e in found), tolerance.cosine, True),
        (
            "error is {:.2g} of the peak, not {:.2g}",
            max(e.max_rel for e in found),
            tolerance.max_abs_of_peak,
            False,
        ),
    ):
        if not (value >= bound if low else value <= bound):
            reasons.append(label.format(value, bound))
    return reasons


def _notes(references: Sequence[Array], found: list[Difference]) -> tuple[str, ...]:
    notes = []
    sizes = sum(reference.size for reference in references)
    if not sizes:
        notes.append("the output is empty: only its shape was checked")
    odd = sum(each.nonfinite for each in found)
    if odd:
        notes.append(f"{odd} of {sizes} values of the source model itself are NaN or infinite")
    same = all(np.array_equal(references[0], each, equal_nan=True) for each in references[1:])
    if sizes and len(references) > 1 and same:
        notes.append("the output is the same for every sample: a weak check")
    return tuple(notes)


def _signature_mismatch(session: Session, expected: Signature) -> str:
    """Return how the opened file differs from its record in names, order, types or rank."""
    for side in ("inputs", "outputs"):
        wanted: tuple[TensorSpec, ...] = getattr(expected, side)
        found: tuple[TensorSpec, ...] = getattr(session.signature, side)
        if [spec.name for spec in found] != [spec.name for spec in wanted]:
            return (
                f"its {side} are {', '.join(s.name for s in found)}, "
                f"not {', '.join(s.name for s in wanted)}"
            )
        for have, want in zip(found, wanted, strict=True):
            if have.dtype is not want.dtype or len(have.shape) != len(want.shape):
                return f"it has {have} where its record has {want}"
    return ""


def plain(value: Any) -> Any:
    """Return a figure as JSON has it: infinite ones as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def unplain(value: Any) -> Any:
    """Return what `plain` was given."""
    if value in ("inf", "-inf", "nan"):
        return float(value)
    return tuple(value) if isinstance(value, list) else value
