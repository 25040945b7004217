"""Before a conversion, find what of the model its recipe may quantize.

``--accuracy-budget`` asks how exact the result is, ``--fast-here`` how fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import lowering, registry
from edgekit.plan import Plan, calibration_name
from edgekit.quantize import calibration
from edgekit.quantize.fit.within import Fast, Trial, Within
from edgekit.workshop import Progress, Workshop, call, open_workshop


def fitted(plan: Plan, progress: Progress) -> tuple[Plan, Within | Fast]:
    """Return the plan with a recipe that fits, which is written beside the artifacts.

    Raises:
        ConversionError: there is none.
    """
    if not isinstance(plan.calibration, (str, Path, Mapping)):
        plan = replace(plan, calibration=list(plan.calibration))  # it is read twice
    with open_workshop(plan, progress) as shop:
        _export(shop)
        found = _fast(shop) if plan.fast_here else _within(shop)
    (plan.output_dir / f"{_stem(plan)}.recipe.toml").write_text(found.as_toml())
    return replace(plan, recipe=found.recipe), found


def _export(shop: Workshop) -> None:
    """Save the float program."""
    plan = shop.plan
    given: dict[str, Any] = {
        "inputs": list(plan.inputs),
        "metadata": plan.metadata,
        "bake": plan.bake,
    }
    if not isinstance(plan.source, str):
        data = plan.input_data
        lowering.save(plan.source, shop.program, input_data=data, dynamic=plan.dynamic, **given)
        return
    request = {
        "folder": str(shop.program),
        "source": plan.source,
        "weights": str(plan.weights) if plan.weights else None,
        "input_data": str(plan.input_data) if plan.input_data else None,
        **given,
    }
    call(shop, "export", "export_to", request)


def _fast(shop: Workshop) -> Fast:
    (name,) = shop.plan.formats
    request = {**_request(shop), **_lowering(shop, name), "recipe": shop.plan.recipe.to_json()}
    return Fast.from_json(call(shop, name, "fit_speed", request).value)


def _within(shop: Workshop) -> Within:
    plan, given = shop.plan, _request(shop)
    request = {
        **given,
        "source": plan.source if isinstance(plan.source, str) else None,
        "formats": list(plan.formats),
        "recipe": plan.recipe.to_json(),
        "budget": plan.accuracy_budget,
        "integers_only": any(_integers_only(name, plan) for name in plan.formats),
    }
    found = Within.from_json(call(shop, "export", "fit_budget", request).value)
    began = f"all in {found.layers[0].first}" if found.layers else plan.recipe.name
    recipes = {began: plan.recipe.to_json()}
    if found.chosen:
        recipes["as converted"] = found.recipe.to_json()
    costs = {}
    for name in plan.formats:
        module = registry.load("formats", name)
        if module.unavailable() is None and module.supports(found.recipe) is None:
            asked = {**given, **_lowering(shop, name), "recipes": recipes}
            made = call(shop, name, "try_recipes", asked).value
            costs[name] = tuple(Trial(**each) for each in made)
    return replace(found, costs=costs)


def _integers_only(name: str, plan: Plan) -> bool:
    asks = getattr(registry.load("formats", name), "integers_only", None)
    return asks is not None and bool(asks(plan.options[name]))


def _request(shop: Workshop) -> dict[str, Any]:
    given = shop.plan.calibration
    return {
        "folder": str(shop.program),
        "calibration": calibration.portable(given, shop.temporary),
        "calibration_origin": calibration_name(given),
    }


def _lowering(shop: Workshop, name: str) -> dict[str, Any]:
    return {
        "format_name": name,
        "options": shop.plan.options[name],
        "drafts": str(shop.drafts),
    }


def _stem(plan: Plan) -> str:
    if plan.name:
        return plan.name
    if isinstance(plan.source, str):
        return Path(plan.source.partition(":")[0]).stem
    return plan.source.metadata.name
