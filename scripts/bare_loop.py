"""The shortest loop over a runtime in Python, which loop_bars.py holds the agent against.

python scripts/bare_loop.py MODEL THREADS     then a line per turn: seconds; answers nanoseconds
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def opened(model: str, threads: int) -> Callable[[], Any]:
    """Return the runtime's own call, inputs in place."""
    if model.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(model, options)
        binding = session.io_binding()
        for each in session.get_inputs():
            kind = {"tensor(float)": "float32", "tensor(int64)": "int64"}[each.type]
            binding.bind_cpu_input(each.name, np.ones(each.shape, kind))
        for each in session.get_outputs():
            binding.bind_output(each.name)
        return lambda: session.run_with_iobinding(binding)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    for each in interpreter.get_input_details():
        interpreter.set_tensor(each["index"], np.ones(each["shape"], each["dtype"]))
    return interpreter.invoke


def main() -> None:
    """Take turns."""
    step = opened(sys.argv[1], int(sys.argv[2]))
    clock = time.perf_counter_ns
    pace = 0.01
    for _ in range(20):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        runs = max(3, int(float(line) / pace))
        for _ in range(runs // 10 + 2):
            step()
        taken = []
        for _ in range(runs):
            start = clock()
            step()
            taken.append(clock() - start)
        pace = sorted(taken)[runs // 2] * 1e-9
        print(*taken, flush=True)


if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    main()
