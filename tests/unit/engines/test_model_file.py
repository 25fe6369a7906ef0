"""The model file is a function of the model: the library behind it writes its header in a random order."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from sealround.engines.model_file import _with_sorted_header

TENSORS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.bias": np.ones(1, dtype=np.float32)}
METADATA = {word: word.upper() for word in ("study", "round", "model", "threshold", "features", "inputs", "encoding")}


def test_the_same_tensors_and_metadata_give_the_same_bytes() -> None:
    raw = [safetensors.numpy.save(TENSORS, metadata=METADATA) for _ in range(50)]
    assert len(set(raw)) > 1, "the library has become deterministic: the sorting can go"
    assert len({_with_sorted_header(data) for data in raw}) == 1


def test_the_tensors_are_read_back() -> None:
    read = safetensors.numpy.load(_with_sorted_header(safetensors.numpy.save(TENSORS, metadata=METADATA)))
    assert set(read) == set(TENSORS)
    assert all(np.array_equal(read[name], tensor) for name, tensor in TENSORS.items())
