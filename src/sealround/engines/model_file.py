"""``model.safetensors``: named tensors, and a description of how to use them; written here, and read as a reference."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from sealround import __version__
from sealround.clinical.encoding import Encoder
from sealround.clinical.groups import groups_of
from sealround.errors import Problem, StudyError
from sealround.federation.group_thresholds import levels_with_threshold
from sealround.federation.interfaces import Contender
from sealround.federation.statistics import Layout, Statistics
from sealround.learning import model_card_description, model_tensors, parameter_count
from sealround.study import study_digest

if TYPE_CHECKING:
    from sealround.federation import TrainedModel
    from sealround.federation.interfaces import InputShape
    from sealround.study import Study

__all__ = ["model_file", "read_reference", "threshold_of_groups"]

_PATH = "fairness.gate.reference.path"
_SAME = {
    "output": "another output",
    "model": "another model",
    "parameters": "other parameters",
    "inputs": "other inputs",
}


def model_file(study: Study, released: TrainedModel) -> bytes:
    """Return the released model as a safetensors file.

    The metadata hold the model's description (how to rebuild it), the statistics that inputs are encoded with, the
    decision threshold and recalibration, and the digest of the study. The same model gives the same bytes.
    """
    tensors = model_tensors(study, released.inputs, released.statistics, released.vector)
    statistics = released.statistics
    encoding = {
        # Mean and scale are the federation's: `local` puts each site's own in their place, `none` leaves inputs as they
        # are; a missing number is the mean either way.
        "standardisation": study.standardisation.kind,
        "numeric": list(statistics.layout.numeric),
        "mean": statistics.mean.tolist(),
        "scale": statistics.scale.tolist(),
        "categories": [[name, list(levels)] for name, levels in statistics.layout.categories],
        "level_counts": statistics.level_counts.tolist(),
    }
    metadata = {
        **model_card_description(study, released.inputs, released.statistics),
        "sealround": __version__,
        "study": study.study.name,
        "study_digest": study_digest(study).hex(),
        "round": str(released.round),
        "threshold": repr(released.threshold),
        "calibration": json.dumps(released.calibration),
        # Of the groups of one sensitive column, where the study permits it; everybody else has the threshold above.
        "group_thresholds": json.dumps(threshold_of_groups(study, released)),
        "encoding": json.dumps(encoding),
        # With a local intercept the model lacks the bias, which each site keeps.
        "personalisation": study.training.personalisation.kind,
        "intended_use": "research; not for clinical use",
    }
    return _with_sorted_header(safetensors.numpy.save(tensors, metadata=metadata))


def threshold_of_groups(study: Study, released: TrainedModel) -> dict[str, float]:
    """Return the decision threshold of each group that has one of its own, by the group's name."""
    groups = levels_with_threshold(study, groups_of(study))
    return {group.name: value for group, value in zip(groups, released.group_thresholds, strict=False)}


def read_reference(data: bytes, study: Study, inputs: InputShape) -> Contender:
    """Read a released model that a study's gate compares with.

    Args:
        data: A ``model.safetensors``.
        study: The study, whose sites have to be able to run it.
        inputs: What their examples look like, as the model takes them.

    Returns:
        The model with its own encoding, threshold and recalibration.

    Raises:
        StudyError: If it is no such file, or not a model that this study's sites can run as it is.
    """
    try:
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        metadata, tensors = header["__metadata__"], safetensors.numpy.load(data)
        statistics = _encoding(metadata)
        slope, intercept = map(float, json.loads(metadata["calibration"]))
        threshold = float(metadata["threshold"])
        kind, kept = json.loads(metadata["encoding"])["standardisation"], metadata["personalisation"]
    except (SafetensorError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise _unfit(study, "is not a model.safetensors of this version of sealround") from None
    if metadata.get("format") != "sealround-model/1" or not np.isfinite([slope, intercept, threshold]).all():
        raise _unfit(study, "is not a model.safetensors of this version of sealround")
    if kept == "local-intercept":
        raise _unfit(study, "lacks its intercept, which each site of its study kept")
    _check_encoding(study, inputs, statistics.layout, kind)
    ours = model_card_description(study, inputs, statistics)
    for key, why in _SAME.items():
        if metadata.get(key) != ours[key]:
            raise _unfit(study, f"has {why} than this study's model")
    size = parameter_count(study, inputs, statistics)
    places = model_tensors(study, inputs, statistics, np.zeros(size, dtype=np.float32))
    if {name: tensor.shape for name, tensor in tensors.items()} != {
        name: place.shape for name, place in places.items()
    }:
        raise _unfit(study, "has other parameters than it says")
    vector = np.concatenate([tensors[name].astype(np.float32).reshape(-1) for name in places])
    if not np.isfinite(vector).all():
        raise _unfit(study, "has a parameter that is not a finite number")
    return Contender(vector, threshold, slope, intercept, statistics)


def _encoding(metadata: dict[str, Any]) -> Statistics:
    encoding = json.loads(metadata["encoding"])
    layout = Layout(
        tuple(map(str, encoding["numeric"])),
        tuple((str(name), tuple(map(str, levels))) for name, levels in encoding["categories"]),
    )
    mean, scale, levels = (np.array(encoding[key], dtype=np.float64) for key in ("mean", "scale", "level_counts"))
    fits = mean.shape == scale.shape == (len(layout.numeric),)
    if not fits or not all(np.isfinite(values).all() for values in (mean, scale, levels)):
        raise ValueError
    # How many patients it was trained on is not in the file, and nobody trains on.
    return Statistics(layout, 2.0, 1.0, np.ones_like(mean), mean, scale, levels)


def _check_encoding(study: Study, inputs: InputShape, layout: Layout, kind: str) -> None:
    if kind != study.standardisation.kind:
        raise _unfit(study, f'standardises inputs as "{kind}" does, and this study does not')
    ours = Encoder(study.cohort, inputs).layout
    same = [name for name, _ in ours.categories] == [name for name, _ in layout.categories]
    same = same and all(
        not levels or levels == theirs
        for (_, levels), (_, theirs) in zip(ours.categories, layout.categories, strict=True)
    )
    if ours.numeric != layout.numeric or not same:
        raise _unfit(study, "takes other inputs than this study declares")


def _unfit(study: Study, why: str) -> StudyError:
    hint = "name a model that was released by a study of the same inputs and model"
    return StudyError(f"{study.study.name}: the gate's reference", (Problem(_PATH, f"the file {why}"),), hint=hint)


def _with_sorted_header(data: bytes) -> bytes:
    """Return a safetensors file with its header in canonical order; the library writes it in a random one.

    The format: a uint64 length, that much JSON padded with blanks to a multiple of 8, then the tensors, whose offsets
    count from there.
    """
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]
