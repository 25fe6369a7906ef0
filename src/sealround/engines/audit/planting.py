"""A coordinator that makes models up: what a site does with them, and what they would give away where nobody looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from sealround.audit.malicious import (
    ImprintOptions,
    agreeing,
    extract_imprint,
    extract_traps,
    plant_imprint,
    plant_traps,
)
from sealround.engines.audit.findings import Outcome
from sealround.engines.audit.judged import outcome_of
from sealround.errors import UsageError
from sealround.federation.interfaces import TrainOrder
from sealround.federation.plan import FEDERATED
from sealround.learning import TorchWork, initial_model
from sealround.learning.models import build_model, encoded_shape
from sealround.vocabulary import RoundId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealround.audit.inversion.held import Judge
    from sealround.audit.malicious import Candidates
    from sealround.clinical import SiteCohort
    from sealround.engines.audit.capture import Captured
    from sealround.vocabulary import PartyId, Update

__all__ = ["Planted", "plant", "unguarded"]

Planted: TypeAlias = "tuple[Update, Callable[[Update], np.ndarray]]"
"""What is sent, float32 ``(d,)``, and how records are read off the update, float64 ``(m, p)``."""


class _Unguarded(TorchWork):
    """A site that trains on whatever it is sent."""

    looks_at_models: ClassVar[bool] = False


def plant(key: str, captured: Captured, examples: int, seed: int) -> Planted:
    """Plant a model.

    Args:
        key: Word of the attack.
        captured: The study's own training, which says what inputs look like.
        examples: How many are behind the update that is attacked.
        seed: Of the attacker's choices.

    Raises:
        UnsupportedError: If the study's model has no layer to plant in.
        UsageError: If it is no attack that plants.
    """
    study, inputs, statistics = captured.study, captured.inputs, captured.statistics
    network = build_model(study.model, encoded_shape(study, inputs, statistics))
    reference, draw = initial_model(study)(inputs, statistics), np.random.default_rng(seed)
    match key:
        case "imprint":
            imprint = plant_imprint(network, reference, ImprintOptions(), draw)
            return imprint.parameters, lambda update: extract_imprint(update, imprint).inputs
        case "trap-weights":
            traps = plant_traps(network, reference, 1.0 / max(2, examples), draw)
            return traps.parameters, lambda update: _distinct(extract_traps(update, traps))
        case "disparity":
            trap = plant_traps(network, reference, 1.0 / max(2, examples), draw, traps=1, gain=100.0)
            return trap.parameters, lambda update: extract_traps(update, trap).inputs
        case _:
            raise UsageError(f"{key} plants nothing")


def _distinct(candidates: Candidates) -> np.ndarray:
    several = agreeing(candidates)
    return several if len(several) else candidates.inputs


def unguarded(
    captured: Captured, cohorts: Mapping[PartyId, SiteCohort], members: Sequence[PartyId], model: Update
) -> Update:
    """Return what sites would send that train on whatever they get, mean weighted by examples, float32 ``(d,)``."""
    order = TrainOrder(FEDERATED, RoundId(1), model, captured.statistics)
    outcomes = [_Unguarded(captured.study, cohorts[site]).train(order) for site in members]
    weight = sum(outcome.weight for outcome in outcomes)
    mean = sum(outcome.update.astype(np.float64) * (outcome.weight / weight) for outcome in outcomes)
    return np.asarray(mean, dtype=np.float32)


def refused(why: str, judge: Judge, records: np.ndarray, granted: tuple[tuple[str, str], ...]) -> Outcome:
    """Return the outcome of a planted model that the site refused; the note says what its check is worth."""
    reconstruction = judge.reconstruction("planted model", records)
    without = outcome_of(reconstruction, judge.judge(reconstruction), "done", granted, np.random.default_rng(0))
    if "exact_cells" in without.worst:
        said = f"{without.worst['exact_cells']:.0%} of the worst-off patient's values"
    elif "psnr_db" in without.worst:
        said = f"the worst-off patient's image at {without.worst['psnr_db']:.0f} dB"
    else:
        said = "nothing"
    return Outcome(
        status="refused by the site",
        why=why,
        granted=granted,
        note=f"A site that did not look would have given away {said}.",
    )
