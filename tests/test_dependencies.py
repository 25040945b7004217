"""Dependencies: every file that a source read, on the first load and on the next."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgekit.blame import is_users, user_line
from edgekit.dependencies import recorded
from edgekit.loading import load_source

SOURCE = """
import json, os
from pathlib import Path
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from helper_deps import WIDTH
from package_deps.inner import DEPTH

def build():
    folder = Path(__file__).parent
    torch.load(folder / "w.pth", weights_only=True)
    load_file(folder / "w.safetensors")
    with safe_open(str(folder / "v.safetensors"), "pt") as file:
        file.keys()
    np.load(folder / "a.npy")
    np.fromfile(folder / "a.bin")
    json.loads((folder / "c.json").read_text())
    with open(folder / "vocab.txt") as file:
        file.read()
    (folder / "written.txt").write_text("x")
    (folder / "gone.txt").touch()
    assert (folder / "gone.txt").read_bytes() == b""
    (folder / "gone.txt").unlink()
    os.chdir(folder)
    open("relative.txt").close()
    os.chdir("/")
    torch.jit.load(str(folder / "script.pt"))
    return torch.nn.Linear(WIDTH, DEPTH)
"""
READ = {
    *("deps_model.py", "helper_deps.py", "package_deps/__init__.py", "package_deps/inner.py"),
    *("w.pth", "w.safetensors", "v.safetensors", "a.npy", "a.bin", "c.json", "vocab.txt"),
    *("relative.txt", "script.pt"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package_deps").mkdir()
    files = {
        "deps_model.py": SOURCE,
        "helper_deps.py": "WIDTH = 3\n",
        "package_deps/__init__.py": "",
        "package_deps/inner.py": "DEPTH = 2\n",
        "c.json": json.dumps({}),
        "vocab.txt": "a b",
        "relative.txt": "",
        "unread.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    for name in ("w.safetensors", "v.safetensors"):
        save_file({"a": torch.ones(1)}, tmp_path / name)
    np.save(tmp_path / "a.npy", np.ones(3))
    np.ones(3).tofile(tmp_path / "a.bin")
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "script.pt"))
    yield tmp_path
    for name in [name for name in sys.modules if "_deps" in name or name == "deps_model"]:
        del sys.modules[name]


def read_from(folder, files):
    inside = [path for path in files if path.is_relative_to(folder)]
    return {path.relative_to(folder).as_posix() for path in inside}


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is:DeprecationWarning")
def test_every_file_is_found_each_time(folder):
    for _ in range(2):  # the second time, helpers are in sys.modules and byte code is cached
        with recorded() as files:
            load_source(str(folder / "deps_model.py"))
        assert all(path.is_absolute() and path.is_file() for path in files)
        assert read_from(folder, files) == READ
        libraries = [path for path in files if "site-packages" in path.parts]
        assert not libraries
        assert not any(path.is_relative_to(Path(sys.base_prefix) / "lib") for path in files)
        assert not any(path.parent.name == "edgekit" for path in files)


def test_nothing_read_nothing_found(tmp_path):
    with recorded() as files:
        pass
    assert read_from(tmp_path, files) == set()


def test_it_ends_with_the_block_even_when_that_fails(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").touch()
    with suppress(KeyError), recorded() as files:
        (tmp_path / "a.txt").read_text()
        raise KeyError
    (tmp_path / "b.txt").read_text()
    assert read_from(tmp_path, files) == {"a.txt"}


def test_pt2_files_count(tmp_path):
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), path)
    with recorded() as files:
        load_source(str(path))
    assert read_from(tmp_path, files) == {"m.pt2"}


@pytest.mark.filterwarnings("ignore")
def test_huggingface_weights_count_though_transformers_was_loaded_before(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    for _ in range(2):
        with recorded() as files:
            load_source(str(tmp_path))
        assert {"config.json", "model.safetensors"} <= read_from(tmp_path, files)


def test_whose_file_it_is():
    import edgekit

    ours = Path(edgekit.__file__).parent
    assert not is_users(json.__file__)
    assert not is_users(torch.__file__)
    assert not is_users(str(ours / "api.py"))
    assert not is_users("<string>")
    assert is_users(str(ours.parent / "edgekit_models" / "net.py"))
    assert is_users("/usr/src/app/model.py")
    assert is_users(__file__)


def test_the_users_line_is_found_behind_a_librarys_error():
    try:
        try:
            json.loads("{")  # here
        except ValueError as error:
            raise RuntimeError("hides it") from error
    except RuntimeError as error:
        line = user_line(error)
    assert line is not None
    assert line.rpartition(":")[0] == __file__
    assert user_line(RuntimeError("no traceback")) is None
    assert (
        user_line(RuntimeError('File "/home/u/net.py", line 3, in forward')) == "/home/u/net.py:3"
    )
