"""Records: from journal to sealed file and back; what is computed; what a crash leaves."""

import json

import numpy as np
import pytest

import edgekit
from edgekit.benchmarks import Request, benchmark_file, context
from edgekit.benchmarks.record import Journal, build, read_record, seal
from edgekit.benchmarks.scenarios import duration, parse
from edgekit.errors import ArtifactError, BenchmarkError, UsageError
from tests.benchmarks.conftest import MODELS

AFFINE = MODELS / "affine.tflite"
HEADER = {
    "path": "m.tflite",
    "sha256": "0" * 64,
    "job": {"runtime": "litert", "threads": 1, "runs": 3, "min_s": 0.0},
}
RUNS_OUT = [
    {"event": "load", "seconds": 0.5, "engine": "LiteRT 2.3.0"},
    {"event": "warmup", "seconds": [], "runs": 9, "steady": True, "why": "steady"},
    {"event": "samples", "series": "latency", "t": 1.0, "batch": 1, "seconds": [3e-3, 1e-3]},
    {"event": "samples", "series": "latency", "t": 2.0, "batch": 2, "seconds": [2e-3]},
    {"event": "samples", "series": "copy_in", "t": 3.0, "batch": 1, "seconds": [1e-6]},
    {"event": "done", "wall_s": 4.0},
]


def test_a_record_on_disk_is_the_record(tmp_path):
    path = tmp_path / "record.json"
    record = edgekit.benchmark(AFFINE, runs=20, cold=1, output=path)
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]
    found = read_record(path)
    first, second = (json.loads(json.dumps(x.to_json(), default=str)) for x in (found, record))
    assert first == second
    assert len(found.samples_s) >= 20
    assert found.median_s == record.median_s
    assert found.series["cold_total"][0] > found.series["cold_load"][0] > 0
    data = json.loads(path.read_text())
    assert data["schema_version"] == 2
    assert data["validity"]["complete"] is True
    assert data["energy"].keys() in (
        {"not_run"},
        {"joules", "joules_per_inference", "seconds", "note"},
    )
    assert data["job"]["model"] == "affine.tflite"
    assert data["summary"]["percentiles_s"]["p50"] == data["median_s"]


def test_samples_keep_their_order_and_chunks_tell_them_apart():
    record = build(HEADER, RUNS_OUT)
    assert record.samples_s == (3e-3, 1e-3, 2e-3)
    assert [(chunk["t"], chunk["count"], chunk["batch"]) for chunk in record.chunks] == [
        (1.0, 2, 1),
        (2.0, 1, 2),
    ]
    assert record.series == {"copy_in": [1e-6]}
    assert (record.runtime, record.load_s, record.median_s) == ("LiteRT 2.3.0", 0.5, 2e-3)


def test_what_was_acknowledged_outlives_a_crash(tmp_path):
    path = tmp_path / "run.jsonl"
    journal = Journal(path, HEADER)
    for line in RUNS_OUT[:3]:
        journal.add(json.dumps(line))
    assert journal.add("INFO: talk") is None
    journal.close()
    with path.open("a") as file:  # the machine dies in the middle of a line
        file.write('{"event": "samples", "seri')
    found = read_record(path)
    assert found.samples_s == (3e-3, 1e-3)
    assert found.judged()["validity"]["complete"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no benchmark record"),
        ("[]", "no benchmark record"),
        ("{}", "no benchmark record"),
        ('{"schema_version": 1}', "schema version 1"),
    ],
)
def test_what_is_no_record_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=said):
        read_record(path)


def test_a_runner_that_dies_leaves_its_samples(tmp_path, monkeypatch):
    dying = tmp_path / "agent.py"
    dying.write_text(
        "import json, sys\n"
        f"for line in {RUNS_OUT[:3]!r}: print(json.dumps(line), flush=True)\n"
        "sys.stderr.write('the last words\\n')\n"
        "sys.exit(7)\n"
    )
    monkeypatch.setattr("edgekit.device_agent.__file__", str(dying))
    with pytest.raises(BenchmarkError, match=r"ended with code 7.*the last words") as raised:
        benchmark_file(AFFINE, Request(runs=5), output=tmp_path / "out.json")
    assert "out.jsonl" in raised.value.hint
    assert read_record(tmp_path / "out.jsonl").samples_s == (3e-3, 1e-3)
    assert not (tmp_path / "out.json").exists()


def test_a_runner_that_measures_nothing_leaves_nothing(tmp_path, monkeypatch):
    dying = tmp_path / "agent.py"
    dying.write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr("edgekit.device_agent.__file__", str(dying))
    with pytest.raises(BenchmarkError, match="was killed"):
        benchmark_file(AFFINE, Request(runs=5), output=tmp_path / "sub" / "out.json")
    assert list((tmp_path / "sub").iterdir()) == []


def test_inputs_come_from_an_archive(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((2, 3), np.float32))
    with pytest.raises(UsageError, match=r"is no \.npz file"):
        edgekit.benchmark(AFFINE, input_data=AFFINE)
    record = edgekit.benchmark(AFFINE, runs=2, warmup_seconds=0, input_data=tmp_path / "data.npz")
    assert [each.get("seed") for each in record.job["inputs"] if each["name"] == "x"] == [None]


# -- Scenarios -------------------------------------------------------------------------------------


