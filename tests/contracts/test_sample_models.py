"""What every sample model promises: found in `sample_models/`, not listed here."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
NAMES = sorted(
    path.stem for path in SAMPLES.glob("*.py") if "\ndef build(" in path.read_text(encoding="utf-8")
)
LARGEST_FILE = 1_000_000
WORST_ALLOWED = {"accuracy": 0.9, "mean_iou": 0.7, "pixel_accuracy": 0.9}
REFERENCE_TOLERANCE = 1e-3
SAMPLE_COUNTS = {"test": range(500, 1001), "calibration": range(128, 257)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches of one run faster on one thread than on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(name: str) -> ModuleType:
    """Import a module of the samples' folder the way it expects: by its bare name."""
    sys.path.insert(0, str(SAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SAMPLES))


@pytest.fixture(scope="module", params=NAMES)
def sample(request: pytest.FixtureRequest) -> ModuleType:
    """One sample model's module."""
    return load(request.param)


@pytest.fixture(scope="module")
def splits(sample):
    """Both splits of the sample, read once: drawing pictures takes its time."""
    return {name: sample.dataset(name) for name in SAMPLE_COUNTS}


def test_samples_were_found():
    assert len(NAMES) >= 5


def test_imports_at_run_time_only_what_users_have(sample):
    for heavy in ("sklearn", "scipy"):
        assert f"import {heavy}" not in inspect.getsource(sample)
        assert f"from {heavy}" not in inspect.getsource(sample)


def test_build_is_deterministic_and_in_eval_mode(sample):
    first, second = sample.build(), sample.build()
    assert not any(module.training for module in first.modules())
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_example_inputs_are_the_first_test_sample_in_the_order_of_forward(sample, splits):
    examples = sample.example_inputs()
    inputs, _ = splits["test"]
    arguments = list(inspect.signature(sample.build().forward).parameters)
    assert list(inputs) == arguments
    assert len(examples) == len(arguments)
    for example, array in zip(examples, inputs.values(), strict=True):
        np.testing.assert_array_equal(example.numpy(), array[:1])
        assert example.numpy().dtype == array.dtype


@pytest.mark.parametrize("split", SAMPLE_COUNTS)
def test_dataset_agrees_with_example_inputs_but_for_the_batch(sample, splits, split):
    inputs, labels = splits[split]
    assert len(labels) in SAMPLE_COUNTS[split]
    for example, array in zip(sample.example_inputs(), inputs.values(), strict=True):
        assert array.shape == (len(labels), *example.shape[1:])
    assert labels.dtype == np.int64
    assert set(np.unique(labels)) == set(range(len(sample.LABELS)))


def test_calibration_is_disjoint_from_test(splits):
    seen = {
        name: {
            b"".join(array.tobytes() for array in row) for row in zip(*inputs.values(), strict=True)
        }
        for name, (inputs, _) in splits.items()
    }
    assert not seen["test"] & seen["calibration"]


def test_unknown_split_names_the_valid_ones(sample):
    with pytest.raises(ValueError, match=r"'validation'.*'test', 'calibration'"):
        sample.dataset("validation")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_files_are_small(sample, suffix):
    assert Path(sample.__file__).with_suffix(suffix).stat().st_size <= LARGEST_FILE


def test_docstring_states_the_parameter_count(sample):
    count = sum(parameter.numel() for parameter in sample.build().parameters())
    assert f"Parameters: {count:,}." in sample.__doc__


def test_torch_itself_reaches_the_reference(sample):
    measured = sample.evaluate(load("sample_data").torch_run(sample.build()))
    assert measured == pytest.approx(sample.REFERENCE, abs=REFERENCE_TOLERANCE)
    for metric, value in measured.items():
        assert WORST_ALLOWED[metric] <= value <= 1


def test_a_runtime_may_name_its_only_output_but_not_hide_the_logits_among_others():
    named_or_only = load("sample_data").named_or_only
    logits = np.zeros((1, 2))
    assert named_or_only({"Identity": logits}, "logits") is logits
    assert named_or_only({"embedding": np.ones(1), "logits": logits}, "logits") is logits
    with pytest.raises(KeyError, match="no output 'logits'"):
        named_or_only({"a": logits, "b": logits}, "logits")
