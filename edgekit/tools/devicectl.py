"""An iPhone or iPad on the cable of a Mac: coremltools' benchmarker over ``xcrun devicectl``.

coremltools builds an app that runs models, signs it for your team, and starts it on the device.
None of this has ever run here.  What it answers was read in coremltools 9.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from edgekit.benchmarks.job import Job
from edgekit.errors import UnavailableError
from edgekit.tools import _coreml, coremltools

TITLE = "Core ML on a device (coremltools, devicectl)"
FORMATS = coremltools.FORMATS
PROGRAM = coremltools.PROGRAM
HERE = True
MORE = "the device's name or UDID"
WHERE = "Xcode 15 or newer, from the App Store"
TRIED = "devicectl was never run by edgekit's authors: they have no Mac and no iPhone."
TAKES = coremltools.TAKES
TEAM = "EDGEKIT_APPLE_TEAM"  # variable with the identifier of the team that signs the app


def unavailable() -> UnavailableError | None:
    """Return why no device can be asked."""
    reason = coremltools.unavailable()
    if reason is not None:
        return reason
    if shutil.which("xcrun") is None:
        return UnavailableError("There is no xcrun here.", WHERE)
    if not os.environ.get(TEAM):
        return UnavailableError(
            "The app that runs models on the device has to be signed.",
            f"Set {TEAM} to the identifier of your team at Apple.",
        )
    return None


def command(program: str, job: Job, result: str, device: str = "") -> list[str]:  # noqa: ARG001
    """Return the command; without a name, the only device that is connected is used."""
    asked = {"model": job.model, "runs": job.runs, "profile": job.profile}
    asked |= {"device": device, "team": os.environ.get(TEAM, "")}
    return [program, "-P", str(Path(_coreml.__file__)), json.dumps(asked)]


def lines(said: str, result: str, job: Job) -> list[dict[str, Any]]:
    """Return its lines, which are those of a runner already."""
    found = coremltools.lines(said, result, job)
    for line in found:
        if line["event"] == "load":
            line["engine"] = TITLE
    return found
