"""What the suites of benchmarks share: small models, and the agent in a process of its own."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import device_agent
from edgekit.benchmarks.job import Job, Warmup, job_for

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "edgekit" / "device_agent.py"
MODELS = ROOT / "tests" / "contracts" / "models"
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
BRIEF = Warmup(0.0, 0.02, 1)


@pytest.fixture
def job():
    """Return a maker of short jobs for the suite's smallest model."""

    def make(format_name: str = "onnx", **chosen) -> Job:
        settings = {"runs": 5, "copies": 2, "warmup": BRIEF, "run_id": "test"} | chosen
        model = MODELS / f"affine.{format_name}"
        return job_for(model, format_name, RUNTIMES[format_name], **settings)

    return make


@pytest.fixture
def agent(tmp_path, capsys):
    """Return a way to run the agent on a job, right here: its exit code, and its lines."""

    def run(job):
        data = job if isinstance(job, dict) else job.to_json()
        (tmp_path / "job.json").write_text(json.dumps(data))
        try:
            code = device_agent.main(["run", str(tmp_path / "job.json")])
        finally:
            gc.enable()
        return code, lines_of(capsys.readouterr().out)

    return run


@pytest.fixture
def agent_process(tmp_path):
    """Return a way to run the agent as a device does."""

    def run(job):
        job.write(tmp_path / "job.json")
        command = [sys.executable, str(AGENT), "run", "job.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, lines_of(done.stdout)

    return run


def lines_of(output):
    """Return the answer; what is no JSON is talk."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def events(lines, event, **fields):
    """Return the lines of one event that have those fields."""
    return [line for line in lines if line["event"] == event and fields.items() <= line.items()]
