"""The gate, names and versions, reproducibility, and what the command says."""

import json
import shutil

import pytest
from conftest import SAMPLES

import edgekit
from edgekit.artifact import sidecar_of
from edgekit.cli import main
from edgekit.errors import ArtifactError, UsageError, VerdictError
from edgekit.packaging import check, package


@pytest.fixture
def artifact(converted, tmp_path):
    """Return a copy of an artifact that a test may spoil."""
    kept = converted("digit_classifier", "onnx")
    for path in (kept, sidecar_of(kept)):
        shutil.copy(path, tmp_path)
    return tmp_path / kept.name


@pytest.fixture
def sidecar(artifact):
    """Return a function that changes the artifact's verification."""

    def change(value):
        data = json.loads(sidecar_of(artifact).read_text())
        data["verification"] = value(data["verification"]) if callable(value) else value
        sidecar_of(artifact).write_text(json.dumps(data))

    return change


def run(*arguments):
    with pytest.raises(SystemExit) as raised:
        main(["package", *map(str, arguments)])
    return raised.value.code


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (None, "never verified"),
        (lambda v: v | {"status": "failed", "reason": "it is wrong"}, "failed: it is wrong"),
        (lambda v: v | {"status": "not_run", "reason": "no runtime"}, "not run: no runtime"),
    ],
)
def test_gate_refuses_what_did_not_pass_unless_told_to_record_it(artifact, sidecar, verdict, said):
    sidecar(verdict)
    with pytest.raises(VerdictError, match=said):
        package([artifact], ["linux"], artifact.parent / "dist")
    assert not (artifact.parent / "dist").exists()
    (made,) = package([artifact], ["linux"], artifact.parent / "dist", allow_unverified=True)
    assert said in check(made.path).manifest["variants"][0]["unverified"]


def test_gate_refuses_another_file_than_the_one_verified(artifact):
    artifact.write_bytes(artifact.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match="contents have changed"):
        package([artifact], allow_unverified=True)


def test_budget_fails_and_leaves_nothing(artifact, capsys):
    dist = artifact.parent / "dist"
    assert run(artifact, "--for", "linux", "-o", dist, "--max-size", "100kB") == 3
    assert "above the budget of 100000" in capsys.readouterr().err
    assert list(dist.iterdir()) == []
    assert run(artifact, "--for", "linux", "-o", dist, "--max-size", "5 MB") == 0


@pytest.mark.parametrize("flavour", ["linux", "android"])
def test_same_artifact_same_bytes_anywhere(artifact, tmp_path, flavour, monkeypatch):
    first = package([artifact], [flavour], tmp_path / "first")[0]
    moved = tmp_path / "elsewhere" / artifact.name
    moved.parent.mkdir()
    for path in (artifact, sidecar_of(artifact)):
        shutil.copy(path, moved.parent)
    monkeypatch.chdir(moved.parent)
    source = SAMPLES / "digit_classifier.py"
    second = package([moved.name], [flavour], "out", processing=source)[0]
    assert second.sha256 == first.sha256
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    third = package([moved.name], [flavour], "out", processing=source)[0]
    assert third.sha256 != first.sha256
    check(third.path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "now")
    with pytest.raises(UsageError, match="not a number of seconds"):
        package([moved.name], [flavour], "out", processing=source)


def test_processing_is_never_lost_in_silence(artifact, monkeypatch):
    data = json.loads(sidecar_of(artifact).read_text())
    sidecar_of(artifact).write_text(json.dumps(data | {"origin": "gone/model.py:build"}))
    with pytest.raises(UsageError, match=r"gone/model.py is not here"):
        package([artifact], ["linux"], artifact.parent / "dist")


def test_names_and_versions(artifact, tmp_path):
    (made,) = package(
        [artifact], ["linux"], tmp_path / "d", name="my_digits", version="1.2.3", license="MIT"
    )
    assert made.path.name == "my_digits-1.2.3-py3-none-any.whl"
    assert check(made.path).manifest["card"]["license"] == "MIT"
    with pytest.raises(UsageError, match="cannot be named 'My-Digits'"):
        package([artifact], name="My-Digits")
    with pytest.raises(UsageError, match="no version"):
        package([artifact], version="v1")
    with pytest.raises(UsageError, match="Two artifacts of one format"):
        package([artifact, artifact], ["linux"])


def test_several_formats_become_several_packages(converted, tmp_path):
    paths = [converted("digit_classifier", each) for each in ("onnx", "tflite")]
    made = package(paths, ["linux"], tmp_path)
    assert sorted(each.path.name.partition("-")[0] for each in made) == [
        "digit_classifier_onnx",
        "digit_classifier_tflite",
    ]


def test_manifest_tells_no_path_of_the_maker(artifact, tmp_path):
    (made,) = package([artifact], ["linux"], tmp_path / "d")
    manifest = check(made.path).manifest
    assert manifest["variants"][0]["model"]["origin"] == "digit_classifier.py"
    assert manifest["variants"][0]["model"]["verification"]["status"] == "passed"
    assert str(tmp_path) not in json.dumps(manifest)


def test_command_makes_and_checks(artifact, tmp_path, capsys):
    assert run(artifact, "--for", "linux", "-o", tmp_path / "d", "--json") == 0
    (made,) = json.loads(capsys.readouterr().out)["packages"]
    assert run("--check", made["path"]) == 0
    assert "digit_classifier 0.1.0" in capsys.readouterr().out
    assert run("--check", made["path"], "--json") == 0
    assert (
        json.loads(capsys.readouterr().out)["packages"][made["path"]]["manifest"]["schema_version"]
        == 1
    )
    assert run(artifact, "--for", "windows") == 2
    assert run(artifact, "--max-size", "big") == 2
    assert run("--check", tmp_path / "none.whl") == 1


def test_benchmarks_of_the_artifact_go_into_the_manifest(artifact, tmp_path):
    record = edgekit.benchmark(artifact, runs=3).to_json()
    kept = tmp_path / "record.json"
    kept.write_text(json.dumps([record, record | {"sha256": "0" * 64}]))
    given = (artifact, "--for", "linux", "-o", tmp_path / "d", "--benchmark", kept)
    assert run(*given) == 0
    (wheel,) = (tmp_path / "d").iterdir()
    (variant,) = check(wheel).manifest["variants"]
    (found,) = variant["benchmarks"]
    assert found["samples_s"] == list(record["samples_s"])
    assert found["path"] == artifact.name
    kept.write_text(json.dumps(record | {"sha256": "0" * 64}))
    assert run(*given) == 2
    kept.write_text("{}")
    assert run(*given) == 2


def test_processing_from_a_toml_beside_the_model(artifact, tmp_path):
    data = json.loads(sidecar_of(artifact).read_text())
    sidecar_of(artifact).write_text(json.dumps(data | {"origin": str(tmp_path / "net.pt2")}))
    (tmp_path / "net.pt2").touch()
    (tmp_path / "edgekit.toml").write_text(
        '[preprocess.scan]\nkind = "image"\ninput = "image"\nchannels = "gray"\n'
        '[postprocess.digit]\nkind = "classes"\noutput = "output"\ntop_k = 1\n'
    )
    (made,) = package([artifact], ["linux"], tmp_path / "d")
    (variant,) = check(made.path).manifest["variants"]
    assert variant["processing"]["preprocess"]["scan"]["channels"] == "gray"
    assert variant["processing"]["postprocess"]["digit"]["top_k"] == 1
