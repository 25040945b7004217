"""The device agent with a slower step, for compare_bars.py: a known, true slowdown.

    EDGEKIT_STEP=21 python scripts/slowed_agent.py run JOB.json

A step is so many inferences.  21 take exactly 5 % more time than 20, however busy the machine is.
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from edgekit import device_agent

STEP = int(os.environ["EDGEKIT_STEP"])


class Slowed(device_agent.TFLiteEngine):
    """LiteRT with several inferences a step."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        once = self.step

        def step() -> None:
            for _ in itertools.repeat(None, STEP):
                once()

        self.step = step


if __name__ == "__main__":
    device_agent.ENGINES["litert"] = Slowed
    code = device_agent.main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
