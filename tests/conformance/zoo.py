"""The zoo: architectures that others published, built offline with seeded random weights.

``build(name)`` returns a module in evaluation mode and its example inputs, the same on every call.
Weights are initialized as their authors do, and then `_enliven` makes the outputs depend on every
part of the network: a converter that drops a layer whose bias is zero must not get away with it.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]
Maker = Callable[[], tuple[nn.Module, Inputs]]


def build(name: str) -> tuple[nn.Module, Inputs]:
    """Return a model of the zoo, ready to be called with the inputs beside it."""
    with torch.random.fork_rng(devices=[]), _silent():
        torch.manual_seed(0)
        module, inputs = ZOO[name]()
        _enliven(module, inputs)
    return module, inputs


@dataclass(frozen=True)
class Model:
    """A model of the zoo, as the conformance suites see their cases."""

    name: str

    def build(self) -> tuple[nn.Module, Inputs]:
        """Return what `build` does."""
        return build(self.name)


def suite() -> dict[str, Model]:
    """Return every model by name."""
    return {name: Model(name) for name in ZOO}


# -- Where they come from --------------------------------------------------------------------------


class _FirstOutput(nn.Module):
    """Passes its inputs on by keyword and returns the first tensor of the result."""

    def __init__(self, model: nn.Module, keywords: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.keywords = keywords

    def forward(self, *tensors: Tensor) -> Tensor:
        result: Any = self.model(**dict(zip(self.keywords, tensors, strict=True)))
        while not isinstance(result, Tensor):
            result = next(iter(result.values() if isinstance(result, dict) else result))
        return result


class _LastStep(nn.Module):
    """Classifies a sequence by the last step of a two-layer recurrent network."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.recurrent = getattr(nn, kind)(40, 64, num_layers=2, batch_first=True, **options)
        self.head = nn.LazyLinear(12)

    def forward(self, features: Tensor) -> Tensor:
        steps, _state = self.recurrent(features)
        return self.head(steps[:, -1])


def _cnn(name: str, size: int = 224) -> Maker:
    """Return the maker of an image classifier of pytorchcv."""

    def make() -> tuple[nn.Module, Inputs]:
        from pytorchcv.model_provider import get_model

        return get_model(name, pretrained=False), (torch.randn(1, 3, size, size),)

    return make


def _transformer(model: str, inputs: Callable[[], dict[str, Tensor]], **config: Any) -> Maker:
    """Return the maker of a model class of transformers, configured by its own config class."""

    def make() -> tuple[nn.Module, Inputs]:
        import transformers

        built = getattr(transformers, model)
        given = inputs()
        module = built(built.config_class(**config))
        return _FirstOutput(module, tuple(given)), tuple(given.values())

    return make


def _encoder(model: str, inputs: Callable[[], dict[str, Tensor]], **config: Any) -> Maker:
    """Return the maker of the encoder of an encoder-decoder model."""
    whole = _transformer(model, inputs, **config)

    def make() -> tuple[nn.Module, Inputs]:
        module, given = whole()
        assert isinstance(module, _FirstOutput)
        return _FirstOutput(module.model.get_encoder(), module.keywords), given

    return make


def _recurrent(kind: str, **options: Any) -> Maker:
    def make() -> tuple[nn.Module, Inputs]:
        module, features = _LastStep(kind, **options), torch.randn(1, 50, 40)
        module(features)  # sizes the head
        return module, (features,)

    return make


# -- What they take --------------------------------------------------------------------------------


def _image(size: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"pixel_values": torch.randn(1, 3, size, size)}


