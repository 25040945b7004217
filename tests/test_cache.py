"""The cache: what is in it is used, what changed is made anew, what is damaged is noticed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import cache, convert, hashing, worker
from edgekit.errors import EdgekitError
from edgekit.plan import artifact_key, source_key
from edgekit.plan import plan as planned
from tests import in_process


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Give each test an empty cache."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(tmp_path, key="k" * 64):
    """Store an entry of a folder and a companion file; return its key."""
    model, companion = tmp_path / "m.mlpackage", tmp_path / "m.mlpackage.data"
    (model / "Data").mkdir(parents=True)
    (model / "Data" / "weights").write_bytes(bytes(range(64)))
    (model / "Manifest.json").write_text("{}")
    companion.write_text("companion")
    record = {
        "file": model.name,
        "sha256": hashing.sha256_of(model),
        "companions": {companion.name: hashing.sha256_of(companion)},
        "verification": {"status": "passed", "sqnr_db": 93.5},
    }
    cache.store(key, [model, companion], record)
    assert cache.find(key) == (cache.folder() / "artifacts" / key / model.name, record)
    return key


def files_of(key):
    return sorted(p for p in (cache.folder() / "artifacts" / key).rglob("*") if p.is_file())


def damaged(file, at, kind):
    data = bytearray(file.read_bytes())
    if kind == "flip":
        data[at] ^= 0x01
    elif kind == "cut":
        del data[at:]
    file.write_bytes(data)
    if kind == "remove":
        file.unlink()


@pytest.mark.parametrize("kind", ["flip", "cut", "remove"])
def test_any_damage_to_any_file_of_an_entry_is_a_miss(tmp_path, kind):
    key = stored(tmp_path)
    whole = {file: file.read_bytes() for file in files_of(key)}
    assert len(whole) == 4
    for file, data in whole.items():
        for at in range(0, len(data), 3 if kind == "flip" else 9):
            damaged(file, at, kind)
            assert cache.find(key) is None, f"{file.name} byte {at}"
            assert not file.parent.exists() or not files_of(key), "a damaged entry is dropped"
            for each, content in whole.items():
                each.parent.mkdir(parents=True, exist_ok=True)
                each.write_bytes(content)
            assert cache.find(key) is not None
            if kind == "remove":
                break


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_damaged_memo_of_a_source_is_forgotten(tmp_path, at):
    read = tmp_path / "model.py"
    read.write_text("x = 1")
    cache.remember("s", {"sha256": "ab"}, [read])
    assert cache.recall("s") == {"sha256": "ab"}
    damaged(cache.folder() / "sources" / "s.json", at, "flip")
    assert cache.recall("s") is None


def test_a_memo_ends_with_the_files_that_were_read(tmp_path):
    read = tmp_path / "model.py"
    read.write_text("x = 1")
    cache.remember("s", {"sha256": "ab"}, [read])
    read.write_text("x = 2")
    assert cache.recall("s") is None
    read.write_text("x = 1")
    assert cache.recall("s") == {"sha256": "ab"}
    read.unlink()
    assert cache.recall("s") is None


def test_the_least_recently_used_go_first(tmp_path, monkeypatch):
    keys = [letter * 64 for letter in "abc"]
    for age, key in enumerate(keys):
        (tmp_path / key).mkdir()
        stored(tmp_path / key, key)
        os.utime(cache.folder() / "artifacts" / key, (1e9 + age, 1e9 + age))
    assert cache.find(keys[0]) is not None  # used just now
    one = hashing.size_of(cache.folder() / "artifacts" / keys[0])
    monkeypatch.setenv("EDGEKIT_CACHE_LIMIT", str(3 * one))
    (tmp_path / "d").mkdir()
    stored(tmp_path / "d", "d" * 64)
    assert [cache.find(key) is not None for key in (*keys, "d" * 64)] == [True, False, True, True]


CHANGES = {
    "recipe": {"recipe": "fp16"},
    "options": {"options": {"opset": 22}},
    "weights": {"weights": "w.pth"},
    "inputs": {"inputs": ["x:2,3"]},
    "data": {"input_data": "d.npz"},
    "metadata": {"metadata": {"author": "me"}},
}
PROGRAM = {"sha256": "ab", "samples_sha256": "cd", "metadata": {"name": "m"}}


def keys_of(program=PROGRAM, **more):
    made = planned("m.py", formats=["onnx"], **more)
    return source_key(made), artifact_key(made, program, "onnx")


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_shapes_the_result_is_in_a_key(change):
    assert keys_of() == keys_of()
    assert keys_of(**CHANGES[change]) != keys_of()


@pytest.mark.parametrize("part", PROGRAM)
def test_whatever_the_program_holds_is_in_the_artifacts_key(part):
    assert keys_of(program={**PROGRAM, part: "other"})[1] != keys_of()[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan.exporting.toolchain", lambda: {"torch": "9"}),
        ("formats.onnx.toolchain", lambda: {"onnx": "9"}),
        ("plan.runtimes.describe", lambda _name: "another 1.0"),
        ("cache.own_code", lambda: "other code"),
    ],
)
def test_another_version_of_any_tool_is_another_key(monkeypatch, name, value):
    before = keys_of()
    monkeypatch.setattr(f"edgekit.{name}", value)
    assert keys_of() != before


def test_what_does_not_shape_the_result_is_not_in_a_key(tmp_path):
    assert keys_of(output_dir=tmp_path, jobs=1, timeout=5.0) == keys_of()


# -- Through a conversion --------------------------------------------------------------------------


def converted(source, out, by=in_process.convert, **more):
    report = by(str(source), formats=["faulty_format"], output_dir=out, **more)
    return report.results[0]


def test_a_hit_starts_no_process_and_brings_the_same_file(faulty, doubler, tmp_path, monkeypatch):
    first = converted(doubler, tmp_path / "a", by=convert)
    assert (first.status, first.cached) == ("passed", False)
    monkeypatch.setattr(worker, "start", lambda *_args, **_more: pytest.fail("work was done"))
    again = converted(doubler, tmp_path / "b", by=convert, name="other")
    assert (again.status, again.cached) == ("passed", True)
    assert again.artifact.sha256 == first.artifact.sha256
    assert again.verification == first.verification
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [
        "other.faulty",
        "other.faulty.json",
    ]


def test_a_damaged_entry_is_made_anew_and_a_changed_source_misses(faulty, doubler, tmp_path):
    assert not converted(doubler, tmp_path / "out").cached
    [entry] = (cache.folder() / "artifacts").glob("*/doubler.faulty")
    damaged(entry, 0, "flip")
    assert not converted(doubler, tmp_path / "out").cached
    assert converted(doubler, tmp_path / "out").cached
    assert not converted(doubler, tmp_path / "out", use_cache=False).cached
    doubler.write_text(doubler.read_text().replace("[[1.0,", "[[1.5,"))
    assert not converted(doubler, tmp_path / "out").cached


def test_a_wrong_artifact_is_not_kept(faulty, doubler, tmp_path):
    for _ in range(2):
        result = converted(doubler, tmp_path / "out", options={"fault": "swapped"})
        assert (result.status, result.cached) == ("failed", False)
    assert list((cache.folder() / "artifacts").glob("*")) == []


def test_two_processes_at_once_both_succeed_and_leave_one_entry(faulty, doubler, tmp_path):
    command = [sys.executable, "-m", "edgekit", "convert", str(doubler), "--to", "faulty_format"]
    runs = [
        subprocess.Popen(
            [*command, "-o", str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name in "ab"
    ]
    for run in runs:
        _, errors = run.communicate(timeout=120)
        assert (run.returncode, errors) == (0, b"")
    assert [len(list((tmp_path / name).iterdir())) for name in "ab"] == [2, 2]
    [entry] = (cache.folder() / "artifacts").iterdir()
    assert cache.find(entry.name) is not None
    assert list((cache.folder() / "work").iterdir()) == []


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_cache_folder_that_cannot_be_made_is_one_sentence(
    doubler, tmp_path, monkeypatch, use_cache
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EdgekitError, match=r"The cache folder .* cannot be written") as raised:
        convert(str(doubler), formats=["onnx"], output_dir=tmp_path / "out", use_cache=use_cache)
    assert "EDGEKIT_CACHE" in raised.value.hint
    assert list((tmp_path / "out").iterdir()) == []


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGEKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "edgekit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path.home() / ".cache" / "edgekit"
