"""Core ML model files without coremltools: ``.mlpackage`` and ``.mlmodel`` to plain data.

edgekit parses the files itself instead of asking coremltools, for these measured reasons (see
``scripts/mil_speed.py``): MEASURED.

Nothing outside the package is ever read: manifest paths and weight file names that are absolute,
climb with ``..`` or lead out through a link are refused.  Field numbers are those of coremltools'
``mlmodel/format/Model.proto`` and ``FeatureTypes.proto``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ArtifactError
from edgekit.wire.mil import (
    Array,
    Block,
    DictionaryType,
    Function,
    ListType,
    Named,
    Operation,
    Packed,
    Parser,
    Program,
    StateType,
    TensorType,
    TupleType,
    Value,
    ValueType,
    operations,
    weight_bytes,
)
from edgekit.wire.milblob import BlobFile, map_file
from edgekit.wire.protobuf import Message

__all__ = [
    "Array",
    "Block",
    "DictionaryType",
    "Feature",
    "Function",
    "Interface",
    "ListType",
    "ModelFile",
    "Named",
    "Operation",
    "Packed",
    "Program",
    "StateType",
    "TensorType",
    "TupleType",
    "Value",
    "ValueType",
    "operations",
    "read_model",
    "weight_bytes",
]

_KINDS = {
    200: "pipelineClassifier", 201: "pipelineRegressor", 202: "pipeline",
    300: "glmRegressor", 301: "supportVectorRegressor", 302: "treeEnsembleRegressor",
    303: "neuralNetworkRegressor", 304: "bayesianProbitRegressor",
    400: "glmClassifier", 401: "supportVectorClassifier", 402: "treeEnsembleClassifier",
    403: "neuralNetworkClassifier", 404: "kNearestNeighborsClassifier",
    500: "neuralNetwork", 501: "itemSimilarityRecommender", 502: "mlProgram",
    555: "customModel", 556: "linkedModel", 560: "classConfidenceThresholding",
    600: "oneHotEncoder", 601: "imputer", 602: "featureVectorizer", 603: "dictVectorizer",
    604: "scaler", 606: "categoricalMapping", 607: "normalizer", 609: "arrayFeatureExtractor",
    610: "nonMaximumSuppression", 900: "identity",
    2000: "textClassifier", 2001: "wordTagger", 2002: "visionFeaturePrint",
    2003: "soundAnalysisPreprocessing", 2004: "gazetteer", 2005: "wordEmbedding",
    2006: "audioFeaturePrint", 3000: "serializedModel",
}  # fmt: skip
_FEATURES = {
    1: "int64", 2: "double", 3: "string", 4: "image", 5: "multiArray", 6: "dictionary",
    7: "sequence", 8: "state",
}  # fmt: skip
_ARRAY_TYPES = {
    65552: "float16", 65568: "float32", 65600: "float64", 131080: "int8", 131104: "int32",
}  # fmt: skip
_COLORS = {10: "grayscale", 20: "rgb", 30: "bgr", 40: "grayscale_float16"}
_MAX_MANIFEST = 1 << 20


@dataclass(frozen=True)
class Feature:
    """An input, output or state, as the model's description declares it.

    Attributes:
        name: As the program spells it.
        kind: ``"multiArray"``, ``"image"``, ``"state"``, ``"string"``, ``"dictionary"``, ...
        dtype: Element type of an array or state; None for other kinds.
        shape: Default shape; an image's is (height, width).
        choices: All shapes, when they are enumerated.
        ranges: Per axis (lowest, highest or None), when shapes are ranges.
        color: Colour space of an image.
        optional: Whether an input may be left out.
        default: What an optional input is filled with.
    """

    name: str
    kind: str
    dtype: str | None = None
    shape: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    color: str | None = None
    optional: bool = False
    default: float = 0.0


@dataclass(frozen=True)
class Interface:
    """What one function of a model takes, gives and remembers."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]


@dataclass(frozen=True)
class ModelFile:
    """A Core ML model file.

    Attributes:
        spec_version: Of the format: 6 is iOS15, 7 iOS16, 8 iOS17, 9 iOS18.
        kind: Field name in Model.proto: ``"mlProgram"``, ``"neuralNetwork"``, ``"pipeline"``, ...
        interfaces: By function name; models without functions have the one, ``"main"``.
        default_function: Name of the function that runs unless another is asked for.
        metadata: Author, licence, version and description, and all user-defined entries.
        program: The ML Program; None for other kinds.
    """

    spec_version: int
    kind: str
    interfaces: Mapping[str, Interface]
    default_function: str
    metadata: Mapping[str, str]
    program: Program | None

    @property
    def interface(self) -> Interface:
        """Interface of the default function."""
        return self.interfaces[self.default_function]


def read_model(path: Path) -> ModelFile:
    """Read an ``.mlpackage`` folder or an ``.mlmodel`` file; weights are mapped, not loaded.

    Raises:
        ArtifactError: the file is missing, damaged, or points outside of itself.
    """
    if path.is_dir():
        data = path / "Data"
        spec = _inside(data, _root_item(path), path.name)
        folder = spec.parent
    elif path.is_file():
        spec, data, folder = path, path.parent, path.parent
    else:
        raise ArtifactError(f"There is no Core ML model at {path}.")
    try:
        return _model(Message(map_file(spec)), _Weights(data, folder))
    except struct.error:  # a number of the wrong width, from `Message.float32`
        raise ArtifactError(f"{path.name} holds a number of the wrong width.") from None


