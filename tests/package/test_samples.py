"""Processing as declared, with an artifact, is as accurate as the model with its own pipeline."""

import shutil

import apps
import numpy as np
import pytest
from conftest import NAMES, SAMPLES

import edgekit
from edgekit.processing.binding import bind, finish, prepare
from edgekit.processing.declared import find


@pytest.fixture
def app(converted):
    """Return a function that opens a sample's artifact inside its processing."""
    sessions = []

    def open_app(name):
        session = edgekit.open(converted(name, "onnx"))
        sessions.append(session)
        bound = bind(find(str(SAMPLES / f"{name}.py")), session.signature)
        return lambda arguments: finish(bound, session.run(prepare(bound, arguments)))

    yield open_app
    for session in sessions:
        session.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_declares_its_processing(name):
    found = find(str(SAMPLES / f"{name}.py"))
    assert found.before
    assert found.after
    assert found.labels == apps.load(name).LABELS


@pytest.mark.parametrize("name", ["digit_classifier", "gesture_gru", "sentiment_transformer"])
def test_accuracy_is_the_models_own(name, app):
    sample = apps.load(name)
    arguments, labels = getattr(apps, name)(sample)
    run = app(name)
    first = [next(iter(run(each).values()))[0] for each in arguments]
    accuracy = np.mean([each.index == label for each, label in zip(first, labels, strict=True)])
    assert accuracy == pytest.approx(sample.REFERENCE["accuracy"], abs=1e-4)
    assert all(each.label == sample.LABELS[each.index] for each in first)
    assert all(0 < each.score <= 1 for each in first)


def test_segmenter_labels_pixels_as_well_as_the_model(app):
    sample = apps.load("shape_segmenter")
    pictures, masks = apps.shape_segmenter(sample)
    run = app("shape_segmenter")
    hits = [(run(each)["mask"] == mask).mean() for each, mask in zip(pictures, masks, strict=True)]
    assert np.mean(hits) == pytest.approx(sample.REFERENCE["pixel_accuracy"], abs=1e-4)


def waveforms(count):
    """Yield sounds of many loudnesses, some too short, some too long."""
    random = np.random.RandomState(5)
    for index in range(count):
        length = (16_000, 9_000, 20_000)[index % 3]
        tone = np.sin(2 * np.pi * random.uniform(80, 7000) / 16_000 * np.arange(length))
        sound = tone * random.uniform(0, 1) + random.normal(0, 0.2, length)
        yield sound.clip(-1, 1) * 10 ** random.uniform(-3, 0)


def test_keyword_front_end_is_the_models_own():
    sample = apps.load("keyword_spotter")
    spec = edgekit.TensorSpec("features", edgekit.DType.FLOAT32, (1, 1, 40, 49))
    out = edgekit.TensorSpec("output", edgekit.DType.FLOAT32, (1, 11))
    bound = bind(find(str(SAMPLES / "keyword_spotter.py")), edgekit.Signature((spec,), (out,)))
    for sound in waveforms(100):
        second = np.pad(sound, (0, max(0, 16_000 - len(sound))))[:16_000]
        made = prepare(bound, {"sound": sound})["features"]
        np.testing.assert_allclose(made[0], sample.log_mel(second), atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng to speak the test split")
def test_keyword_accuracy_from_sound(app, monkeypatch):
    monkeypatch.syspath_prepend(str(SAMPLES.parent / "scripts"))
    training = pytest.importorskip("train_keyword_spotter")
    sample = apps.load("keyword_spotter")
    sounds = []
    monkeypatch.setattr(
        training.sample, "mel_decibels", lambda sound: sounds.append(sound) or np.array(len(sounds))
    )
    counts = dict.fromkeys(sample.LABELS, training.TEST_PER_WORD)
    spoken = training.record(counts, test=True, mixes=1, seed=2)
    run = app("keyword_spotter")
    hits = [
        run({"sound": sounds[place - 1]})["words"][0].index == label
        for place, label in zip(spoken["levels"], spoken["labels"], strict=True)
    ]
    assert np.mean(hits) == pytest.approx(sample.REFERENCE["accuracy"], abs=1e-4)
