"""Targets: kinds of machines that artifacts are made for, each described by one TOML file.

They ship in ``edgekit/targets``; a user's own lie in ``./targets`` or in the config folder's
``targets``, and win over those that ship.  Every table of facts names its source.  What is not
known for sure is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekit import registry, schema
from edgekit.errors import UsageError
from edgekit.recipe import load_recipe

FOLDER = Path(__file__).parent / "targets"
SCHEMA_VERSION = 1
KINDS = ("accelerator", "board", "computer", "microcontroller", "phone")


@dataclass(frozen=True)
class Soc:
    """The chip."""

    name: str
    source: str


@dataclass(frozen=True)
class Cpu:
    """Cores of one kind.

    Attributes:
        name: Of the core.
        source: Where this is written.
        cores: How many of them.
        max_mhz: Highest clock.
        instructions: Instruction set and the extensions that matter.
    """

    name: str
    source: str
    cores: int | None = None
    max_mhz: int | None = None
    instructions: str | None = None


@dataclass(frozen=True)
class Memory:
    """Main memory: the sizes that it is sold with."""

    megabytes: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class Accelerator:
    """A processor beside the CPU.

    Attributes:
        name: As its maker calls it.
        kind: gpu, npu or dsp.
        source: Where this is written.
        detail: What else is known of it.
        operators: TFLite operators that it takes, where that is public; not every form of each.
        operators_source: Where that is written.
    """

    name: str
    kind: str
    source: str
    detail: str | None = None
    operators: tuple[str, ...] = ()
    operators_source: str | None = None


@dataclass(frozen=True)
class Compiler:
    """The compiler that makes artifacts ready for the accelerator.

    Attributes:
        name: A module in ``edgekit/compilers``.
        source: Why these options.
        options: Its options, by name.
    """

    name: str
    source: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Defaults:
    """What is used where a user does not say.

    Attributes:
        format: Format of artifacts.
        recipe: Precision of artifacts.
        source: Why.
        runtime: Runtime that executes them there.
        threads: Threads that an inference uses.
        delegate: TFLite delegate: path of its library.
        delegate_options: Its options, by name.
        providers: ONNX Runtime's execution providers, in order.
        provider_options: Their options, by provider.
    """

    format: str
    recipe: str
    source: str
    runtime: str | None = None
    threads: int = 1
    delegate: str | None = None
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Budgets:
    """Limits that an artifact shall keep on this target; None for no limit."""

    latency_ms: float | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Target:
    """One kind of machine.

    Attributes:
        name: As in the file name, e.g. ``raspberry-pi-5``.
        description: One sentence for people.
        kind: accelerator, board, computer, microcontroller or phone.
        defaults: What is used where a user does not say.
        soc: The chip.
        cpu: Its cores, the fastest first.
        memory: Main memory.
        accelerators: Its other processors.
        compiler: What compiles for its accelerator.
        budgets: Limits on artifacts.
    """

    name: str
    description: str
    kind: str
    defaults: Defaults
    soc: Soc | None = None
    cpu: tuple[Cpu, ...] = ()
    memory: Memory | None = None
    accelerators: tuple[Accelerator, ...] = ()
    compiler: Compiler | None = None
    budgets: Budgets = Budgets()

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def config_folder() -> Path:
    """Return edgekit's config folder: ``$EDGEKIT_CONFIG``, else ``edgekit`` where XDG says."""
    given = os.environ.get("EDGEKIT_CONFIG")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(given) if given else Path(base) / "edgekit"


def targets() -> dict[str, Path]:
    """Return the file of each target by name; a user's own hide those that ship."""
    folders = (FOLDER, config_folder() / "targets", Path("targets"))
    return dict(
        sorted((path.stem, path) for each in folders for path in sorted(each.glob("*.toml")))
    )


def load_target(name: str | Path | Target) -> Target:
    """Return the target that `name` means.

    Args:
        name: Its name, case and hyphens ignored; or the path of a ``.toml`` file.

    Raises:
        UnknownNameError: there is none of that name, or its file has a key that is not known.
        UsageError: its file has a mistake.
    """
    if isinstance(name, Target):
        return name
    if isinstance(name, Path) or name.endswith(".toml"):
        return _read(Path(name))
    known = targets()
    return _read(known[registry.match(name, known, "target")])


def _read(path: Path) -> Target:
    target = schema.build(Target, schema.read_toml(path), str(path), name=path.stem)
    defaults = target.defaults
    if target.kind not in KINDS:
        raise UsageError(f"{path}: kind must be one of {', '.join(KINDS)}.")
    registry.match(defaults.format, registry.names("formats"), "format")
    load_recipe(defaults.recipe)
    if defaults.runtime is not None:
        registry.match(defaults.runtime, registry.names("runtimes"), "runtime")
    if defaults.threads < 1:
        raise UsageError(f"{path}: defaults: threads must be 1 or more.")
    return target
