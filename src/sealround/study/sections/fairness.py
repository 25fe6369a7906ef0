"""``[fairness]``: how every declared group fares, and what is done if one is worse off.

Groups are the levels of sensitive columns (of a number, its bands), and the pairs of levels of two of them.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from sealround.study.sections.base import DataPath, Fraction, Name, Section

__all__ = ["AloneReference", "Fairness", "Gate", "GroupMetric", "ModelReference", "Reference"]

GroupMetric: TypeAlias = Literal["fnr", "fpr", "calibration"]


class AloneReference(Section):
    """The model that a hospital trains on its own records alone, for as many rounds: nobody is harmed by joining."""

    kind: Literal["alone"]


class ModelReference(Section):
    """A model that is approved already."""

    kind: Literal["model"]
    path: DataPath = Field(description="A `model.safetensors` of an earlier run, relative to the study file.")


Reference: TypeAlias = Annotated[AloneReference | ModelReference, Field(discriminator="kind")]


class Gate(Section):
    """A model is released only if no group is found to be worse off than with the reference, on validation patients."""

    reference: Reference = Field(
        default=AloneReference(kind="alone"), description="What the released model is compared with."
    )
    metrics: Annotated[tuple[GroupMetric, ...], Field(min_length=1)] = Field(
        default=("fnr", "fpr"),
        description="`fnr`: the sick who are missed. `fpr`: the healthy who are called sick. `calibration`: predicted "
        "minus observed risk, in magnitude.",
    )
    tolerance: Fraction = Field(default=0.0, description="A rise up to which a group is not worse off.")
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        default=0.95, description="Of all one-sided bounds together (Holm)."
    )
    largest_undetected: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.2,
        description="A group in which a rise of this size would be found less than four times in five is "
        "`not assessable`: it does not pass.",
    )
    unassessable: Literal["report", "withhold"] = Field(
        default="report", description="What a group that is not assessable does to the release."
    )
    on_failure: Literal["withhold", "exclude"] = Field(
        default="withhold",
        description="`withhold`: no model is released. `exclude`: the rounds are trained again without the sites that "
        "the harm is traced to, and that model has to pass.",
    )


class Fairness(Section):
    """How every declared group fares, and what is done if one is worse off."""

    min_group: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=11, description="Groups with fewer patients are shown as `not assessable`."
    )
    intersections: bool = Field(default=True, description="Look at every pair of levels of two columns, too.")
    gate: Gate | None = Field(default=None, description="What a model has to pass before it is released.")
    training: Literal["plain", "reweighted", "minimax"] = Field(
        default="plain",
        description="`reweighted`: examples count so that group and outcome are independent (Kamiran, Calders 2012). "
        "`minimax`: in every round, the group and outcome with the largest loss count more.",
    )
    group_thresholds: Name | None = Field(
        default=None,
        description="A sensitive column: permits a decision threshold for each of its groups, with which all find the "
        "sick equally often (Hardt et al. 2016). The model's user must know the group, and be allowed to use it.",
    )
