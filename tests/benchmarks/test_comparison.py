"""Comparisons: verdicts from records whose truth is known, and one real run in turns."""

import json
from dataclasses import replace

import numpy as np
import pytest

import edgekit
from edgekit.benchmarks.comparison import compare
from edgekit.benchmarks.record import build, seal
from edgekit.errors import UsageError, VerdictError
from tests.benchmarks.conftest import MODELS

JOB = {"runtime": "litert", "threads": 1, "scenario": {"name": "single-stream"}}
FACTS = {"event": "facts", "processor": "P", "cores": 4}


def in_turns(seed, slowdown, rounds=80, noise=0.01, hit=0.15):
    """Return two records taken in turns: of an artifact, and of one that is slower."""
    generator = np.random.default_rng(seed)
    sides = ([FACTS], [FACTS])
    for session in range(rounds):
        mood = 1 + 0.3 * generator.random()  # of the machine, which both turns share
        for side, factor in zip(sides, (1.0, 1 + slowdown), strict=True):
            spoiled = 1.5 if generator.random() < hit else 1.0
            seconds = 1e-3 * factor * mood * spoiled * (1 + noise * generator.exponential(size=20))
            side.append(samples(seconds, session=session))
    return [record(lines, run_id="turns") for lines in sides]


def samples(seconds, **tags):
    line = {"event": "samples", "series": "latency", "t": 0.0, "batch": 1}
    return {**line, "seconds": list(map(float, seconds)), **tags}


def record(lines, run_id, path="m.tflite", **job):
    header = {"path": path, "sha256": "", "job": JOB | job, "run_id": run_id}
    return build(header, [*lines, {"event": "done"}])


def apart(seed, median, spread=0.02, path="m.tflite", facts=FACTS, **job):
    seconds = np.random.default_rng(seed).normal(median, spread * median, 300)
    return record([facts, samples(seconds)], str(seed), path, **job)


def verdicts(slowdown, count=25, **settings):
    return [compare(*in_turns(seed, slowdown, **settings)).verdict for seed in range(count)]


def test_an_artifact_is_not_different_from_itself():
    found = verdicts(0.0)
    assert set(found) <= {"same", "unstable"}
    assert found.count("same") >= 24


def test_five_percent_are_seen_in_both_directions():
    assert verdicts(0.05).count("slower") >= 24
    assert verdicts(-0.05).count("faster") >= 24


def test_a_true_change_below_the_margin_is_none():
    assert verdicts(0.01).count("slower") == 0


def test_figures_of_a_comparison():
    found = compare(*in_turns(0, 0.05))
    assert found.low < 0.05 < found.high
    assert found.change == pytest.approx(0.05, abs=0.01)
    assert (found.rounds, found.margin, found.hint) == (80, 0.02, None)
    assert 0 < found.effect < 1
    assert found.to_json()["schema_version"] == 1


def test_few_turns_decide_nothing():
    found = compare(*in_turns(0, 0.5, rounds=5))
    assert found.verdict == "unstable"
    assert "--rounds" in found.hint
    assert json.loads(json.dumps(found.to_json()))["low"] is None


def test_records_of_different_times_need_more():
    assert compare(apart(1, 1e-3), apart(2, 1.2e-3)).verdict == "slower"
    assert compare(apart(1, 1e-3), apart(2, 0.8e-3)).verdict == "faster"
    assert compare(apart(1, 1e-3), apart(2, 1.04e-3)).verdict == "same"
    assert compare(apart(1, 1e-3), apart(2, 1.04e-3), margin=0.01).verdict == "slower"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (apart(2, 1e-3, spread=3.0), "unstable"),
        (apart(2, 1e-3, facts=FACTS | {"processor": "Q"}), "differ in processor"),
        (apart(2, 1e-3, threads=4), "1 and 4 threads"),
    ],
)
def test_an_unfair_comparison_is_unstable_and_says_why(second, said):
    found = compare(apart(1, 1e-3), second)
    assert found.verdict == "unstable"
    assert said in found.reason
    assert "--interleave" in found.hint


def test_what_cannot_be_compared_is_a_usage_error():
    with pytest.raises(UsageError, match="no samples"):
        compare(apart(1, 1e-3), record([], "2"))
    other = apart(2, 1e-3, scenario={"name": "server"})
    with pytest.raises(UsageError, match="scenario single-stream, the other of server"):
        compare(apart(1, 1e-3), other)


def test_times_that_say_nothing_are_not_compared():
    real = apart(1, 1e-3)
    emulated = replace(real, target={"emulated": "qemu-user\x1b[2J"})
    with pytest.raises(UsageError, match=r"measured on qemu-user\\x1b\[2J, not on a device"):
        compare(real, emulated)
    with pytest.raises(UsageError, match="not on a device"):
        compare(emulated, emulated)
    estimate = replace(real, samples_s=(), estimate={"latency_s": 1e-3})
    with pytest.raises(UsageError, match="is a compiler's estimate: nothing ran"):
        compare(estimate, real)
    reported = replace(real, samples_s=(), reported={"mean_s": 1e-3})
    with pytest.raises(UsageError, match="no samples to compare: litert reports none"):
        compare(real, reported)


def test_real_turns_are_kept_on_one_core_and_recorded(tmp_path):
    model = MODELS / "affine.tflite"
    found = edgekit.compare(
        model, model, interleave=True, rounds=10, turn_seconds=1e-3, margin=9.0, output=tmp_path
    )
    assert found.verdict == "same"
    assert found.rounds in (10, 20, 30, 40)
    first, second = sorted(tmp_path.iterdir())
    again = edgekit.compare(first, second, margin=9.0)
    assert (again.change, again.rounds) == (found.change, found.rounds)
    assert len(json.loads(first.read_text())["samples_s"]) >= 30


def test_a_rival_that_cannot_run_is_one_error(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((MODELS / "affine.onnx").read_bytes().replace(b"Mul", b"Mux"))
    with pytest.raises(edgekit.EdgekitError, match="Mux"):
        edgekit.compare(broken, MODELS / "affine.onnx", interleave=True, output=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_command_fails_when_asked_to(tmp_path):
    from click.testing import CliRunner

    from edgekit.cli.compare import command

    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, seconds in zip(files, (1e-3, 1.5e-3), strict=True):
        seal(apart(3, seconds), path)
    ran = CliRunner().invoke(command, [*map(str, files)])
    assert ran.exit_code == 0
    assert "slower" in ran.output
    ran = CliRunner().invoke(command, [*map(str, files), "--fail-if-slower", "-q"])
    assert isinstance(ran.exception, VerdictError)
    assert CliRunner().invoke(command, [*map(str, files[::-1]), "--fail-if-slower"]).exit_code == 0
