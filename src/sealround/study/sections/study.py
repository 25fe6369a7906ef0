"""The whole study file, with its two short sections ``[study]`` and ``[standardisation]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sealround.study.sections.audit import Audit
from sealround.study.sections.base import Section
from sealround.study.sections.cohort import Cohort
from sealround.study.sections.evaluation import Evaluation
from sealround.study.sections.fairness import Fairness
from sealround.study.sections.model import Model
from sealround.study.sections.protection import Protection
from sealround.study.sections.training import Training

__all__ = ["Standardisation", "Study", "StudyHeader"]


class StudyHeader(Section):
    """What the study is called, what it asks, and how long it runs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")] = Field(
        description="A short name of lower-case letters, digits and hyphens, 80 at most; names the run folder.",
        examples=["heart-disease"],
    )
    question: str = Field(default="", max_length=500, description="The clinical question, for the report.")
    rounds: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Training rounds.", examples=[30])
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        description="Seed of every random choice of a simulation: the same seed gives the same bytes.",
        examples=[42],
    )


class Standardisation(Section):
    """How features are brought to mean 0 and variance 1."""

    kind: Literal["federated", "local", "declared", "example", "none"] = Field(
        default="federated",
        description="From sums over all sites, or from each site alone. `declared`: from the columns' `range` (its "
        "middle, and a quarter of its width), which reads no record. `example`: each vector or image by its own mean "
        "and spread, which reads no other. Or not at all.",
    )
    min_cell_count: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=5, description="A site never reports a count of patients smaller than this, except 0."
    )


class Study(Section):
    """One study, as every site agreed to it."""

    study: StudyHeader
    cohort: Cohort
    standardisation: Standardisation = Standardisation()
    model: Model = Field(description="What is trained.")
    training: Training
    evaluation: Evaluation = Evaluation()
    fairness: Fairness = Fairness()
    protection: Protection
    audit: Audit = Audit()

    @property
    def task(self) -> Literal["binary", "survival"]:
        """What is predicted: two classes, or time to event."""
        return "survival" if self.model.kind == "cox" else "binary"

    @property
    def primary_metric(self) -> str:
        """The leading metric."""
        return self.evaluation.primary or ("c_index" if self.task == "survival" else "auroc")
