"""Damaged copies of a file, the same ones in every run."""

from collections.abc import Iterator
from random import Random


def cuts(data: bytes, count: int) -> Iterator[bytes]:
    """Yield evenly spaced beginnings of `data`, the empty one first."""
    for index in range(count):
        yield data[: len(data) * index // count]


def flips(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies of `data` with one to eight bytes replaced, half of them by extreme values."""
    random = Random(seed)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(random.randint(1, 8)):
            extreme = random.choice([0, 1, 0x7F, 0x80, 0xFF])
            damaged[random.randrange(len(data))] = random.choice([extreme, random.randrange(256)])
        yield bytes(damaged)
