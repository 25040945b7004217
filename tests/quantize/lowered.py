"""What `test_weights` runs in a worker: one converter's imports for many recipes."""

from pathlib import Path
from typing import Any

from edgekit import formats, registry
from edgekit import program as programs
from edgekit.errors import ConversionError
from edgekit.hashing import size_of
from edgekit.recipe import Recipe
from edgekit.verification import verify_file


def every(format_name: str, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Lower each program; return what verification finds, or why it was refused."""
    return {name: one(format_name, **job) for name, job in jobs.items()}


def one(format_name: str, folder: str, recipe: dict[str, Any], options: dict[str, Any], path: str):
    """Lower one program and verify it."""
    module, chosen = registry.load("formats", format_name), Recipe.from_json(recipe)
    program = programs.load(Path(folder))
    samples, references, file = program.samples, program.references, Path(path)
    try:
        signature = module.lower(program, chosen, formats.options_for(format_name, options), file)
    except ConversionError as error:
        return {"refused": error.message}
    verdict = verify_file(file, format_name, signature, samples, references, chosen.tolerance)
    return {"status": verdict.status, "reason": verdict.reason, "size": size_of(file)}
