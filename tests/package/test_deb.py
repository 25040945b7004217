"""The Debian package: dpkg takes it, and what it installs runs."""

import io
import re
import shutil
import subprocess
import sys
import tarfile

import pytest
from conftest import EACH
from test_linux import ALONE

from edgekit.errors import ArtifactError
from edgekit.packages import _archive, _deb, _manifest
from edgekit.packaging import check

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg")
SITE = "usr/lib/python3/dist-packages"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_dpkg
@pytest.mark.parametrize(
    ("name", "format_name"), [("digit_classifier", "onnx"), ("keyword_spotter", "tflite")]
)
def test_dpkg_reads_what_was_written(name, format_name, packed):
    path = packed(name, format_name, "deb")
    dashed = name.replace("_", "-")
    assert path.name == f"{dashed}_0.1.0_all.deb"
    assert run("dpkg-deb", "--field", path, "Package", "Architecture", "Depends") == (
        f"Package: {dashed}\nArchitecture: all\nDepends: python3 (>= 3.10), python3-numpy\n"
    )
    listing = [line.split() for line in run("dpkg-deb", "--contents", path).splitlines()]
    assert {(mode, owner) for mode, owner, *_ in listing} == {
        ("-rw-r--r--", "root/root"),
        ("drwxr-xr-x", "root/root"),
    }
    files = {line[-1].removeprefix("./") for line in listing if line[0].startswith("-")}
    assert files == {n for n in _archive.read(path) if not n.startswith("DEBIAN/")}
    assert f"{SITE}/{name}/{name}.{format_name}" in files
    control = run("dpkg-deb", "--info", path)
    assert "postinst" not in control


@needs_dpkg
@pytest.mark.parametrize("name", EACH)
def test_installed_package_checks_itself(name, packed, tmp_path):
    database = tmp_path / "root/var/lib/dpkg"
    for folder in ("info", "updates"):
        (database / folder).mkdir(parents=True)
    (database / "status").touch()
    log = f"--log={tmp_path / 'log'}"
    dpkg = ["dpkg", f"--root={tmp_path / 'root'}", log, "--force-depends", "--force-not-root"]
    dashed = name.replace("_", "-")
    run(*dpkg, "--install", packed(name, "onnx", "deb"))
    run(*dpkg, "--verify", dashed)
    site = tmp_path / "root" / SITE
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n" + ALONE.format(name=name)
    run(sys.executable, "-W", "error", "-c", code)
    done = subprocess.run(
        [sys.executable, "-B", "-m", name], cwd=site, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{dashed} 0.1.0: self-check passed\n"
    shutil.rmtree(site / name / "__pycache__", ignore_errors=True)
    shutil.rmtree(site / name / "_processing" / "__pycache__", ignore_errors=True)
    run(*dpkg, "--remove", dashed)
    assert not (site / name).exists()


def test_control_is_well_formed(packed):
    control = _archive.read(packed("digit_classifier", "onnx", "deb"))["DEBIAN/control"].decode()
    lines = control.splitlines()
    assert all(re.match(r"[A-Z][A-Za-z-]+: \S| \S", line) for line in lines)
    assert max(map(len, lines)) <= 95
    assert next(line for line in lines if line.startswith("Suggests")).endswith("onnxruntime")


def test_changed_packages_are_refused(packed, tmp_path):
    kept = packed("digit_classifier", "onnx", "deb")
    assert check(kept).manifest["flavour"] == "deb"
    path = tmp_path / kept.name
    files = _archive.read(kept)
    _archive.write(path, "deb", files)
    assert path.read_bytes() == kept.read_bytes()
    for name, reason in {
        "DEBIAN/postinst": "is not in the manifest",
        "DEBIAN/control": "is not the one that was packaged",
        "DEBIAN/md5sums": "does not list the files",
        f"{SITE}/digit_classifier/__init__.py": "does not list the files",
        "../evil": "not a plain relative path",
    }.items():
        raw = _deb.deb_bytes({**files, name: b"evil\n"}, _archive.EARLIEST)
        path.write_bytes(raw)
        with pytest.raises(ArtifactError, match=reason):
            check(path)


def tar_with(**attributes):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("./usr/evil")
        for key, value in attributes.items():
            setattr(info, key, value)
        archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("member", "content", "reason"),
    [
        ("data.tar", tar_with(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        ("data.tar", tar_with(type=tarfile.LNKTYPE, linkname="usr/other"), "is a link"),
        ("data.tar", tar_with(type=tarfile.CHRTYPE), "is a link or a device"),
        ("data.tar", tar_with(mode=0o4755), "does not write"),
        ("data.tar", b"not a tar archive" * 60, "not a whole Debian package"),
        ("data.tar.xz", b"", "members that edgekit does not write"),
    ],
)
def test_hostile_members_are_named(tmp_path, member, content, reason):
    empty = _deb.deb_bytes({}, 0)
    end = empty.rindex(b"data.tar")
    path = tmp_path / "evil.deb"
    path.write_bytes(empty[:end] + _deb._member(member, content, 0))
    with pytest.raises(ArtifactError, match=reason):
        _archive.read(path)


def test_manifest_lies_beside_the_model(packed):
    files = _archive.read(packed("digit_classifier", "onnx", "deb"))
    assert _manifest.find(files) == f"{SITE}/digit_classifier/{_manifest.NAME}"
