"""Which artifacts go into which package; variants of one model, their names, what they share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.packages import Cargo
from edgekit.processing.schema import Step

_OF_THE_ARTIFACT = frozenset(("dtype", "mask_dtype", "shape", "layout", "axis"))
"""Options of steps in which variants may differ, since an app's call does not show them."""


def plan(
    cargoes: Sequence[Cargo],
    chosen: Sequence[str],
    socs: Mapping[str, Sequence[str]],
    *,
    together: bool,
) -> list[tuple[str, list[Cargo]]]:
    """Return flavours, each with what goes into one package.

    Args:
        cargoes: What is to be packaged.
        chosen: Names of flavours; none for all that take one of the artifacts.
        socs: Systems on a chip by variant.
        together: Whether artifacts of a flavour become variants in one package.

    Raises:
        UsageError: a flavour is not known, or the artifacts do not fit it.
    """
    known = registry.names("packages")
    wanted = [registry.match(each, known, "package flavour") for each in chosen] or list(known)
    planned: list[tuple[str, list[Cargo]]] = []
    for flavour in wanted:
        module = registry.load("packages", flavour)
        fitting = [cargo for cargo in cargoes if cargo.artifact.format in module.FORMATS]
        if chosen and not fitting:
            raise UsageError(
                f"The flavour {flavour!r} packages {', '.join(module.FORMATS)}, and no such "
                "artifact is given.",
                f"Convert the model --to {module.FORMATS[0]} first.",
            )
        if fitting and together and module.VARIANTS:
            planned.append((flavour, as_variants(fitting, socs)))
        elif together and chosen and len(fitting) > 1:
            raise UsageError(f"The flavour {flavour!r} has no packages with variants.")
        else:
            planned += [(flavour, [cargo]) for cargo in _suffixed(flavour, fitting)]
    if socs and not together:
        raise UsageError("Only variants are chosen by chip.", "Add --variants.")
    return planned


def _suffixed(flavour: str, cargoes: Sequence[Cargo]) -> list[Cargo]:
    """Return cargoes whose packages have names of their own."""
    kinds = [cargo.artifact.format for cargo in cargoes]
    if len(set(kinds)) != len(kinds):
        raise UsageError(
            f"Two artifacts of one format are given for {flavour!r}.",
            "Package them one by one under two --name, or together with --variants.",
        )
    if len(kinds) < 2:
        return list(cargoes)
    cards = [replace(c.card, name=f"{c.card.name}_{c.artifact.format}") for c in cargoes]
    return [replace(cargo, card=card) for cargo, card in zip(cargoes, cards, strict=True)]


def as_variants(cargoes: Sequence[Cargo], socs: Mapping[str, Sequence[str]]) -> list[Cargo]:
    """Return the cargoes as variants of one package, each with a name of its own.

    A name is what tells a variant from the others: its format, its recipe, or both; failing that,
    the name of its file.

    Args:
        cargoes: One or more.
        socs: Systems on a chip by variant.

    Raises:
        UsageError: names are not distinct or known, or an app could not call all variants alike.
    """
    names = _names(cargoes) if len(cargoes) > 1 else [""]
    for name in socs:
        if name not in names:
            raise UsageError(
                f"There is no variant {name!r} to choose for a system on a chip.",
                f"Variants: {', '.join(filter(None, names)) or 'none'}.",
            )
    chips = [soc for each in socs.values() for soc in each]
    if len(set(chips)) != len(chips):
        raise UsageError("Two variants are meant for one system on a chip.")
    for cargo in cargoes[1:]:
        if _interface(cargo) != _interface(cargoes[0]):
            raise UsageError(
                f"{cargo.artifact.path} and {cargoes[0].artifact.path} take or give different "
                "things, so they are not variants of one model.",
                "Variants share arguments, results, labels and processing.",
            )
    return [
        replace(cargo, variant=name, socs=tuple(socs.get(name, ())))
        for cargo, name in zip(cargoes, names, strict=True)
    ]


def _names(cargoes: Sequence[Cargo]) -> list[str]:
    artifacts = [cargo.artifact for cargo in cargoes]
    candidates = (
        [each.format for each in artifacts],
        [each.recipe for each in artifacts],
        [f"{each.format}_{each.recipe}" for each in artifacts],
        [re.sub("[^a-z0-9]+", "_", each.path.stem.lower()).strip("_") for each in artifacts],
    )
    for names in candidates:
        if len(set(names)) == len(names):
            return names
    raise UsageError(
        "The variants have nothing that tells one from another.", "Rename their files."
    )


def _interface(cargo: Cargo) -> list[Any]:
    return [_visible(step) for step in (*cargo.bound.before, *cargo.bound.after)]


def _visible(step: Step) -> tuple[Any, ...]:
    options = {key: step.options[key] for key in step.options if key not in _OF_THE_ARTIFACT}
    return step.name, step.kind, options
