"""Signatures and the bill of materials."""

import json
import uuid

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from test_packaging import artifact, run  # noqa: F401 - a fixture

from edgekit.errors import ArtifactError, UsageError, VerdictError
from edgekit.packages import _archive
from edgekit.packages._signature import signature_of
from edgekit.packaging import check, package

PRIVATE = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
PUBLIC = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def keys(folder, name):
    """Write a pair of keys as PEM, and return their paths."""
    private = ed25519.Ed25519PrivateKey.generate()
    paths = folder / f"{name}.pem", folder / f"{name}.pub"
    paths[0].write_bytes(private.private_bytes(*PRIVATE))
    paths[1].write_bytes(private.public_key().public_bytes(*PUBLIC))
    return paths


@pytest.fixture
def signed(artifact, tmp_path):  # noqa: F811
    """Return a signed package, and the public keys of its signer and of somebody else."""
    private, public = keys(tmp_path, "mine")
    _, other = keys(tmp_path, "other")
    (made,) = package([artifact], ["linux"], tmp_path / "d", key=private)
    return made.path, public, other


def test_a_signature_holds_for_its_key_only(signed):
    path, public, other = signed
    assert check(path).signed_by == check(path, public).signed_by != ""
    with pytest.raises(VerdictError, match="signed by another key"):
        check(path, other)
    signature_of(path).unlink()
    assert check(path).signed_by == ""
    with pytest.raises(VerdictError, match="has no signature"):
        check(path, public)


def test_folders_are_signed_as_files_are(artifact, tmp_path):  # noqa: F811
    private, public = keys(tmp_path, "mine")
    (made,) = package([artifact], ["android"], tmp_path / "d", key=private)
    assert made.path.is_dir()
    assert check(made.path, public).signed_by != ""
    (made.path / "more").touch()
    with pytest.raises(ArtifactError):
        check(made.path, public)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "0" * 64}, "of another package"),
        ({"signature": "AAAA"}, "not made by the key"),
        ({"public_key": "AAAA"}, "holds no Ed25519 key"),
        ({"algorithm": "none"}, "not a signature that edgekit wrote"),
        ({"more": 1}, "not a signature that edgekit wrote"),
    ],
)
def test_changed_signatures_are_named(signed, change, said):
    path, public, _ = signed
    record = json.loads(signature_of(path).read_text())
    signature_of(path).write_text(json.dumps(record | change))
    with pytest.raises(ArtifactError, match=said):
        check(path, public)


def test_a_resealed_package_does_not_pass_its_old_signature(signed, artifact, tmp_path):  # noqa: F811
    path, public, _ = signed
    kept = signature_of(path).read_bytes()
    package([artifact], ["linux"], path.parent, author="somebody else")
    assert not signature_of(path).exists()
    signature_of(path).write_bytes(kept)
    with pytest.raises(ArtifactError, match="of another package"):
        check(path, public)


def test_keys_that_are_none(artifact, tmp_path):  # noqa: F811
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(ed448.Ed448PrivateKey.generate().private_bytes(*PRIVATE))
    for key in (wrong, tmp_path / "none.pem", artifact):
        with pytest.raises(UsageError, match="holds no private Ed25519 key"):
            package([artifact], ["linux"], tmp_path / "d", key=key)
    assert not (tmp_path / "d").exists()


def test_command_signs_and_asks(artifact, tmp_path, capsys):  # noqa: F811
    private, public = keys(tmp_path, "mine")
    dist = tmp_path / "d"
    assert run(artifact, "--for", "linux", "-o", dist, "--sign", private) == 0
    (wheel,) = dist.glob("*.whl")
    assert run("--check", wheel, "--signed-by", public) == 0
    assert check(wheel).signed_by in capsys.readouterr().out
    assert run("--check", wheel, "--signed-by", keys(tmp_path, "other")[1]) == 3
    assert run(wheel, "--signed-by", public) == 2


@pytest.mark.parametrize(
    ("format_name", "flavour"), [("onnx", "linux"), ("tflite", "android"), ("coreml", "apple")]
)
def test_bill_of_materials(packed, format_name, flavour):
    path = packed("digit_classifier", format_name, flavour)
    manifest = check(path).manifest
    if flavour == "android":
        (path,) = path.rglob("*.aar")
    (bill,) = (json.loads(c) for n, c in _archive.read(path).items() if n.endswith(".cdx.json"))
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:"))
    (model,) = bill["components"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [
        {"alg": "SHA-256", "content": manifest["variants"][0]["model"]["sha256"]}
    ]
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["inputs"] == [{"format": "image: float32[1, 1, 8, 8]"}]
    tools = {each["name"]: each["version"] for each in bill["metadata"]["tools"]["components"]}
    assert tools.items() >= manifest["variants"][0]["model"]["toolchain"].items()
    references = {model["bom-ref"], bill["metadata"]["component"]["bom-ref"]}
    assert {each["ref"] for each in bill["dependencies"]} == references