def _spectrogram(name: str, *shape: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {name: torch.randn(1, *shape)}


def _tokens(length: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"input_ids": torch.randint(5, 1000, (1, length))}


def _masked_tokens(length: int) -> Callable[[], dict[str, Tensor]]:
    mask = torch.ones(1, length, dtype=torch.long)
    return lambda: {**_tokens(length)(), "attention_mask": mask}


_SMALL_VIT: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}
ZOO: dict[str, Maker] = {
    # Convolutional classifiers.
    "mobilenet_w1": _cnn("mobilenet_w1"),
    "mobilenetv2_w1": _cnn("mobilenetv2_w1"),
    "mobilenetv3_small_w1": _cnn("mobilenetv3_small_w1"),
    "mobilenetv3_large_w1": _cnn("mobilenetv3_large_w1"),
    "shufflenetv2_w1": _cnn("shufflenetv2_w1"),
    "efficientnet_b0": _cnn("efficientnet_b0"),
    "squeezenet_v1_1": _cnn("squeezenet_v1_1"),
    "resnet18": _cnn("resnet18"),
    "resnet50": _cnn("resnet50"),
    "densenet121": _cnn("densenet121"),
    # Vision transformers, and convolutional networks in the style of them.
    "vit_tiny": _transformer(
        "ViTForImageClassification",
        _image(224),
        **{**_SMALL_VIT, "num_hidden_layers": 12},
        num_labels=100,
    ),
    "mobilevit_s": _transformer(
        "MobileViTForImageClassification", _image(256), num_labels=100, image_size=256
    ),
    "mobilevitv2": _transformer(
        "MobileViTV2ForImageClassification", _image(256), num_labels=100, image_size=256
    ),
    "convnext_tiny": _transformer("ConvNextForImageClassification", _image(224), num_labels=100),
    "segformer_b0": _transformer("SegformerForSemanticSegmentation", _image(256)),
    "yolos_tiny": _transformer(
        "YolosForObjectDetection", _image(256), **_SMALL_VIT, image_size=[256, 256]
    ),
    "swin2sr": _transformer(
        "Swin2SRForImageSuperResolution",
        lambda: {"pixel_values": torch.rand(1, 3, 64, 64)},
        image_size=64,
        embed_dim=60,
        depths=[2, 2],
        num_heads=[6, 6],
    ),
    # Text.
    "bert_tiny": _transformer(
        "BertForSequenceClassification",
        _masked_tokens(64),
        num_labels=100,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    ),
    "mobilebert": _transformer(
        "MobileBertForSequenceClassification",
        _masked_tokens(64),
        num_labels=100,
        num_hidden_layers=4,
    ),
    "t5_encoder": _transformer(
        "T5EncoderModel",
        _masked_tokens(64),
        d_model=128,
        num_layers=2,
        num_heads=4,
        d_ff=256,
        d_kv=32,
    ),
    "llama_nocache": _transformer(
        "LlamaForCausalLM",
        _tokens(32),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        vocab_size=1000,
        use_cache=False,
    ),
    # Sound and sequences.
    "ast": _transformer(
        "ASTForAudioClassification",
        _spectrogram("input_values", 256, 128),
        **_SMALL_VIT,
        num_labels=100,
        max_length=256,
    ),
    "whisper_encoder": _encoder(
        "WhisperModel",
        _spectrogram("input_features", 80, 3000),
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
    ),
    "lstm": _recurrent("LSTM"),
    "gru": _recurrent("GRU"),
    "bidirectional_lstm": _recurrent("LSTM", bidirectional=True),
}


# -- Weights ---------------------------------------------------------------------------------------


@torch.no_grad()
def _enliven(module: nn.Module, inputs: Inputs) -> None:
    """Fill parameters that are zero throughout, and fit batch normalization to random inputs."""
    for parameter in module.parameters():
        if parameter.is_floating_point() and parameter.numel() > 1 and not parameter.any():
            parameter.normal_(std=0.02)
    module.eval()
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches, of which there is one
        norm.train()
    if norms:
        module(*(torch.cat([x, *(torch.randn_like(x) for _ in range(3))]) for x in inputs))
    module.eval()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the libraries' remarks about configurations and missing packages to themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
