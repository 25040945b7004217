"""Text becomes the ids of its words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.processing.reference.common import Array, cast

# Unicode's White_Space characters, spelled out because the languages' own ideas of space differ.
SPACES = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def tokens(
    text: str,
    *,
    ids: str,
    mask: str | None,
    dtype: str,
    mask_dtype: str,
    vocabulary: Sequence[str],
    length: int,
    lower: bool,
    tokenizer: str,
    padding: str,
    unknown: str,
    begin: str | None,
    end: str | None,
) -> dict[str, Array]:
    """Turn text into the ids (1, length) of its words, and a mask that is 1 where there is one.

    Args:
        text: Any text.
        ids: Name of the input that takes the ids.
        mask: Name of the input that takes the mask, or None.
        dtype: Element type of the ids.
        mask_dtype: Element type of the mask.
        vocabulary: The words; a word's id is its place.
        length: How many ids there are; longer texts are cut, shorter ones padded.
        lower: Whether to lower all letters first.
        tokenizer: ``words``: what stands between white space; ``wordpiece``: each of these is cut,
            the longest known piece first, and pieces inside a word are spelled ``##piece``
            (Devlin et al. 2018, after Schuster and Nakajima 2012).
        padding: The word that fills up.
        unknown: The word that stands for all others.
        begin: A word put before the text, or None.
        end: A word put after it, or None.
    """
    known = {word: place for place, word in enumerate(vocabulary)}
    words = [word for word in SPACES.split(text.lower() if lower else text) if word]
    cut = [piece for word in words for piece in _pieces(word, known, tokenizer, unknown)]
    first, last = [begin] if begin is not None else [], [end] if end is not None else []
    kept = first + cut[: length - len(first) - len(last)] + last
    found = np.full(length, known[padding], np.int64)
    found[: len(kept)] = [known.get(word, known[unknown]) for word in kept]
    result = {ids: cast(found[None], dtype)}
    if mask is not None:
        result[mask] = cast((np.arange(length) < len(kept))[None], mask_dtype)
    return result


def _pieces(word: str, known: Mapping[str, int], tokenizer: str, unknown: str) -> list[str]:
    if tokenizer == "words":
        return [word]
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((each for each in ends if prefix + word[start:each] in known), None)
        if end is None:
            return [unknown]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
