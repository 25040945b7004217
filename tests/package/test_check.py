"""Checking packages: whatever is not as edgekit made it is refused, with a reason."""

import io
import random
import shutil
import stat
import zipfile

import pytest

from edgekit.errors import ArtifactError
from edgekit.packages import _archive, _manifest
from edgekit.packaging import check, check_contents

MUTATIONS = 500


@pytest.fixture
def wheel(packed):
    return packed("digit_classifier", "onnx", "linux")


def flip(raw, chance):
    place = chance.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ (1 << chance.randrange(8))]) + raw[place + 1 :]


def truncate(raw, chance):
    return raw[: chance.randrange(len(raw))]


def extend(raw, chance):
    return raw + bytes(chance.randrange(1, 100))


def insert(raw, chance):
    place = chance.randrange(len(raw))
    return raw[:place] + b"\0" * chance.randrange(1, 9) + raw[place:]


def repack(change):
    """Return a mutation that writes a valid zip archive of changed entries."""

    def mutate(raw, chance):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = [(each, archive.read(each)) for each in archive.infolist()]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for info, content in change(entries, chance):
                archive.writestr(info, content)
        return buffer.getvalue()

    mutate.__name__ = change.__name__
    return mutate


def plain(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    return info


@repack
def swap(entries, chance):
    (i, j) = chance.sample(range(len(entries)), 2)
    contents = [content for _, content in entries]
    contents[i], contents[j] = contents[j], contents[i] + b"."
    return [(info, content) for (info, _), content in zip(entries, contents, strict=True)]


@repack
def traverse(entries, chance):
    evil = chance.choice(["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil", "a//b"])
    return [*entries, (plain(evil), b"evil")]


@repack
def link(entries, chance):
    info = plain("digit_classifier/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [*entries, (info, b"/etc/passwd")]


@repack
def add(entries, chance):
    return sorted(
        [*entries, (plain("digit_classifier/extra.py"), b"1")], key=lambda e: e[0].filename
    )


@repack
def remove(entries, chance):
    del entries[chance.randrange(len(entries))]
    return entries


@repack
def bomb(entries, chance):
    info = plain("digit_classifier/bomb.bin")
    info.compress_type = zipfile.ZIP_DEFLATED
    return [*entries, (info, bytes(1 << 20))]


@repack
def edit(entries, chance):
    """Change one file and give it a right checksum in the zip archive."""
    place = chance.randrange(len(entries))
    info, content = entries[place]
    at = chance.randrange(len(content)) if content else 0
    entries[place] = (info, content[:at] + bytes([chance.randrange(256)]) + content[at:])
    return entries


KINDS = [flip, flip, truncate, extend, insert, swap, traverse, link, add, remove, bomb, edit]


ARCHIVES = {"linux": KINDS, "android": KINDS, "deb": [flip, flip, truncate, extend, insert]}
"""A Debian package is no zip archive; its own tests forge its members."""


@pytest.mark.parametrize("flavour", ARCHIVES)
def test_mutated_archives_are_refused_with_a_reason(packed, tmp_path, flavour):
    package = packed("digit_classifier", "onnx", flavour)
    (archive,) = package.rglob("*.aar") if flavour == "android" else [package]
    raw = archive.read_bytes()
    chance = random.Random(1)
    path = tmp_path / archive.name
    kinds = ARCHIVES[flavour]
    for number in range(MUTATIONS):
        kind = kinds[number % len(kinds)]
        mutated = kind(raw, chance)
        assert mutated != raw
        path.write_bytes(mutated)
        with pytest.raises(ArtifactError) as raised:
            check(path)
        assert raised.value.message, kind
    assert list(tmp_path.iterdir()) == [path]


def change_file(files, chance):
    name = chance.choice(sorted(files))
    files[name] = flip(files[name], chance) if files[name] else b"x"


def cut_file(files, chance):
    name = chance.choice([name for name in sorted(files) if files[name]])
    files[name] = truncate(files[name], chance)


def swap_files(files, chance):
    first, second = chance.sample(sorted(files), 2)
    files[first], files[second] = files[second], files[first] + b"."


def lose_file(files, chance):
    del files[chance.choice(sorted(files))]


def add_file(files, chance):
    files[chance.choice(["evil.swift", "Sources/evil", ".hidden", "a/b/c"])] = b"evil"


def rename_file(files, chance):
    name = chance.choice(sorted(files))
    files[f"{name}2"] = files.pop(name)


FOLDER_KINDS = [change_file, change_file, cut_file, swap_files, lose_file, add_file, rename_file]


@pytest.mark.parametrize(
    ("flavour", "format_name"), [("apple", "coreml"), ("firmware", "tflite"), ("android", "onnx")]
)
def test_mutated_folders_are_refused_with_a_reason(packed, tmp_path, flavour, format_name):
    files = _archive.read(packed("digit_classifier", format_name, flavour))
    chance = random.Random(2)
    for number in range(MUTATIONS):
        kind = FOLDER_KINDS[number % len(FOLDER_KINDS)]
        mutated = dict(files)
        kind(mutated, chance)
        assert mutated != files
        with pytest.raises(ArtifactError) as raised:
            check_contents(tmp_path, mutated)
        assert raised.value.message, kind
    _archive.write(tmp_path / "last", "folder", mutated)
    with pytest.raises(ArtifactError):
        check(tmp_path / "last")


REASONS = {
    traverse: "not a plain relative path",
    link: "is a link",
    bomb: "is compressed",
    truncate: "not a whole zip archive",
}


@pytest.mark.parametrize("kind", REASONS, ids=lambda kind: kind.__name__)
def test_reasons_name_what_is_wrong(wheel, tmp_path, kind):
    path = tmp_path / wheel.name
    path.write_bytes(kind(wheel.read_bytes(), random.Random(3)))
    with pytest.raises(ArtifactError, match=REASONS[kind]):
        check(path)


def rewritten(wheel, tmp_path, change):
    """Return a wheel in its one form whose files a careful forger changed."""
    files = _archive.read(wheel)
    change(files)
    path = tmp_path / wheel.name
    path.write_bytes(_archive.zip_bytes(files, _archive.EARLIEST))
    return path


MANIFEST = "digit_classifier/edgekit-manifest.json"
FORGERIES = {
    "RECORD does not list": lambda f: f.update({"digit_classifier/__init__.py": b"evil"}),
    "has 0 files": lambda f: f.pop(MANIFEST),
    "is not JSON": lambda f: f.update({MANIFEST: b"{"}),
    "schema version None": lambda f: f.update({MANIFEST: b"[]"}),
    "schema version 2": lambda f: f.update({MANIFEST: b'{"schema_version": 2}'}),
    "'card' is missing": lambda f: f.update({MANIFEST: b'{"schema_version": 1}'}),
    "changed after it was sealed": lambda f: f.update(
        {MANIFEST: f[MANIFEST].replace(b'"status": "passed"', b'"status": "failed"')}
    ),
    "not in the form": lambda f: f.update({MANIFEST: f[MANIFEST] + b" "}),
}


@pytest.mark.parametrize("reason", FORGERIES)
def test_careful_forgeries_are_named(wheel, tmp_path, reason):
    with pytest.raises(ArtifactError, match=reason):
        check(rewritten(wheel, tmp_path, FORGERIES[reason]))


def test_a_model_that_is_not_the_recorded_one_is_found(wheel):
    files = _archive.read(wheel)
    manifest = _manifest.read(files[MANIFEST])
    _manifest.check_models(manifest, files)
    manifest["variants"][0]["model"]["sha256"] = "0" * 64
    with pytest.raises(ArtifactError, match="not the one that its record describes"):
        _manifest.check_models(manifest, files)


def test_folders_may_not_hold_links(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ArtifactError, match="is a link or a device"):
        check(tmp_path)
    (tmp_path / "b").unlink()
    (tmp_path / "A").write_text("A")
    with pytest.raises(ArtifactError, match="same name"):
        check(tmp_path)


def test_a_linked_archive_is_refused(wheel, tmp_path):
    shutil.copy(wheel, tmp_path / "real.whl")
    (tmp_path / "link.whl").symlink_to(tmp_path / "real.whl")
    check(tmp_path / "real.whl")
    with pytest.raises(ArtifactError, match="is a link"):
        check(tmp_path / "link.whl")
