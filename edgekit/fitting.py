"""``--accuracy-budget``: before a conversion, find what of the model its recipe may quantize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit import lowering
from edgekit.plan import Plan, calibration_name
from edgekit.quantize import calibration
from edgekit.quantize.within import Within, as_toml
from edgekit.workshop import Progress, Workshop, call, open_workshop


def fitted(plan: Plan, progress: Progress) -> tuple[Plan, Within]:
    """Return the plan with a recipe that meets its budget, which is written beside the artifacts.

    Raises:
        ConversionError: no layer can be quantized within the budget.
    """
    if not isinstance(plan.calibration, (str, Path, Mapping)):
        plan = replace(plan, calibration=list(plan.calibration))  # it is read twice
    with open_workshop(plan, progress) as shop:
        progress("export", "looking for the layers that 8 bits hurt")
        found = _found(plan, shop)
    (plan.output_dir / f"{_stem(plan)}.recipe.toml").write_text(as_toml(found))
    return replace(plan, recipe=found.recipe), found


def _found(plan: Plan, shop: Workshop) -> Within:
    assert plan.accuracy_budget is not None
    if not isinstance(plan.source, str):
        return Within.from_json(
            lowering.fit_budget_here(
                plan.source,
                plan.recipe,
                plan.calibration,
                plan.accuracy_budget,
                plan.inputs,
                plan.dynamic,
            )
        )
    request = {
        "source": plan.source,
        "weights": str(plan.weights) if plan.weights else None,
        "inputs": list(plan.inputs),
        "input_data": str(plan.input_data) if plan.input_data else None,
        "recipe": plan.recipe.to_json(),
        "calibration": calibration.portable(plan.calibration, shop.temporary),
        "calibration_origin": calibration_name(plan.calibration),
        "budget": plan.accuracy_budget,
    }
    return Within.from_json(call(shop, "export", "fit_budget", request).value)


def _stem(plan: Plan) -> str:
    if plan.name:
        return plan.name
    if isinstance(plan.source, str):
        return Path(plan.source.partition(":")[0]).stem
    return plan.source.metadata.name
