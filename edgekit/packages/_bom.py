"""The bill of materials: a CycloneDX 1.6 document (ECMA-424) with one machine-learning model.

It names the model, what it is made with and for, and the package that carries it.  It has no time
of its own and its serial number follows from the model, so that the same package has the same bill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import edgekit
from edgekit.packages import Cargo
from edgekit.tensors import TensorSpec

NAME = "edgekit-bom.cdx.json"


def describe(cargoes: Sequence[Cargo]) -> bytes:
    """Return the bill of a package."""
    card = cargoes[0].card
    references = [f"model:{cargo.artifact.sha256}" for cargo in cargoes]
    tools = {"edgekit": edgekit.__version__}
    for cargo in cargoes:
        tools |= cargo.artifact.toolchain
    identity = ":".join([*references, card.version])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [_tool(name, tools[name]) for name in sorted(tools)]},
            "component": {
                "type": "library",
                "bom-ref": f"package:{card.name}",
                "name": card.name,
                "version": card.version,
            },
        },
        "components": list(map(_model, cargoes, references)),
        "dependencies": [
            {"ref": f"package:{card.name}", "dependsOn": references},
            *({"ref": reference, "dependsOn": []} for reference in references),
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _tool(name: str, version: str) -> dict[str, str]:
    return {"type": "application", "name": name, "version": version}


def _model(cargo: Cargo, reference: str) -> dict[str, Any]:
    artifact, card = cargo.artifact, cargo.card
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": card.name,
        "version": card.version,
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "modelCard": {
            "modelParameters": {
                "inputs": [{"format": _tensor(spec)} for spec in artifact.signature.inputs],
                "outputs": [{"format": _tensor(spec)} for spec in artifact.signature.outputs],
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(cargo)},
        },
        "properties": [
            {"name": "edgekit:format", "value": artifact.format},
            {"name": "edgekit:recipe", "value": artifact.recipe},
            {"name": "edgekit:program-sha256", "value": artifact.program_sha256},
        ],
    }
    if card.description:
        model["description"] = card.description
    if card.author:
        model["authors"] = [{"name": card.author}]
    if card.license:
        model["licenses"] = [{"license": {"name": card.license}}]
    return model


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype.value}{list(map(str, spec.shape))}".replace("'", "")


def _metrics(cargo: Cargo) -> list[dict[str, str]]:
    """Return the figures of the verification, against the model it was converted from."""
    verdict = cargo.artifact.verification
    figures = {} if verdict is None else {"SQNR in dB": verdict.sqnr_db, "cosine": verdict.cosine}
    return [
        {"type": name, "value": f"{value:.9g}"}
        for name, value in figures.items()
        if value is not None
    ]
