"""Damaged packages: one clear error or another output, never a crash; nothing outside is read.

``scripts/corrupt_coreml.py`` does the same a thousand times.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.runtimes import Arrays, open_session
from edgekit.wire.mlprogram import read_model
from tests.mil.corruption import MANIFEST, SPEC, WEIGHTS, corrupt, outcome
from tests.mil.packages import convert, make

pytestmark = pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, inputs = make("convnet")
    return convert(model, inputs, tmp_path_factory.mktemp("sound") / "m.mlpackage", half=True)


@pytest.fixture(scope="module")
def feeds() -> Arrays:
    return {"x": make("convnet")[1][0].numpy()}


@pytest.mark.parametrize("block", range(6))
def test_damage_is_refused_or_shows(sound: Path, feeds: Arrays, tmp_path: Path, block: int) -> None:
    with open_session(sound, "coreml", runtime="mil") as session:
        want = session.run(feeds)
    seen = [
        outcome(tmp_path / "bad.mlpackage", feeds, want)
        for seed in range(10 * block, 10 * block + 10)
        if corrupt(sound, tmp_path / "bad.mlpackage", seed)
    ]
    assert "refused" in seen


def test_the_damage_generator_is_seeded_and_does_damage(sound: Path, tmp_path: Path) -> None:
    for seed in range(20):
        for name in ("one", "two"):
            corrupt(sound, tmp_path / name, seed)
        files = {name: [(tmp_path / name / f).read_bytes() for f in (SPEC, WEIGHTS, MANIFEST)]
                 for name in ("one", "two")}  # fmt: skip
        assert files["one"] == files["two"]
        assert files["one"] != [(sound / f).read_bytes() for f in (SPEC, WEIGHTS, MANIFEST)]


def damaged(sound: Path, target: Path, name: str, change: object) -> Path:
    import shutil

    shutil.copytree(sound, target)
    path = target / name
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    return target


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "a/../../secret", "missing", ""])
def test_a_manifest_that_leads_outside_is_refused(sound: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes((sound / SPEC).read_bytes())

    def redirect(data: bytes) -> bytes:
        manifest = json.loads(data)
        manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
        return json.dumps(manifest).encode()

    bad = damaged(sound, tmp_path / "bad.mlpackage", MANIFEST, redirect)
    with pytest.raises(ArtifactError, match="not a file inside of it"):
        read_model(bad)


def test_a_link_out_of_the_package_is_refused(sound: Path, tmp_path: Path) -> None:
    for name in (SPEC, WEIGHTS):
        bad = damaged(sound, tmp_path / name.replace("/", "_"), name, lambda data: data)
        (bad / name).unlink()
        (bad / name).symlink_to((sound / name).resolve())
        with pytest.raises(ArtifactError, match="not a file inside of it"):
            read_model(bad)


@pytest.mark.parametrize("name", ["/etc/passwd", "@model_path/../../../x", "@model_path/weights"])
def test_a_weight_file_outside_is_refused(sound: Path, tmp_path: Path, name: str) -> None:
    old = b"@model_path/weights/weight.bin"
    new = name.encode().ljust(len(old), b"/" if name.startswith("@") else b"x")
    bad = damaged(sound, tmp_path / "m.mlpackage", SPEC, lambda data: data.replace(old, new))
    with pytest.raises(ArtifactError, match="not a file inside of it"):
        read_model(bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:32], "cut short"),
        (lambda data: b"\1" * 8 + data[8:], "edgekit reads version 2"),
        (lambda data: data.replace(b"\xef\xbe\xad\xde", b"\0\0\0\0"), "marker is missing"),
        (lambda data: data[:-64], "outside of the file|cannot hold"),
        (lambda data: data.replace(b"\xef\xbe\xad\xde\1\0", b"\xef\xbe\xad\xde\2\0"), "says float"),
        (lambda data: b"", "cannot be read"),
    ],
)  # fmt: skip
def test_a_damaged_weight_file_says_how(
    sound: Path, tmp_path: Path, change: object, message: str
) -> None:
    bad = damaged(sound, tmp_path / "m.mlpackage", WEIGHTS, change)
    with pytest.raises(ArtifactError, match=message):
        read_model(bad)


def test_other_kinds_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no Core ML model at"):
        read_model(tmp_path / "missing.mlpackage")
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(ArtifactError, match=r"Manifest\.json cannot be read"):
        read_model(tmp_path / "empty.mlpackage")
    (tmp_path / "text.mlmodel").write_text("hello")
    with pytest.raises(ArtifactError):
        read_model(tmp_path / "text.mlmodel")


def test_a_sound_package_still_gives_the_same(sound: Path, feeds: Arrays) -> None:
    runs = []
    for _ in range(2):
        with open_session(sound, "coreml", runtime="mil") as session:
            runs.append(session.run(feeds))
    assert outcome(sound, feeds, runs[0]) == "unaffected"
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in runs[0])
