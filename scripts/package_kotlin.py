"""Compile the Android wrappers against ONNX Runtime's real classes, Java and then Kotlin.

    python scripts/package_kotlin.py build/samples/*.onnx

The Kotlin compiler and ONNX Runtime for Android come from npm, into ``build/npm``.  Android's own
classes and LiteRT's are the stubs that edgekit compiles against; no Android runs here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from edgekit.packages import _archive, android
from edgekit.packaging import package

ROOT = Path(__file__).resolve().parents[1]
NPM = Path(os.environ.get("EDGEKIT_NPM", ROOT / "build" / "npm"))
PACKAGES = ("kotlin-compiler@2.4.20", "com.github.asus4.onnxruntime@0.4.9")
RUNTIME = "node_modules/com.github.asus4.onnxruntime/Plugins/Android/onnxruntime.aar"
KOTLINC = "node_modules/kotlin-compiler/bin/kotlinc"


def compilers() -> Path:
    """Return the folder with compiler and runtime, fetched at the first run."""
    if not (NPM / KOTLINC).exists() or not (NPM / RUNTIME).exists():
        NPM.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([*install, "--prefix", NPM, *PACKAGES], check=True)
    with zipfile.ZipFile(NPM / RUNTIME) as library:
        (NPM / "onnxruntime.jar").write_bytes(library.read("classes.jar"))
    return NPM


def kotlin(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    """Compile a Kotlin file against the Java classes in a folder."""
    classes = os.pathsep.join(("classes", "stub_classes", str(NPM / "onnxruntime.jar")))
    command = ["bash", NPM / KOTLINC, source, "-cp", classes, "-d", "kotlin_classes"]
    command += ["-Werror", "-Xexplicit-api=strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def java(folder: Path, sources: Path, classpath: str, target: str) -> None:
    """Compile all Java files below a folder."""
    files = sorted(map(str, sources.rglob("*.java")))
    command = ["javac", "--release", "8", "-Xlint:-options", "-cp", classpath, "-d", target]
    subprocess.run([*command, *files], cwd=folder, check=True)


def check(artifacts: list[Path], folder: Path) -> None:
    """Compile the wrappers of one package, and see that a wrong one is refused."""
    (made,) = package(artifacts, ["android"], folder / "dist", variants=len(artifacts) > 1)
    (archive,) = made.path.rglob("*-sources.jar")
    _archive.write(folder / "java", "folder", _archive.read(archive))
    stubs = {n: c for n, c in android.stubs().items() if not n.startswith("ai/onnxruntime/")}
    _archive.write(folder / "stubs", "folder", stubs)
    java(folder, folder / "stubs", ".", "stub_classes")
    real = os.pathsep.join(("stub_classes", str(NPM / "onnxruntime.jar")))
    java(folder, folder / "java", real, "classes")
    (source,) = made.path.rglob("*.kt")
    started = time.monotonic()
    done = kotlin(folder, source)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"kotlinc refuses {source.name}:\n{done.stderr}")
    wrong = folder / "Wrong.kt"
    wrong.write_text(source.read_text().replace("model.selfCheck()", "model.selfCheque()"))
    assert kotlin(folder, wrong).returncode != 0, "kotlinc does not notice a wrong call"
    names = ", ".join(path.name for path in artifacts)
    print(f"{names}: Java and Kotlin compile ({seconds:.1f} s), a wrong call does not", flush=True)


def main() -> int:
    """Check every artifact; with a TFLite file of the same name also both as variants."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    compilers()
    for path in parser.parse_args().artifacts:
        other = path.with_suffix(".tflite")
        for artifacts in ([path], [path, other]) if other.exists() else ([path],):
            with tempfile.TemporaryDirectory() as folder:
                check(artifacts, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
