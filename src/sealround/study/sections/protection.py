"""``[protection]``: what protects the study; each part is stated, and switching one off takes a reason."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from sealround.study.sections.base import Name, Positive, Section

__all__ = [
    "LEAST_SITES",
    "AdaptiveClipping",
    "Clipping",
    "DifferentialPrivacy",
    "FixedClipping",
    "NoPrivacy",
    "NoRobustness",
    "NoSecureAggregation",
    "PairwiseAggregation",
    "Privacy",
    "Protection",
    "Reason",
    "ReplicatedAggregation",
    "RobustRule",
    "Robustness",
    "SecureAggregation",
]

LEAST_SITES = 3
"""A sum of two tells each of them the other's numbers."""

Reason = Annotated[str, Field(min_length=10, max_length=500, examples=["simulation on public data, on one computer"])]


class NoSecureAggregation(Section):
    """Updates reach the coordinator in clear."""

    mode: Literal["none"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class SealedSums(Section):
    """What both modes of secure aggregation share: how numbers are written, and how few sites may be summed."""

    n_min: Annotated[int, Field(ge=LEAST_SITES, le=500)] | None = Field(
        default=None,
        description="Fewest sites whose sum is opened; else all of a round, so that no two sums differ by a site and "
        "nobody has to be believed about who dropped out. With fewer, a training goes on without some.",
    )
    max_abs: Annotated[float, Field(gt=0.0, le=1e6)] = Field(
        default=4.0,
        description="Largest magnitude of a parameter's change in a round; what is larger is cut, and counted.",
    )
    clip_norm: Annotated[float, Field(gt=0.0, le=1e9)] | None = Field(
        default=None, description="Largest L2 norm of a site's update; what is longer is shortened, and counted."
    )
    scale_bits: Annotated[int, Field(ge=8, le=40)] | None = Field(
        default=None,
        description="Updates are rounded to multiples of 2^-scale_bits; else the finest that cannot overflow.",
    )


class PairwiseAggregation(SealedSums):
    """One coordinator that is trusted with nothing: sites mask their updates pair by pair, only the sum comes off.

    Up to 120 sites everybody shares masks with everybody, above that each with as many as a third of colluding sites
    makes necessary.
    """

    mode: Literal["pairwise"]


class ReplicatedAggregation(SealedSums):
    """Three aggregators of which at most one is dishonest: a site speaks once, and may be gone afterwards."""

    mode: Literal["replicated"]
    aggregators: tuple[Name, Name, Name] = Field(
        default=("aggregator-a", "aggregator-b", "aggregator-c"),
        description="The three institutions that add up shares; none of them is a site.",
    )


SecureAggregation: TypeAlias = Annotated[
    NoSecureAggregation | PairwiseAggregation | ReplicatedAggregation, Field(discriminator="mode")
]


class NoRobustness(Section):
    """A plain mean: one lying site can steer the model."""

    rule: Literal["mean"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class RobustRule(Section):
    """A rule that withstands some lying sites in a round, in place of the mean."""

    rule: Literal[
        "krum",
        "multi-krum",
        "bulyan",
        "median",
        "trimmed-mean",
        "meamed",
        "geometric-median",
        "centered-clipping",
        "norm-clipping",
        "dnc",
        "flame",
        "foolsgold",
        "fltrust",
        "adaptive",
    ] = Field(
        description="By distances: `krum` (one site's update), `multi-krum`, `bulyan`, `geometric-median`, `dnc`, "
        "`flame`. Parameter by parameter: `median`, `trimmed-mean`, `meamed`. By length: `norm-clipping`, "
        "`centered-clipping`. By what is remembered of each site: `adaptive`, `foolsgold` (weighs copies down). By a "
        "trusted site: `fltrust`."
    )
    num_byzantine: Annotated[int, Field(ge=0, le=250)] = Field(
        description="Lying sites in a round that the rule must withstand; 0 for `norm-clipping`, `foolsgold` and "
        "`fltrust`, which assume no number."
    )
    root: Name | None = Field(
        default=None,
        description="Site whose records the consortium trusts, for `fltrust`: it trains in every round, its update "
        "measures the others', and takes no other part.",
    )
    mixing: bool = Field(
        default=False, description="Replace each update by the mean of its nearest ones first (NNM), for unlike sites."
    )
    num_selected: Annotated[int, Field(ge=1, le=500)] | None = Field(
        default=None, description="Updates that `multi-krum` averages; else all but `num_byzantine`."
    )
    clip_norm: Annotated[float, Field(gt=0.0, le=1e9)] | None = Field(
        default=None,
        description="Largest L2 norm: of an update (`norm-clipping`, else the round's median), or of its distance from "
        "the last mean (`centered-clipping`, which needs it).",
    )
    max_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.5, description="Largest part of the mean that one site can claim by its number of examples."
    )
    max_examples: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=1_000_000, description="More training examples than a site can have: who claims more is left out."
    )


