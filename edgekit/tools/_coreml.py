"""A process of its own that asks coremltools to benchmark a model, and answers in JSON lines.

    python -P _coreml.py '{"model": ..., "runs": 50, "profile": 0}'

With ``device`` (a name, a UDID, or "" for the only one) and ``team`` the model runs on an iPhone.
Without ``-P`` Python would take this folder's ``coremltools.py`` for coremltools.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


def main(asked: dict[str, Any]) -> int:
    """Benchmark; say what ended it where something did."""
    try:
        asyncio.run(_benchmark(asked))
    except Exception as error:
        _say("error", reason="run_failed", message=" ".join(str(error).split())[:500], hint=None)
        return 1
    _say("done")
    return 0


async def _benchmark(asked: dict[str, Any]) -> None:
    import coremltools
    from coremltools.models.ml_program.experimental import perf_utils

    model = coremltools.models.MLModel(asked["model"], skip_model_load=True)
    device = await _device(asked) if "device" in asked else None
    bench = perf_utils.MLModelBenchmarker(model, device)
    _say("load", seconds=(await bench.benchmark_load(1)).samples[0] * 1e-3)
    _say("first", seconds=(await bench.benchmark_predict(iterations=1)).samples[0] * 1e-3)
    why = "by the tool's own rule, which looks for no steady state"
    _say("warmup", seconds=[], runs=1, batch=1, steady=False, why=why)
    taken = await bench.benchmark_predict(iterations=asked["runs"], warmup=True)
    seconds = [each * 1e-3 for each in taken.samples]
    _say("samples", series="latency", t=0.0, batch=1, seconds=seconds)
    if asked["profile"]:
        found = await bench.benchmark_operation_execution(iterations=asked["profile"], warmup=True)
        _say("profile", runs=asked["profile"], nodes=[_node(each) for each in found])


def _node(info: Any) -> dict[str, Any]:
    """Return an operation with the median of its times, and where Core ML would run it."""
    chosen = getattr(info.compute_device_usage, "preferred_compute_device", None)
    statistics = info.measurement.statistics
    outputs = [output.name for output in info.spec.outputs]
    return {
        "name": ", ".join(outputs),
        "op": info.spec.type,
        "on": type(chosen).__name__ if chosen is not None else None,
        "seconds": statistics.median * 1e-3 if statistics else 0.0,
        "count": len(info.measurement.samples),
    }


async def _device(asked: dict[str, Any]) -> Any:
    """Return the device, with coremltools' app started on it."""
    from coremltools.models.ml_program.experimental import remote_device

    kinds = (remote_device.DeviceType.IPHONE, remote_device.DeviceType.IPAD)
    there = [each for kind in kinds for each in remote_device.Device.get_connected_devices(kind)]
    wanted = asked["device"]
    fitting = [each for each in there if wanted in ("", each.name, each.udid)]
    if len(fitting) != 1:
        names = ", ".join(each.name for each in there) or "none"
        raise ValueError(f"{len(fitting)} connected devices are {wanted or 'any'}; there: {names}")
    (found,) = fitting
    _say("facts", kind="tool", model=found.name, system=f"{found.type.value} OS {found.os_version}")
    signing = remote_device.AppSigningCredentials(development_team=asked["team"])
    return await found.prepare_for_model_debugging(credentials=signing)


def _say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
