"""What the coordinator knows after each round, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from sealround.federation import tally as tallies

if TYPE_CHECKING:
    from sealround.federation.interfaces import InputShape
    from sealround.federation.plan import Plan
    from sealround.federation.statistics import Statistics
    from sealround.vocabulary import PartyId, RoundId, Tally, Update
    from sealround.wire import Value

__all__ = ["Curve", "Exclusion", "RoundRecord", "TrainedModel"]

Curve: TypeAlias = Mapping[str, float | None]
"""``train_loss``, ``validation_loss`` and ``validation`` (the primary metric), ``None`` where unknown."""


_CURVE = ("train_loss", "validation_loss", "validation")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A site that the study went on without.

    Attributes:
        site: Who.
        round: From which round on.
        why: What happened, without any patient's value.
    """

    site: PartyId
    round: RoundId
    why: str


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round in numbers.

    Attributes:
        round: From 1; 0 is the initial model.
        train_loss: Mean loss over the round's training steps, over all sites.
        validation_loss: Mean loss of the round's candidate model on all sites' validation data.
        validation: Its validation metric (AUROC or c-index).
        accuracy: Its accuracy at a risk of 0.5 on the same data; ``None`` for survival.
        sites: The same three for each site that took part; empty where they are sealed.
        bytes_down: Sent to the sites.
        bytes_up: Received from them.
        absent: Sites that were asked and did not answer in time.
        clipped: In a sealed round, how many sites' updates were clipped; else ``None``.
        error_bound: In a sealed round, how far a parameter's mean change can be from the plain mean of the sites'
            (clipped) changes; else ``None``.
        influence: With a robust rule, each site's part in the aggregate and the rule's reason; else empty.
    """

    round: RoundId
    train_loss: float | None = None
    validation_loss: float | None = None
    validation: float | None = None
    accuracy: float | None = None
    sites: Mapping[PartyId, Curve] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0
    absent: tuple[PartyId, ...] = ()
    clipped: int | None = None
    error_bound: float | None = None
    influence: Mapping[PartyId, tuple[float, str]] = field(default_factory=dict)

    def with_training(self, total: Tally, by_site: Mapping[PartyId, Tally]) -> RoundRecord:
        """Add the training losses of the round's tallies."""
        sites = {site: {"train_loss": tallies.mean_losses(values)[0]} for site, values in by_site.items()}
        return replace(self, train_loss=tallies.mean_losses(total)[0], sites=_merged(self.sites, sites))

    def with_validation(self, plan: Plan, total: Tally, by_site: Mapping[PartyId, Tally]) -> RoundRecord:
        """Add the validation results of the round's candidate model, which arrive with the next round's tallies."""
        sites = {
            site: {"validation_loss": tallies.mean_losses(values)[1], "validation": plan.score(values)}
            for site, values in by_site.items()
        }
        return replace(
            self,
            validation_loss=tallies.mean_losses(total)[1],
            validation=plan.score(total),
            accuracy=plan.accuracy(total),
            sites=_merged(self.sites, sites),
        )

    def to_wire(self) -> dict[str, Value]:
        """Return a tree fit for `sealround.wire` and for JSON."""
        return {
            "round": self.round,
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            "validation": self.validation,
            "accuracy": self.accuracy,
            "sites": {site: {key: self.sites[site][key] for key in _CURVE} for site in sorted(self.sites)},
            "bytes_down": self.bytes_down,
            "bytes_up": self.bytes_up,
            "absent": list(self.absent),
            "clipped": self.clipped,
            "error_bound": self.error_bound,
            "influence": {site: list(self.influence[site]) for site in sorted(self.influence)},
        }


def _merged(old: Mapping[PartyId, Curve], new: Mapping[PartyId, Curve]) -> Mapping[PartyId, Curve]:
    blank: Curve = dict.fromkeys(_CURVE)
    return {site: {**blank, **old.get(site, blank), **new.get(site, {})} for site in sorted({*old, *new})}


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The model a training releases, with everything needed to use it.

    Attributes:
        vector: Parameters, float32 ``(d,)``.
        inputs: What one example looks like.
        statistics: How inputs are encoded.
        round: Which round it is from.
        threshold: Decision threshold on the recalibrated risk.
        calibration: Slope and intercept of the logit, ``(1.0, 0.0)`` for none.
        group_thresholds: A threshold for each group of the column that the study permits one for; else empty.
    """

    vector: Update
    inputs: InputShape
    statistics: Statistics
    round: RoundId
    threshold: float
    calibration: tuple[float, float]
    group_thresholds: tuple[float, ...] = ()
