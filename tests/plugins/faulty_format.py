"""A format that fails on demand: what stands in for a converter in the tests of containment.

Installed for a test by putting this folder on PYTHONPATH, as a third party's package would be.  Its
artifacts are JSON: a factor, and how the outputs are named.
"""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

from edgekit.formats import Option
from edgekit.tensors import Signature
from edgekit.wire import ModelSummary

SUFFIXES = (".faulty",)
COST = 1
MAX_BYTES = 1000
FAULTS = (
    *("none", "raise", "segfault", "kill", "hang", "exit", "disk_full", "noise", "memory"),
    *("wrong_factor", "swapped", "renamed", "wrong_dtype", "nan", "constant"),
)
OPTIONS = (Option("fault", "What goes wrong.", "none", FAULTS),)


def unavailable():
    return None


def toolchain():
    return {"faulty": "1.0"}


def supports(recipe):
    return None if recipe.name == "fp32" else "it knows fp32 only"


def warm_up():
    pass


def lower(program, recipe, options, destination: Path) -> Signature:
    fault = options["fault"]
    actions = {
        "raise": lambda: (_ for _ in ()).throw(ValueError("operator frobnicate is not known")),
        "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "hang": lambda: _hang(destination),
        "exit": lambda: os._exit(7),
        "disk_full": lambda: _fill_disk(destination),
        "memory": lambda: (_ for _ in ()).throw(MemoryError()),
        "noise": lambda: (print("NOISE ON STDOUT"), print("NOISE ON STDERR", file=sys.stderr)),
    }
    actions.get(fault, lambda: None)()
    destination.write_text(json.dumps({"fault": fault, "signature": program.signature.to_json()}))
    return program.signature


def summarize(path: Path) -> ModelSummary:
    signature = Signature.from_json(json.loads(path.read_text())["signature"])
    return ModelSummary(signature, {"Mul": 1}, {}, {}, {})


def _hang(destination: Path) -> None:
    destination.write_text("half a file")
    time.sleep(600)


def _fill_disk(destination: Path) -> None:
    destination.write_text("half a file")
    raise OSError(errno.ENOSPC, "No space left on device", str(destination))