class _Weights:
    """The weight files of a model, opened at first use; none outside of `root` is."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._files: dict[str, BlobFile] = {}

    def read(self, name: str, offset: int, dtype: str) -> memoryview:
        if name not in self._files:
            prefix = self._folder.relative_to(self._root)
            relative = str(prefix / name.removeprefix("@model_path/"))
            self._files[name] = BlobFile(_inside(self._root, relative, self._root.name))
        return self._files[name].read(offset, dtype)


def _root_item(package: Path) -> str:
    """Return the path, relative to ``Data``, of the package's model specification."""
    try:
        with (package / "Manifest.json").open("rb") as file:
            manifest = json.loads(file.read(_MAX_MANIFEST))
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except OSError as error:
        raise ArtifactError(f"{package.name} has no readable Manifest.json: {error}.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(f"The Manifest.json of {package.name} names no model.") from None
    if not isinstance(item, str):
        raise ArtifactError(f"The Manifest.json of {package.name} names no model.")
    return item


def _inside(root: Path, relative: str, package: str) -> Path:
    """Return the file `relative` to `root`, having made sure that it lies within."""
    refusal = ArtifactError(f"{package} points at {relative!r}, which is not a file inside of it.")
    parts = Path(relative)
    if "\0" in relative or parts.is_absolute() or ".." in parts.parts:
        raise refusal
    try:
        found = (root / parts).resolve(strict=True)
        safe = found.is_file() and found.is_relative_to(root.resolve(strict=True))
    except (OSError, RuntimeError):
        raise refusal from None
    if not safe:
        raise refusal
    return found


def _model(message: Message, weights: _Weights) -> ModelFile:
    kinds = [name for number, name in _KINDS.items() if number in message]
    if len(kinds) != 1:
        raise ArtifactError("The file is not a Core ML model: it does not hold one model.")
    description = message.message(2)
    interfaces, default = _interfaces(description)
    program = None
    if kinds == ["mlProgram"]:
        program = Parser(weights.read).program(message.message(502))
        if default not in program.functions:
            raise ArtifactError(f"The ML Program lacks its default function {default!r}.")
    return ModelFile(
        message.integer(1), kinds[0], interfaces, default, _metadata(description), program
    )


def _interfaces(description: Message) -> tuple[dict[str, Interface], str]:
    found = {entry.text(1): _interface(entry, (2, 3, 6)) for entry in description.messages(20)} or {
        "main": _interface(description, (1, 10, 13))
    }
    default = description.text(21) or ("main" if "main" in found else next(iter(found)))
    if default not in found:
        raise ArtifactError(f"The model's default function {default!r} is not described.")
    return found, default


def _interface(message: Message, fields: tuple[int, int, int]) -> Interface:
    groups = [tuple(_feature(entry) for entry in message.messages(field)) for field in fields]
    return Interface(*groups)


def _feature(message: Message) -> Feature:
    name, kind = message.text(1), message.message(3)
    number = next((number for number in _FEATURES if number in kind), None)
    if number is None:
        raise ArtifactError(f"The model describes {name!r} with an unknown type.")
    found, optional = kind.message(number), bool(kind.integer(1000))
    if number == 8:
        found = found.message(1)
    if number in (5, 8):
        return _array_feature(name, _FEATURES[number], found, optional=optional)
    if number == 4:
        return _image_feature(name, found, optional=optional)
    return Feature(name, _FEATURES[number], optional=optional)


def _array_feature(name: str, kind: str, message: Message, *, optional: bool) -> Feature:
    dtype = _ARRAY_TYPES.get(message.integer(2))
    if dtype is None:
        raise ArtifactError(f"The model describes {name!r} with an unknown element type.")
    return Feature(
        name,
        kind,
        dtype,
        tuple(message.integers(1)),
        tuple(tuple(item.integers(1)) for item in message.message(21).messages(1)),
        tuple(_range(item) for item in message.message(31).messages(1)),
        optional=optional,
        default=message.integer(41) or message.float32(51) or message.float64(61),
    )


def _image_feature(name: str, message: Message, *, optional: bool) -> Feature:
    limits = message.message(31)
    sizes = message.message(21).messages(1)
    return Feature(
        name,
        "image",
        shape=(message.integer(2), message.integer(1)),
        choices=tuple((item.integer(2), item.integer(1)) for item in sizes),
        ranges=(_range(limits.message(2)), _range(limits.message(1))) if 31 in message else (),
        color=_COLORS.get(message.integer(3), "unknown"),
        optional=optional,
    )


def _range(message: Message) -> tuple[int, int | None]:
    high = message.integer(2)
    return message.integer(1), None if high < 0 else high


def _metadata(description: Message) -> dict[str, str]:
    found = description.message(100)
    fixed = {"shortDescription": 1, "versionString": 2, "author": 3, "license": 4}
    named = {name: text for name, number in fixed.items() if (text := found.text(number))}
    return named | {entry.text(1): entry.text(2) for entry in found.messages(100)}