def test_scenarios_are_read_with_units_lists_and_defaults():
    assert parse("Single_Stream") == {"name": "single-stream"}
    assert parse("server:qps=50,bound=20ms") == {
        "name": "server",
        "qps": 50.0,
        "bound": 0.02,
        "seconds": 5.0,
        "workers": 1,
        "seed": 0,
    }
    assert parse("offline:batches=1+4,workers=2,seconds=1m") == {
        "name": "offline",
        "batches": [1, 4],
        "workers": [2],
        "seconds": 60.0,
    }
    assert parse("streaming:on_late=queue")["on_late"] == "queue"


@pytest.mark.parametrize(
    "text",
    [
        "sever",
        "server:qps=0",
        "server:qps=fast",
        "server:rate=3",
        "streaming:on_late=cry",
        "offline:seconds=1y",
        "offline:batches=1+x",
    ],
)
def test_a_scenario_that_cannot_be_is_a_usage_error(text):
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value"), [("10m", 600), ("250ms", 0.25), ("1.5", 1.5), ("2 h", 7200)]
)
def test_durations(text, value):
    assert duration(text) == value


def test_every_scenario_runs(tmp_path):
    def measured(scenario):
        asked = Request(runs=3, warmup_seconds=0, scenario=scenario, settings={"copies": 0})
        record = benchmark_file(AFFINE, asked)
        return record.judged()["outcome"], record

    found, record = measured("multi-stream:streams=3,workers=2")
    assert found["p99_s"] >= record.median_s
    found, _ = measured("offline:batches=1+7,workers=1+2,seconds=20ms")
    rates = {(row["batch_size"], row.get("workers")): row for row in found["throughput"]}
    assert rates[1, 1]["per_second"] > 10
    assert rates[1, 2]["per_second"] > 10
    assert all(row.get("not_run") or row["per_second"] > 10 for row in found["throughput"])
    found, record = measured("server:qps=200,seconds=200ms,bound=1h")
    assert found["bound_met"] is True
    assert 15 <= len(record.samples_s) <= 90
    assert all(x > 0 for x in record.samples_s)
    found, record = measured("streaming:fps=100,seconds=200ms")
    assert found["frames"] == 20
    assert found["missed"] == found["late"] + found["dropped"]


def test_frames_that_are_too_late_are_counted(monkeypatch, capsys):
    import time

    from edgekit import device_agent

    slow = device_agent.Query(lambda: time.sleep(0.012))
    chosen = {"name": "streaming", "fps": 100.0, "seconds": 0.2, "on_late": "drop"}
    watch = device_agent.Watch(device_agent.Probe())
    job = {"scenario": chosen, "runs": 1, "max_s": 9.0}
    device_agent.streaming(job, [slow], device_agent.Pace(0.012, 0, 1000), watch)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["late"] == len(line["seconds"])
    assert line["dropped"] >= 3
    assert line["dropped"] + len(line["seconds"]) in (20, 21, 22)


# -- Context ---------------------------------------------------------------------------------------


def states(*changes):
    calm = {"frequency_hz": {"policy0": 2e9}, "throttled": {"flags": []}, "other_cpu": 0.0}
    return [{"when": "during", "t": float(n), **calm, **change} for n, change in enumerate(changes)]


@pytest.mark.parametrize(
    ("changes", "word", "symptom"),
    [
        ([{}, {"throttled": {"flags": ["throttled now"]}}], "throttled", True),
        ([{"throttled": {"events": 3}}, {"throttled": {"events": 5}}], "throttled", True),
        ([{}, {"throttled": {"flags": ["under-voltage now"]}}], "under_voltage", True),
        ([{}, {}, {"frequency_hz": {"policy0": 1e9}}], "frequency", False),
        ([{}, {"other_cpu": 1.2}], "other_processes", False),
        ([{}, {"battery": {"percent": 12}}], "battery", False),
    ],
)
def test_states_tell_causes(changes, word, symptom):
    (found,) = context.causes(states(*changes), 4)
    assert (found.word, found.symptom) == (word, symptom)
    assert found.remedy
    assert context.causes(states({}, {}), 4) == []


def test_energy_is_a_difference_of_counters_or_not_run():
    def at(joules):
        return {"energy_j": {"package-0": joules}, "power_w": {"VDD": 2.0}}

    found = context.energy(states(at(10.0), at(14.0)), 8)
    assert found["joules_per_inference"] == {"package-0": 0.5, "VDD": 0.25}
    wrapped = context.energy(states({"energy_j": {"p": 9.0}}, {"energy_j": {"p": 1.0}}), 8)
    assert wrapped == {"not_run": "no sensor was read"}
    missing = context.energy(states({"not_run": {"energy_j": "no counter"}}, {}), 8)
    assert missing == {"not_run": "no counter"}


def test_unstable_times_say_so_with_the_flag_to_change():
    rising = np.linspace(1e-3, 2e-3, 400)
    record = build(
        HEADER, [*RUNS_OUT[:2], {**RUNS_OUT[2], "seconds": rising.tolist()}, RUNS_OUT[-1]]
    )
    verdict = record.judged()["verdict"]
    assert verdict["status"] == "unstable"
    found = {each["word"]: each for each in verdict["findings"]}
    assert "--warmup" in found["drift"]["remedy"]
    even = np.random.default_rng(0).normal(1e-3, 1e-5, 400)
    record = build(HEADER, [*RUNS_OUT[:2], {**RUNS_OUT[2], "seconds": even.tolist()}, RUNS_OUT[-1]])
    assert record.judged()["verdict"] == {"status": "stable", "findings": []}


def test_a_record_can_be_sealed_without_samples(tmp_path):
    seal(build(HEADER, RUNS_OUT[:1]), tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["verdict"]["status"] == "not_run"
