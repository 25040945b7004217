"""Sources: every kind that is promised loads, and every wrong one is one clear sentence."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgekit.errors import SourceError
from edgekit.exporting import export
from edgekit.inputs import InputSpec
from edgekit.loading import load_source
from edgekit.source import Arguments

MODEL = '''"""A small model.

More words.
"""
import torch
from torch import nn

__author__ = "Ada"
__version__ = "1.2"
LABELS = ("yes", "no")

def build():
    return nn.Linear(3, 2)

def pair():
    return nn.Linear(4, 2), torch.zeros(1, 4)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, x):
        return self.layer(x)

made = Net()

def wrapped():
    return torch.nn.DataParallel(Net())

def needs(width, height=2):
    return nn.Linear(width, height)

def number():
    return 3

def breaks():
    values = []
    return values[1]

def quits():
    raise SystemExit(2)

def example_inputs():
    return [torch.ones(1, 3)]
'''


@pytest.fixture(autouse=True)
def own_modules(tmp_path, monkeypatch):
    """Work in an empty folder, and forget what was imported from it."""
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "kws_model.py"
    path.write_text(MODEL)
    return path


def refused(text, **options):
    with pytest.raises(SourceError) as caught:
        load_source(str(text), **options)
    assert caught.value.message.count("\n") == 0
    assert caught.value.hint
    return caught.value.message


# -- Python ----------------------------------------------------------------------------------------


def test_file_with_build_brings_module_examples_and_metadata(model):
    source = load_source(str(model))
    assert isinstance(source.module, nn.Linear)
    assert [each.tolist() for each in source.examples] == [[[1.0, 1.0, 1.0]]]
    assert source.metadata.name == "kws_model"
    assert source.metadata.description == "A small model."
    assert (source.metadata.author, source.metadata.version) == ("Ada", "1.2")
    assert source.metadata.labels == ("yes", "no")
    assert source.origin == str(model)


@pytest.mark.parametrize("name", ["Net", "made", "wrapped"])
def test_class_instance_and_wrapped_module_give_the_module(model, name):
    assert type(load_source(f"{model}:{name}").module).__name__ == "Net"


def test_callable_may_return_its_own_examples(model):
    assert load_source(f"{model}:pair").examples[0].shape == (1, 4)


def test_get_model_get_args_and_dict_examples(tmp_path):
    (tmp_path / "other.py").write_text(
        "import torch\n"
        "def get_model(): return torch.nn.Linear(3, 2)\n"
        "get_args = {'input': torch.zeros(1, 3)}\n"
    )
    assert list(load_source("other.py").examples) == ["input"]


def test_module_of_the_current_folder(tmp_path):
    package = tmp_path / "pack_kws"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("from torch import nn\nWIDTH = 3\n")
    (package / "net.py").write_text(
        "from .layers import WIDTH, nn\ndef make(): return nn.Linear(WIDTH, 1)\n"
    )
    source = load_source("pack_kws.net:make")
    assert source.module.in_features == 3
    assert source.metadata.name == "net"


def test_relative_import_in_a_file_is_told_the_way_out(tmp_path):
    (tmp_path / "rel.py").write_text("from .layers import x\n")
    with pytest.raises(SourceError, match="relative import") as caught:
        load_source("rel.py")
    assert "package.module:callable" in caught.value.hint
    assert "rel.py:1" in caught.value.message


def test_imports_inside_build_find_the_files_beside(tmp_path):
    (tmp_path / "beside_kws.py").write_text("SIZE = 7\n")
    (tmp_path / "late.py").write_text(
        "def build():\n"
        "    import torch, beside_kws\n"
        "    return torch.nn.Linear(beside_kws.SIZE, 1)\n"
    )
    folder = list(sys.path)
    assert load_source("late.py").module.in_features == 7
    assert sys.path == folder


def test_two_projects_with_helpers_of_one_name_do_not_mix(tmp_path):
    for name, size in (("a", 3), ("b", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "layers_kws.py").write_text(f"SIZE = {size}\n")
        (folder / "model_kws.py").write_text(
            "import torch\nfrom layers_kws import SIZE\n"
            "def build(): return torch.nn.Linear(SIZE, 1)\n"
        )
    sizes = [load_source(f"{name}/model_kws.py").module.in_features for name in "aba"]
    assert sizes == [3, 5, 3]


def test_a_file_named_like_a_library_takes_nothing_s_place(tmp_path):
    (tmp_path / "random.py").write_text("import torch\ndef build(): return torch.nn.Linear(2, 2)\n")
    load_source("random.py")
    assert sys.modules["random"] is random


def test_random_weights_are_the_same_each_time_and_the_callers_generators_go_on(tmp_path):
    (tmp_path / "chance.py").write_text(
        "import random, numpy, torch\n"
        "model = torch.nn.Linear(3, 3)\n"
        "model.bias.data[0] = random.random() + numpy.random.rand()\n"
        "def build(): return model\n"
    )
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    states = [load_source("chance.py").module.state_dict() for _ in range(2)]
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kws_model.py:", "names no callable"),
        (":build", "names no callable"),
        ("kws_model.py:nothing", "has no callable nothing()"),
        ("kws_model.py:needs", "needs() cannot be called without width"),
        ("kws_model.py:number", "number() returned a int"),
        ("kws_model.py:breaks", "kws_model.py:39: IndexError: list index out of range"),
        ("kws_model.py:quits", "calls sys.exit()"),
        ("missing.py", "There is no file missing.py"),
        ("missing.pt2", "There is no file missing.pt2"),
        ("missing_package_kws.net:build", "no Python module 'missing_package_kws.net'"),
        ("a b:build", "no Python module 'a b'"),
        ("C:\\models\\net.py", "There is no file C:\\models\\net.py"),
        ("C:\\models\\net.py:build", "There is no file C:\\models\\net.py"),
        ("model.pth", "is a pickle"),
        ("model.onnx", "is no model source"),
        ("", "without config.json"),
        (".", "without config.json"),
    ],
)
def test_what_is_wrong_is_said(model, text, words):
    assert words in refused(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def build(:\n", "bad.py:1: SyntaxError: "),
        ("import no_such_kws_module\n", "'no_such_kws_module', imported at "),
        ("1 / 0\n", "bad.py:1: ZeroDivisionError: division by zero"),
        ("x = 1\n", "has no callable build() or get_model()"),
        (
            "import torch\ndef build(): return torch.jit.script(torch.nn.ReLU())\n",
            "TorchScript",
        ),
        (
            "import torch\ndef build(): return torch.nn.ReLU(), 'x'\n",
            "the example inputs are a str",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:DeprecationWarning")
def test_bad_files(tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    assert words in refused("bad.py")


def test_unreadable_file(model, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("importlib._bootstrap_external.SourceFileLoader.get_data", deny)
    assert "Permission denied" in refused(model)


# -- Weights ---------------------------------------------------------------------------------------


@pytest.fixture
def state():
    return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_state_dicts_as_trainers_write_them(model, state, nest, prefix):
    state = {prefix + key: value for key, value in state.items()}
    torch.save(state if nest is None else {nest: state, "epoch": 3}, "w.pth")
    module = load_source(str(model), weights=Path("w.pth")).module
    assert torch.equal(module.weight, torch.ones(2, 3))


def test_safetensors_weights(model, state):
    save_file(state, "w.safetensors")
    assert load_source(str(model), weights=Path("w.safetensors")).module.weight.sum() == 6


def test_a_tied_weight_may_stand_there_once(tmp_path):
    (tmp_path / "tied.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.first = nn.Linear(3, 3)\n"
        "        self.second = nn.Linear(3, 3)\n"
        "        self.second.weight = self.first.weight\n"
        "def build(): return Net()\n"
    )
    full = {"first.weight": torch.ones(3, 3), "first.bias": torch.ones(3)}
    save_file({**full, "second.bias": torch.ones(3)}, "w.safetensors")
    module = load_source("tied.py", weights=Path("w.safetensors")).module
    assert module.second.weight.sum() == 9
    save_file(full, "w.safetensors")
    assert "misses second.bias." in refused("tied.py", weights=Path("w.safetensors"))


def _write(path, kind, state):
    if kind == "missing key":
        torch.save({"weight": state["weight"]}, path)
    elif kind == "other keys":
        torch.save({"net.weight": state["weight"], "net.bias": state["bias"]}, path)
    elif kind == "shape":
        torch.save({**state, "weight": torch.ones(2, 4)}, path)
    elif kind == "pickle":
        torch.save(nn.Linear(3, 2), path)
    elif kind == "list":
        torch.save([1], path)
    elif kind == "optimizer":
        torch.save({0: torch.ones(1)}, path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing key", "it misses bias."),
        ("other keys", "misses weight, bias and has unknown net.weight, net.bias."),
        ("shape", "size mismatch for weight"),
        ("pickle", "it holds a pickled module or other code"),
        ("list", "holds a list"),
        ("optimizer", "one of its keys is 0"),
        ("empty", "cannot be read as weights"),
        ("truncated", "cannot be read as weights"),
        ("absent", "There is no weights file"),
    ],
)
def test_weights_that_do_not_fit(model, state, kind, words):
    path = Path("w.pth")
    _write(path, kind, state)
    assert words in refused(model, weights=path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40])
def test_damaged_safetensors(model, content):
    Path("w.safetensors").write_bytes(content)
    assert "cannot be read as weights" in refused(model, weights=Path("w.safetensors"))


# -- .pt2 ------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, batch, *, scale, bias=None):
        return self.layer(x) * scale + batch["mean"]


def pt2(path, *, examples=True, dynamic=None):
    torch.manual_seed(0)
    args = (torch.randn(2, 4), {"mean": torch.randn(2, 4)})
    exported = torch.export.export(
        Scaled().eval(), args, {"scale": torch.tensor(2.0)}, dynamic_shapes=dynamic
    )
    if not examples:
        exported.example_inputs = None
    torch.export.save(exported, path)
    return exported


@pytest.mark.parametrize("examples", [True, False])
def test_pt2_with_keyword_and_nested_inputs(tmp_path, examples):
    exported = pt2(tmp_path / "m.pt2", examples=examples)
    source = load_source("m.pt2")
    assert isinstance(source.examples, Arguments)
    program = export(source)
    assert [spec.name for spec in program.signature.inputs] == ["x", "batch_mean", "scale"]
    sample = {name: torch.from_numpy(each) for name, each in program.samples[1].items()}
    expected = exported.module()(sample["x"], {"mean": sample["batch_mean"]}, scale=sample["scale"])
    assert np.array_equal(program.references[1]["output"], expected.detach().numpy())


def test_pt2_keeps_the_dimensions_that_it_was_exported_with(tmp_path):
    batch = torch.export.Dim("batch", min=1, max=6)
    pt2(tmp_path / "m.pt2", dynamic={"x": {0: batch}, "batch": {"mean": {0: batch}}, "scale": {}})
    program = export(load_source("m.pt2"))
    dim = program.signature.inputs[0].shape[0]
    assert (dim.min, dim.max) == (1, 6)
    assert program.signature.inputs[1].shape[0] == dim
    assert program.signature.outputs[0].shape == (dim, 4)
    fixed = export(
        load_source("m.pt2"), inputs=tuple(map(InputSpec.parse, ("x:3,4", "batch_mean:3,4")))
    )
    assert fixed.signature.inputs[0].shape == (3, 4)


def test_pt2_damaged_or_given_weights(tmp_path):
    pt2(tmp_path / "m.pt2")
    Path("cut.pt2").write_bytes(Path("m.pt2").read_bytes()[:500])
    assert "cut.pt2 is not a program" in refused("cut.pt2")
    torch.save({}, "w.pth")
    assert "holds its own weights" in refused("m.pt2", weights=Path("w.pth"))


# -- Hugging Face ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    root = tmp_path_factory.mktemp("hf")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 32
    torch.manual_seed(0)
    models = {
        "bert": transformers.BertForSequenceClassification(
            transformers.BertConfig(vocab_size=6, max_position_embeddings=32, **small)
        ),
        "llama": transformers.LlamaForCausalLM(
            transformers.LlamaConfig(vocab_size=64, tie_word_embeddings=True, **small)
        ).bfloat16(),
        "vit": transformers.ViTForImageClassification(
            transformers.ViTConfig(image_size=16, patch_size=8, **small)
        ),
    }
    for name, each in models.items():
        each.save_pretrained(root / name)
    return root


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "specs", "inputs"),
    [
        ("bert", (), "input_ids: int64[1, 5]"),
        (
            "bert",
            ("attention_mask:1,8:int64", "input_ids:1,8"),
            "input_ids: int64[1, 8], attention_mask: int64[1, 8]",
        ),
        ("llama", (), "input_ids: int64[1, 5]"),
        ("vit", (), "pixel_values: float32[1, 3, 16, 16]"),
        ("vit", ("pixel_values:2,3,16,16",), "pixel_values: float32[2, 3, 16, 16]"),
    ],
)
def test_huggingface_folders(folders, name, specs, inputs, capfd):
    source = load_source(str(folders / name))
    program = export(source, inputs=tuple(map(InputSpec.parse, specs)))
    assert ", ".join(map(str, program.signature.inputs)) == inputs
    assert [spec.name for spec in program.signature.outputs] == ["logits"]
    assert program.signature.outputs[0].dtype.value == "float32"
    assert capfd.readouterr() == ("", "")


def _copy(folders, tmp_path, name="bert"):
    import shutil

    return Path(shutil.copytree(folders / name, tmp_path / "copy"))


@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_lacks_weights_is_not_filled_with_random_ones(folders, tmp_path):
    from safetensors.torch import load_file

    folder = _copy(folders, tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["classifier.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lack classifier.weight" in refused(folder)


@pytest.mark.filterwarnings("ignore")
def test_folders_that_are_not_right(folders, tmp_path):
    folder = _copy(folders, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchNet"]}))
    assert "transformers knows: NoSuchNet" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert "failed" in refused(folder)
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refused(folder)
    (folder / "config.json").unlink()
    assert "without config.json" in refused(folder)
