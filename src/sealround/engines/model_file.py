"""``model.safetensors``: named tensors, and a description of how to use them."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import safetensors.numpy

from sealround import __version__
from sealround.learning import model_card_description, model_tensors
from sealround.study import study_digest

if TYPE_CHECKING:
    from sealround.federation import TrainedModel
    from sealround.study import Study

__all__ = ["model_file"]


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
        "encoding": json.dumps(encoding),
        # With a local intercept the model lacks the bias, which each site keeps.
        "personalisation": study.training.personalisation.kind,
        "intended_use": "research; not for clinical use",
    }
    return _with_sorted_header(safetensors.numpy.save(tensors, metadata=metadata))


def _with_sorted_header(data: bytes) -> bytes:
    """Return a safetensors file with its header in canonical order; the library writes it in a random one.

    The format: a uint64 length, that much JSON padded with blanks to a multiple of 8, then the tensors, whose offsets
    count from there.
    """
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]
