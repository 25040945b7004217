"""Core ML model files without coremltools: ``.mlpackage`` and ``.mlmodel`` to plain data.

edgekit parses the files itself, because that was measured (``scripts/mil_speed.py``, MobileNetV2 in
float16, a shared 2-core x86-64 machine, fresh processes): reading the model takes 0.2 to 0.6 s with
all imports, where ``import coremltools`` alone takes 6 to 20 s.  It also reads on machines without
coremltools, maps weights instead of copying them, and refuses damaged files with one sentence.

Nothing outside the package is ever read: manifest paths and weight file names that are absolute,
climb with ``..`` or lead out through a link are refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ArtifactError
from edgekit.tensors import Signature
from edgekit.wire import ModelSummary, by_size, map_file, modelproto, reading
from edgekit.wire.mil import (
    Array,
    Block,
    DictionaryType,
    Function,
    ListType,
    Named,
    Operation,
    Packed,
    Program,
    StateType,
    TensorType,
    TupleType,
    Value,
    ValueType,
    operations,
    weight_bytes,
)
from edgekit.wire.milblob import BlobFile
from edgekit.wire.milproto import Parser
from edgekit.wire.mlsignature import signature_of
from edgekit.wire.modelproto import Feature, Interface
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
    "summarize",
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
_MAX_MANIFEST = 1 << 20
_IOS = {6: 15, 7: 16, 8: 17, 9: 18}


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

    @property
    def ios(self) -> int:
        """Oldest iOS that opens the model; 14 stands for every one before ML Programs."""
        return _IOS.get(self.spec_version, 14)

    @property
    def function(self) -> Function | None:
        """The program's default function; None for models that are no ML Program."""
        return self.program.functions[self.default_function] if self.program else None

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the default function."""
        return signature_of(self.interface, self.function)


def read_model(path: Path) -> ModelFile:
    """Read an ``.mlpackage`` folder or an ``.mlmodel`` file; weights are mapped, not loaded.

    Raises:
        ArtifactError: the file is missing, damaged, or points outside of itself.
    """
    if not path.exists():
        raise ArtifactError(f"There is no Core ML model at {path}.")
    with reading(path, "Core ML model"):
        if path.is_dir():
            data = (path / "Data").resolve()
            spec = _inside(data, _root_item(path))
        else:
            spec = path.resolve()
            data = spec.parent
        return _model(Message(map_file(spec)), _Weights(data, spec.parent))


def summarize(path: Path) -> ModelSummary:
    """Return the format-independent summary of a Core ML model.

    Raises:
        ArtifactError: the file is missing, damaged, or points outside of itself.
    """
    model = read_model(path)
    ops: Counter[str] = Counter()
    needs = f"iOS {model.ios}" if model.ios in _IOS.values() else "iOS 14 or older"
    details = {
        "kind": model.kind,
        "specification": f"{model.spec_version} (needs {needs})",
    }
    if model.program is not None:
        ops.update(op.type for op in operations(model.program) if op.type != "const")
        opsets = sorted({function.opset for function in model.program.functions.values()})
        details |= {"functions": ", ".join(model.interfaces), "opset": ", ".join(opsets)}
    states = ", ".join(feature.name for feature in model.interface.states)
    return ModelSummary(
        signature=model.signature,
        ops=by_size(ops),
        parameter_bytes=by_size(Counter(weight_bytes(model.program) if model.program else {})),
        metadata=dict(model.metadata),
        details=details | ({"states": states} if states else {}),
        notes=() if model.program else (f"Operations of a {model.kind} are not listed.",),
    )


class _Weights:
    """The weight files of a model, opened at first use; none outside of `root` is."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._prefix = folder.relative_to(root)
        self._files: dict[str, BlobFile] = {}

    def read(self, name: str, offset: int, dtype: str) -> memoryview:
        if name not in self._files:
            relative = str(self._prefix / name.removeprefix("@model_path/"))
            self._files[name] = BlobFile(_inside(self._root, relative))
        return self._files[name].read(offset, dtype)


def _root_item(package: Path) -> str:
    """Return the path, relative to ``Data``, of the package's model specification."""
    try:
        with (package / "Manifest.json").open("rb") as file:
            manifest = json.loads(file.read(_MAX_MANIFEST))
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except OSError as error:
        raise ArtifactError(f"Its Manifest.json cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError("Its Manifest.json names no model.") from None
    if not isinstance(item, str):
        raise ArtifactError("Its Manifest.json names no model.")
    return item


def _inside(root: Path, relative: str) -> Path:
    """Return the file `relative` to `root`, having made sure that it lies within."""
    refusal = ArtifactError(f"It points at {relative!r}, which is not a file inside of it.")
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
        raise ArtifactError("It does not hold one model.")
    description = message.message(2)
    interfaces, default = modelproto.interfaces(description)
    program = None
    if kinds == ["mlProgram"]:
        program = Parser(weights.read).program(message.message(502))
        if default not in program.functions:
            raise ArtifactError(f"The ML Program lacks its default function {default!r}.")
    return ModelFile(
        message.integer(1), kinds[0], interfaces, default, modelproto.metadata(description), program
    )
