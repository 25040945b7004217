"""Sentiment of short reviews: a small transformer encoder with two outputs.

Data: SYNTHETIC, from the grammar in `scripts/train_sentiment_transformer.py`: clauses such as
"the plot was not bad at all", joined by "but", "although", "and", with degrees ("slightly",
"extremely"), negation and sentence order that change the verdict. Every test review contains a
noun-adjective pair that no training review contains. It knows only the words of that grammar:
it is a test object for converters, not a judge of real reviews.

Input: `input_ids` (1, 32) int64, ids in `vocabulary()`, padded with 0; `attention_mask` (1, 32)
int64, 1 where there is a word. `encode` makes both from text.
Output: `logits` (1, 2), negative and positive; `embedding` (1, 64), the mean of the words'
final states.
Parameters: 75,010.
Retrain: `python scripts/train_sentiment_transformer.py`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from sample_data import Array, Arrays, Run, accuracy, first_sample, load_split, load_weights
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

LABELS = ("negative", "positive")
REFERENCE = {"accuracy": 0.937}

MAX_WORDS = 32
PADDING = "<pad>"
UNKNOWN = "<unk>"

PREPROCESS = {
    "review": {
        "kind": "tokens",
        "ids": "input_ids",
        "mask": "attention_mask",
        "vocabulary": "sentiment_transformer.txt",
        "length": MAX_WORDS,
        "padding": PADDING,
        "unknown": UNKNOWN,
    }
}
POSTPROCESS = {
    "sentiment": {"kind": "classes", "output": "logits"},
    "embedding": {"kind": "values", "normalize": True},
}


class Block(nn.Module):
    """A pre-norm transformer layer: self-attention, then a GELU feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the layers, untrained."""
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, states: Tensor, attends: Tensor) -> Tensor:
        """Return new states (N, T, D); `attends` (N, 1, 1, T) is True where a word may be seen."""
        batch, length, width = states.shape
        mixed = self.query_key_value(self.attention_norm(states))
        split = mixed.reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = scaled_dot_product_attention(query, key, value, attn_mask=attends)
        states = states + self.attention_out(seen.transpose(1, 2).reshape(batch, length, width))
        updated: Tensor = states + self.feed_forward(states)
        return updated


class SentimentTransformer(nn.Module):
    """Word and position embeddings, transformer layers, masked mean, linear head."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        """Make the layers, untrained."""
        super().__init__()
        self.words = nn.Embedding(len(vocabulary()), width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, MAX_WORDS, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return logits (N, 2) and embedding (N, 64) for ids and mask (N, 32)."""
        states = self.words(input_ids) + self.positions
        attends = attention_mask[:, None, None, :].bool()
        for block in self.blocks:
            states = block(states, attends)
        weight = attention_mask[:, :, None].to(states.dtype)
        embedding = (self.norm(states) * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return {"logits": self.head(embedding), "embedding": embedding}


@cache
def vocabulary() -> dict[str, int]:
    """Return the id of each word: its line in the .txt beside this file, padding first."""
    words = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split()
    return {word: index for index, word in enumerate(words)}


def encode(text: str) -> Array:
    """Return the ids (32,) of a text's words; punctuation is words set apart by spaces."""
    known = vocabulary()
    ids = np.full(MAX_WORDS, known[PADDING], np.int64)
    words = text.lower().split()[:MAX_WORDS]
    ids[: len(words)] = [known.get(word, known[UNKNOWN]) for word in words]
    return ids


def to_inputs(ids: Array) -> Arrays:
    """Return the model's inputs for ids (N, 32): the mask is where there is no padding."""
    input_ids = ids.astype(np.int64)
    return {"input_ids": input_ids, "attention_mask": (input_ids != 0).astype(np.int64)}


def build() -> nn.Module:
    """Return the trained model in eval mode."""
    return load_weights(SentimentTransformer(), Path(__file__).with_suffix(".safetensors"))


def example_inputs() -> tuple[Tensor, ...]:
    """Return the first test review's ids and mask."""
    return first_sample(dataset("test")[0])


def dataset(split: str) -> tuple[Arrays, Array]:
    """Return ids and mask (N, 32) and labels (N,) of a split, "test" or "calibration"."""
    stored, labels = load_split(Path(__file__).with_suffix(".npz"), split)
    return to_inputs(stored["ids"]), labels


def evaluate(run: Run) -> dict[str, float]:
    """Return the accuracy of `run` on the test split."""
    return {"accuracy": accuracy(run, *dataset("test"))}
