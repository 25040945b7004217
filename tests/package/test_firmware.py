"""The C sources: they compile strictly, and compute what the reference does."""

import ctypes
import shutil

import clib
import numpy as np
import pytest
import variety
from conftest import EACH, SAMPLES

import edgekit
from edgekit.artifact import open_artifact
from edgekit.errors import ArtifactError, UsageError
from edgekit.packages import _archive, _arena, _c, _manifest, _selfcheck, firmware
from edgekit.packages._templates import c_string, render
from edgekit.packaging import check
from edgekit.processing.binding import bind, finish, prepare
from edgekit.processing.declared import find
from edgekit.wire.tflite import Activation

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


@pytest.fixture
def wrapper(packed, converted, tmp_path):
    """Return a function from a sample to its compiled wrapper."""

    def compiled(name):
        folder = tmp_path / name
        shutil.copytree(packed(name, "tflite", "firmware"), folder)
        library = clib.compiled(folder, sorted(path.name for path in folder.glob("*.c")))
        artifact = open_artifact(converted(name, "tflite"))
        bound = bind(find(str(SAMPLES / f"{name}.py")), artifact.signature)
        return clib.Wrapper(library, name, bound)

    return compiled


def agree(wrapper, given, outputs, atol=1e-6):
    """Compare both halves of a wrapper with the reference on one call."""
    try:
        feeds = prepare(wrapper.bound, given)
    except UsageError:
        assert wrapper.prepare(given) is None
    else:
        for name, array in wrapper.prepare(given).items():
            np.testing.assert_allclose(array, feeds[name], rtol=0, atol=atol, err_msg=str(given))
    made = wrapper.finish(outputs)
    wanted = finish(wrapper.bound, outputs)
    for step in wrapper.bound.after:
        line = clib.line_of(step.kind, wanted[step.name])
        np.testing.assert_allclose(made[step.name], line, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EACH)
def test_c_is_the_reference(name, wrapper, converted):
    made = wrapper(name)
    random = np.random.RandomState(11)
    with edgekit.open(converted(name, "tflite")) as session:
        for _ in range(100):
            given = {step.name: _selfcheck.example(step, random) for step in made.bound.before}
            agree(made, given, session.run(prepare(made.bound, given)))


@pytest.mark.parametrize("case", variety.CASES)
def test_every_kind_is_the_reference(case, tmp_path):
    cargo = variety.cargo(case, tmp_path)
    values = _c.wrapper_values(cargo, 16, 1)
    for end in ("h", "c"):
        (tmp_path / f"some_case.{end}").write_bytes(render(f"firmware/wrapper.{end}", values))
    made = clib.Wrapper(clib.compiled(tmp_path, ["some_case.c"]), "some_case", cargo.bound)
    random = np.random.RandomState(3)
    for _ in range(40):
        agree(made, variety.arguments(cargo.bound, random), variety.outputs(cargo.bound, random))


@pytest.mark.parametrize("name", ["sentiment_transformer", "keyword_spotter"])
def test_self_check_passes_and_finds_a_wrong_model(name, wrapper, converted):
    made = wrapper(name)
    with edgekit.open(converted(name, "tflite")) as session:
        assert made.self_check(session.run) is None

        def worse(feeds):
            return {key: value + np.float32(0.5) for key, value in session.run(feeds).items()}

        assert made.self_check(worse).startswith("sample 1, output ")


def test_model_is_an_aligned_array(wrapper, converted):
    made = wrapper("digit_classifier")
    model = converted("digit_classifier", "tflite").read_bytes()
    array = (ctypes.c_uint8 * len(model)).in_dll(made.library, "digit_classifier_model")
    assert bytes(array) == model
    assert ctypes.addressof(array) % _arena.ALIGNMENT == 0


def test_check_wants_the_array_to_be_the_model(packed, tmp_path):
    kept = packed("digit_classifier", "tflite", "firmware")
    assert check(kept).manifest["flavour"] == "firmware"
    files = _archive.read(kept)
    source = "digit_classifier_model.c"
    files[source] = files[source].replace(b"0x00", b"0x01", 1)
    manifest = _manifest.read(files.pop(_manifest.NAME))
    files[_manifest.NAME] = _manifest.sealed(
        {k: v for k, v in manifest.items() if k not in ("files", "seal")}, files
    )
    _archive.write(tmp_path / "forged", "folder", files)
    with pytest.raises(ArtifactError, match="does not hold the model"):
        check(tmp_path / "forged")


def test_strings_survive_c():
    assert c_string('a"?\\') == r'"a\042\077\134"'
    assert c_string("é") == r'"\303\251"'


def test_greek_is_refused_and_only_letters_that_matter_are_listed():
    with pytest.raises(UsageError, match="cannot lower Greek"):
        _c._lowered(["λόγος"])
    assert _c._lowered(["the"]) == []
    assert dict(_c._lowered(["kå", "ß"])) == {"\u212a": "k", "\u212b": "å", "Å": "å", "ẞ": "ß"}


def test_tensors_that_never_meet_share_their_place():
    chain = [Activation(100, -1, 0), Activation(50, 0, 1), Activation(100, 1, 2)]
    assert _arena.planned(chain) == 112 + 64
    assert _arena.planned([Activation(16, 0, 9), Activation(16, 3, 4)]) == 32
    assert _arena.planned([]) == 0


def test_arena_hint_is_in_the_header(packed, converted):
    header = (packed("digit_classifier", "tflite", "firmware") / "digit_classifier.h").read_text()
    hint = _arena.arena_hint(converted("digit_classifier", "tflite"))
    assert f"#define DIGIT_CLASSIFIER_ARENA_HINT {hint}\n" in header
    assert firmware.FORMATS == ("tflite",)
