"""The model file is a function of the model: the library behind it writes its header in a random order."""

from __future__ import annotations

import json
import struct

import numpy as np
import safetensors.numpy

from sealround.engines.model_file import _with_sorted_header, model_file
from sealround.federation import TrainedModel
from sealround.federation.interfaces import InputShape
from sealround.federation.statistics import Layout, Statistics
from sealround.testing import small_study
from sealround.vocabulary import RoundId

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


def test_the_file_says_what_is_done_to_inputs_and_what_stays_at_a_site() -> None:
    study = small_study(
        standardisation={"kind": "none"},
        training={"personalisation": {"kind": "local-intercept"}},
        cohort={"columns": {"sex": {"role": "feature", "kind": "categorical", "levels": ["f", "m"]}}},
    )
    layout = Layout((), (("sex", ("f", "m")),))
    nothing = np.zeros(0)
    statistics = Statistics(layout, 9.0, 4.0, nothing, nothing, nothing, np.array([6.0, 3.0]))
    vector = np.ones(3, dtype=np.float32)
    data = model_file(study, TrainedModel(vector, InputShape("table"), statistics, RoundId(3), 0.5, (1.0, 0.0)))
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    encoding = json.loads(metadata["encoding"])
    assert encoding["standardisation"] == "none"
    assert (encoding["categories"], encoding["level_counts"]) == ([["sex", ["f", "m"]]], [6.0, 3.0])
    assert metadata["personalisation"] == "local-intercept"
