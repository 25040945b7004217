"""An artifact, its sidecar, its identity, and the way both go to their place."""

import hashlib
import json
import os
from dataclasses import replace

import pytest

from edgekit import delivery
from edgekit.artifact import Artifact, measured, open_artifact, sidecar_of, write_sidecar
from edgekit.errors import ArtifactError
from edgekit.hashing import sha256_of, size_of
from edgekit.tensors import Dim, DType, Signature, TensorSpec
from edgekit.verification import OutputCheck, Verification


@pytest.fixture
def drafts(tmp_path):
    folder = tmp_path / "drafts"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def artifact_at(path, content="weights"):
    """Return an artifact with every field set; a name that ends in "/" makes a folder."""
    if path.suffix == ".mlpackage":
        (path / "Data").mkdir(parents=True)
        (path / "Data" / "weights").write_text(content)
    else:
        path.write_text(content)
    inputs = (TensorSpec("x", DType.INT32, (Dim("batch", 1, 8), 3), source_dtype=DType.INT64),)
    outputs = (TensorSpec("y", DType.FLOAT32, (1, 3)),)
    check = OutputCheck("y", "float32", (1, 3), float("inf"), 1.0, 0.0, 0.0, None, passed=True)
    return Artifact(
        path,
        "onnx",
        "fp32",
        Signature(inputs, outputs),
        program_sha256="ab" * 32,
        origin="m.py",
        options={"opset": 18},
        toolchain={"torch": "2"},
        verification=Verification("passed", runtime="r 1", samples=3, outputs=(check,)),
        **measured(path),
    )


@pytest.mark.parametrize("name", ["m.onnx", "m.mlpackage"])
def test_a_sidecar_brings_back_the_very_artifact(out, name):
    (out / f"{name}.data").write_text("companion")
    made = artifact_at(out / name)
    write_sidecar(made)
    assert open_artifact(made.path) == made
    assert list(made.companions) == [f"{name}.data"]
    assert made.size_bytes == len("weights") + len("companion")
    assert json.loads(made.sidecar.read_text())["schema_version"] == 1
    assert sorted(path.name for path in out.iterdir()) == [name, f"{name}.data", f"{name}.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "has schema version 2; this edgekit reads 1"),
        ({"signature": []}, "is not a sidecar that edgekit wrote"),
        ({"sha256": "00"}, "its contents have changed"),
        ({"recipe": None}, None),
    ],
)
def test_a_sidecar_of_another_kind_is_refused(out, change, said):
    made = artifact_at(out / "m.onnx")
    data = made.to_json() | change
    made.sidecar.write_text(json.dumps(data))
    if said is None:
        assert open_artifact(made.path).recipe is None
        return
    with pytest.raises(ArtifactError, match=said):
        open_artifact(made.path)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"schema_version": 1}', "\udcff"])
def test_a_damaged_sidecar_is_named(out, text):
    made = artifact_at(out / "m.onnx")
    made.sidecar.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ArtifactError, match=r"m\.onnx\.json is not a sidecar"):
        open_artifact(made.path)


def test_missing_files_are_told_apart(out):
    with pytest.raises(ArtifactError, match="There is no file"):
        open_artifact(out / "m.onnx")
    artifact_at(out / "m.onnx")
    with pytest.raises(ArtifactError, match="has no sidecar") as raised:
        open_artifact(out / "m.onnx")
    assert "edgekit convert" in raised.value.hint


# -- Identity --------------------------------------------------------------------------------------


def test_the_identity_of_a_file_is_its_sha256(out):
    (out / "a").write_bytes(b"abc" * 100_000)
    assert sha256_of(out / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_the_identity_of_a_folder_sees_names_places_and_contents_only(tmp_path):
    def identity(name, files, when=1.0):
        for path, text in files.items():
            place = tmp_path / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            os.utime(place, (when, when))
        return sha256_of(tmp_path / name)

    same = identity("one", {"a": "1", "d/b": "2"})
    assert identity("two", {"d/b": "2", "a": "1"}, when=9e8) == same
    others = [{"a": "1", "d/b": "3"}, {"a": "1", "e/b": "2"}, {"a": "2", "d/b": "1"}, {"a": "1"}]
    others.append({"a": "1", "d/b": "2", "c": ""})
    found = {identity(f"other{number}", files) for number, files in enumerate(others)}
    assert len(found | {same}) == 6
    assert size_of(tmp_path / "one") == 2


# -- Delivery --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.onnx", "m.mlpackage"])
def test_delivery_replaces_what_was_there_and_clears_the_rejected(drafts, out, name):
    delivery.deliver(artifact_at(drafts / name, "old"), out)
    rejected = delivery.reject(artifact_at(drafts / name, "bad"), out)
    assert rejected == out / f"{name}.rejected"
    assert json.loads(sidecar_of(rejected).read_text())["file"] == f"{name}.rejected"
    assert open_artifact(out / name).sha256 != sha256_of(rejected)
    placed = delivery.deliver(artifact_at(drafts / name, "new"), out)
    assert open_artifact(out / name) == placed
    assert placed.path == out / name
    assert sorted(path.name for path in out.iterdir()) == [name, f"{name}.json"]
    assert sha256_of(placed.path) == placed.sha256


def test_companions_go_along(drafts, out):
    (drafts / "m.onnx.data").write_text("companion")
    placed = delivery.deliver(artifact_at(drafts / "m.onnx"), out)
    assert [path.name for path in placed.files] == ["m.onnx", "m.onnx.data"]
    assert all(path.parent == out and path.is_file() for path in placed.files)


def test_a_copy_out_of_the_cache_leaves_it_whole(drafts, out):
    kept = artifact_at(out / "m.mlpackage")
    made = delivery.renamed(kept, drafts / "other.mlpackage")
    assert sha256_of(made.path) == sha256_of(kept.path) == made.sha256


def test_a_sidecar_that_cannot_be_written_leaves_nothing_behind(drafts, out, monkeypatch):
    old = delivery.deliver(artifact_at(drafts / "m.onnx", "old"), out)
    made = artifact_at(drafts / "m.onnx", "new")
    unwritable = replace(made, options={"opset": object()})
    with pytest.raises(TypeError):
        delivery.deliver(unwritable, out)
    assert open_artifact(out / "m.onnx") == old
    assert sorted(path.name for path in out.iterdir()) == ["m.onnx", "m.onnx.json"]
