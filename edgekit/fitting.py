"""Before a conversion, find what of the model its recipe may quantize.

``--accuracy-budget`` asks how exact the result is, ``--fast-here`` how fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import lowering
from edgekit.plan import Plan, calibration_name
from edgekit.quantize import calibration
from edgekit.quantize.within import Fast, Within, as_toml
from edgekit.workshop import Progress, Workshop, call, open_workshop


def fitted(plan: Plan, progress: Progress) -> tuple[Plan, Within | Fast]:
    """Return the plan with a recipe that fits, which is written beside the artifacts.

    Raises:
        ConversionError: there is none.
    """
    if not isinstance(plan.calibration, (str, Path, Mapping)):
        plan = replace(plan, calibration=list(plan.calibration))  # it is read twice
    if plan.fast_here:
        return _faster(plan, progress)
    with open_workshop(plan, progress) as shop:
        progress("export", "looking for the layers that 8 bits hurt")
        found = _found(plan, shop)
    (plan.output_dir / f"{_stem(plan)}.recipe.toml").write_text(as_toml(found))
    return replace(plan, recipe=found.recipe), found


def _faster(plan: Plan, progress: Progress) -> tuple[Plan, Fast]:
    (format_name,) = plan.formats
    with open_workshop(plan, progress) as shop:
        if isinstance(plan.source, str):
            call(shop, "export", "export_to", {"folder": str(shop.program), **_source(plan)})
        else:
            lowering.save(
                plan.source,
                shop.program,
                inputs=plan.inputs,
                input_data=plan.input_data,
                dynamic=plan.dynamic,
                bake=plan.bake,
            )
        request = {
            "folder": str(shop.program),
            "format_name": format_name,
            "recipe": plan.recipe.to_json(),
            "calibration": calibration.portable(plan.calibration, shop.temporary),
            "calibration_origin": calibration_name(plan.calibration),
            "options": plan.options[format_name],
            "drafts": str(shop.drafts),
        }
        found = Fast.from_json(call(shop, format_name, "fit_speed", request).value)
    (plan.output_dir / f"{_stem(plan)}.recipe.toml").write_text(found.as_toml())
    return replace(plan, recipe=found.recipe), found


def _source(plan: Plan) -> dict[str, Any]:
    return {
        "source": plan.source,
        "weights": str(plan.weights) if plan.weights else None,
        "inputs": list(plan.inputs),
        "input_data": str(plan.input_data) if plan.input_data else None,
        "metadata": plan.metadata,
        "bake": plan.bake,
    }


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
