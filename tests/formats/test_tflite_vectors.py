"""Equal vectors of a TFLite file are stored once."""

import numpy as np

from edgekit.formats._tflite_graph import SharingBuilder


def test_equal_vectors_are_written_once() -> None:
    builder = SharingBuilder(64)
    zeros = np.zeros(1000, np.int64)
    first = builder.CreateNumpyVector(zeros)
    taken = builder.Offset()
    assert builder.CreateNumpyVector(zeros.copy()) == first
    assert builder.Offset() == taken
    assert builder.CreateNumpyVector(np.zeros(1000, np.int32)) != first


def test_contents_of_buffers_are_each_their_own() -> None:
    builder = SharingBuilder(64)
    data = np.ones(16, np.uint8)
    assert builder.CreateNumpyVector(data) != builder.CreateNumpyVector(data)
