"""The Swift package: its layout, and code that Swift's grammar takes."""

import plistlib

import pytest
import tree_sitter_swift
from conftest import EACH
from grammar import faults

from edgekit.errors import ArtifactError
from edgekit.packages import _archive
from edgekit.packaging import check


@pytest.mark.parametrize("name", EACH)
def test_every_file_is_swift_and_the_package_checks(name, packed):
    package = packed(name, "coreml", "apple")
    assert check(package).manifest["flavour"] == "apple"
    sources = list(package.rglob("*.swift"))
    assert len(sources) == 8
    for path in sources:
        assert faults(tree_sitter_swift, path.read_bytes()) == [], path


def test_the_grammar_would_notice():
    assert faults(tree_sitter_swift, b"let x = [1, 2\nfunc { }")


def test_layout_is_that_of_a_swift_package(packed):
    package = packed("sentiment_transformer", "coreml", "apple")
    assert package.name == "SentimentTransformer"
    resources = package / "Sources/SentimentTransformer/Resources"
    assert {path.name for path in resources.iterdir()} == {
        "sentiment_transformer.mlpackage",
        "review_words.txt",
        "selfcheck.bin",
        "PrivacyInfo.xcprivacy",
    }
    assert (
        plistlib.loads((resources / "PrivacyInfo.xcprivacy").read_bytes())["NSPrivacyTracking"]
        is False
    )
    text = (package / "Package.swift").read_text()
    assert '.process("Resources/sentiment_transformer.mlpackage")' in text
    assert 'platforms: [.iOS("15.0"), .macOS("12.0")]' in text
    for file in ("review_words.txt", "selfcheck.bin", "PrivacyInfo.xcprivacy"):
        assert f'.copy("Resources/{file}")' in text


@pytest.mark.parametrize("file", ["Package.swift", "Sources/SentimentTransformer/Texts.swift"])
def test_changed_and_unknown_files_are_named(packed, tmp_path, file):
    files = _archive.read(packed("sentiment_transformer", "coreml", "apple"))
    _archive.write(tmp_path / "changed", "folder", {**files, file: files[file] + b"//\n"})
    with pytest.raises(ArtifactError, match=f"{file} is not the one that was packaged"):
        check(tmp_path / "changed")
    _archive.write(tmp_path / "more", "folder", {**files, "Sources/evil.swift": b""})
    with pytest.raises(ArtifactError, match=r"Sources/evil.swift is not in the manifest"):
        check(tmp_path / "more")
