"""Every error that edgekit raises on purpose.

::

    EdgekitError                exit 1   something failed, and this says what and what to do
    ├── UsageError              exit 2   the request itself is not well formed
    │   └── UnknownNameError    exit 2   no plugin, recipe or target of that name
    ├── SourceError             exit 1   the model could not be loaded
    ├── ExportError             exit 1   the model loaded, but torch.export refused it
    ├── ConversionError         exit 1   a format's converter refused or died
    │   ├── UnsupportedOperatorError   1   a format cannot express an operator of the model
    │   └── LimitError          exit 1   a format cannot hold a tensor of the model
    ├── ArtifactError           exit 1   a file is not the artifact that it claims to be
    ├── UnavailableError        exit 1   a dependency or platform is missing; the hint installs it
    ├── DeviceError             exit 1   a device cannot be reached, or something failed on it
    │   ├── LinkLostError       exit 1   the connection broke; what arrived before is kept
    │   ├── HostKeyError        exit 1   the device's identity is unknown, or not the known one
    │   ├── DeviceBusyError     exit 1   another run has the device; the message names its holder
    │   └── DeviceTimeoutError  exit 1   a program on the device took too long and was killed
    ├── BenchmarkError          exit 1   a runner could not measure what it was asked to
    └── VerdictError            exit 3   everything ran, and the answer is no

A message is one sentence: what is wrong and where.  A hint is one sentence: what to do.  A reason
is a word for scripts, which stays when sentences get better.
"""

from __future__ import annotations

from typing import ClassVar


class EdgekitError(Exception):
    """Base of the tree; carries a message, an optional hint and the process exit code."""

    exit_code: ClassVar[int] = 1
    reason: ClassVar[str] = "failed"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, str | None]:
        """Return the error as plain data, so that it survives a process boundary."""
        return {
            "kind": type(self).__name__,
            "reason": self.reason,
            "message": self.message,
            "hint": self.hint,
        }

    @staticmethod
    def from_json(data: dict[str, str | None]) -> EdgekitError:
        """Rebuild an error of the right class from `to_json`."""
        kinds = {kind.__name__: kind for kind in _subclasses(EdgekitError)}
        return kinds.get(data.get("kind") or "", EdgekitError)(
            data.get("message") or "unknown error", data.get("hint")
        )


class UsageError(EdgekitError):
    """The request is not well formed: a bad option, shape or combination."""

    exit_code = 2
    reason = "bad_request"


class UnknownNameError(UsageError):
    """A name that no plugin, recipe or target bears."""

    reason = "unknown_name"


class SourceError(EdgekitError):
    """The model could not be found, loaded or called."""

    reason = "source_failed"


class ExportError(EdgekitError):
    """torch.export could not turn the model into a graph."""

    reason = "export_failed"


class ConversionError(EdgekitError):
    """A format's converter refused the program, crashed, hung or ran out of memory."""

    reason = "conversion_failed"


class UnsupportedOperatorError(ConversionError):
    """A format has no way to express an operator that the model uses."""

    reason = "unsupported_operator"


class LimitError(ConversionError):
    """A tensor of the model is beyond what a format can hold: its axes, its size, its type."""

    reason = "format_limit"


class ArtifactError(EdgekitError):
    """A model file is missing, damaged or of another kind than its name says."""

    reason = "bad_artifact"


class UnavailableError(EdgekitError):
    """A package or platform that this step needs is not here."""

    reason = "unavailable"


class DeviceError(EdgekitError):
    """A device cannot be reached, or something failed on it."""

    reason = "device_failed"


class LinkLostError(DeviceError):
    """The connection to a device broke."""

    reason = "link_lost"


class HostKeyError(DeviceError):
    """The host key of a device is unknown, or is not the one that is known."""

    reason = "host_key"


class DeviceBusyError(DeviceError):
    """Another run has the device."""

    reason = "device_busy"


class DeviceTimeoutError(DeviceError):
    """A program on a device took too long and was killed."""

    reason = "device_timeout"


class BenchmarkError(EdgekitError):
    """A runner could not measure what it was asked to, or died of it."""

    reason = "benchmark_failed"


class VerdictError(EdgekitError):
    """A verdict (verification, gate, budget) came out as failed."""

    exit_code = 3
    reason = "verdict_failed"


def _subclasses(cls: type[EdgekitError]) -> list[type[EdgekitError]]:
    return [found for sub in cls.__subclasses__() for found in (sub, *_subclasses(sub))]