Robustness: TypeAlias = Annotated[NoRobustness | RobustRule, Field(discriminator="rule")]


class NoPrivacy(Section):
    """No differential privacy."""

    unit: Literal["none"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class FixedClipping(Section):
    """One norm for the whole training."""

    kind: Literal["fixed"]


class AdaptiveClipping(Section):
    """A norm that follows the gradients, told by a noised count in every round (Andrew et al. 2021)."""

    kind: Literal["adaptive"]
    quantile: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.5, description="Share of the gradients that are to be within the norm."
    )
    rate: Annotated[float, Field(gt=0.0, le=2.0)] = Field(default=0.2, description="How fast the norm follows.")


Clipping: TypeAlias = Annotated[FixedClipping | AdaptiveClipping, Field(discriminator="kind")]


class DifferentialPrivacy(Section):
    """Differential privacy of everybody whose records are trained on, validated with or tested.

    Each round adds up clipped gradients of patients who were drawn by chance, with noise. Give a budget (`epsilon`), or
    the noise (`noise_multiplier`); `sealround privacy plan` tells one from the other.
    """

    unit: Literal["record", "patient", "site"] = Field(
        description="Whose presence is hidden: `patient`, all records of one person together; `record`, each row or "
        "image by itself, which protects nobody who has several; or `site`, everybody of one hospital and the hospital "
        "itself, which takes many hospitals."
    )
    neighboring_relation: Literal["add-or-remove-one", "replace-one"] = Field(
        description="Which two sets of records nobody can tell apart: with one unit more or less."
    )
    trust: Literal["sealed", "local"] = Field(
        description="`sealed`: the sum under secure aggregation is private, noise is split over the sites, and one sum "
        "is one step. `local`: each site's message alone is private, against everybody, and pays for it with noise."
    )
    delta: Annotated[float, Field(gt=0.0, lt=0.1, examples=[1e-5])] = Field(
        description="Far less than one patient's share."
    )
    epsilon: Annotated[float, Field(gt=0.0, le=1000.0)] | None = Field(
        default=None, description="The budget of the study; noise is chosen to fit."
    )
    noise_multiplier: Annotated[float, Field(gt=0.0, le=1e6)] | None = Field(
        default=None, description="Standard deviation of the noise in a sum of gradients, in clip norms."
    )
    sampling_probability: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        description="With which each unit is drawn into a step, by itself (Poisson sampling); 1.0 for sites."
    )
    l2_clip_norm: Positive = Field(description="Longest gradient of one unit; what is longer is shortened.")
    clipping: Clipping = Field(
        default=FixedClipping(kind="fixed"), description="Whether the norm stays, or is where it begins."
    )
    patients: Annotated[int, Field(ge=1, le=10**9)] = Field(
        description="Units that all sites train on, about (for `site`: how many sites): a public figure, which the sum "
        "is divided by. It is not counted, since a count tells who is there."
    )
    dishonest_sites: Annotated[int, Field(ge=0, le=498)] = Field(
        default=0, description="Sites that may leave out their share of the noise, or tell it; the others add more."
    )
    metrics: Literal["noised", "kept"] = Field(
        default="noised",
        description="`noised`: validation and test results leave as sums with noise of the same budget, which other "
        "patients have than those trained on. `kept`: they stay at the sites.",
    )


Privacy: TypeAlias = Annotated[NoPrivacy | DifferentialPrivacy, Field(discriminator="unit")]


class Protection(Section):
    """What protects the study. Each is stated: switching one off takes a reason."""

    secure_aggregation: SecureAggregation = Field(description="What hides each site's update from the coordinator.")
    robustness: Robustness = Field(description="What keeps a lying site from steering the model.")
    privacy: Privacy = Field(description="What bounds how much the model reveals about one patient.")

    @property
    def private(self) -> bool:
        """Whether what leaves a site has noise that hides each patient."""
        return self.privacy.unit != "none"

    @property
    def sealed(self) -> bool:
        """Whether sites' numbers reach nobody but as sums."""
        return self.secure_aggregation.mode != "none"
