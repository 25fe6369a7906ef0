"""``[evaluation]``: what is measured, and against what."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from sealround.study.sections.base import Fraction, Section

__all__ = ["Evaluation", "FixedThreshold", "MetricName", "SensitivityThreshold", "Threshold", "YoudenThreshold"]


class FixedThreshold(Section):
    """Positive when the predicted risk is at least `value`."""

    kind: Literal["fixed"]
    value: Fraction = Field(default=0.5, description="Risk from which on a patient counts as positive.")


class YoudenThreshold(Section):
    """Largest sensitivity + specificity on the validation data of all sites together (Youden 1950)."""

    kind: Literal["youden"]


class SensitivityThreshold(Section):
    """Highest threshold with at least this sensitivity on the validation data of all sites together."""

    kind: Literal["sensitivity"]
    at_least: Fraction = Field(default=0.9, description="Share of the patients with the outcome that must be found.")


Threshold: TypeAlias = Annotated[FixedThreshold | YoudenThreshold | SensitivityThreshold, Field(discriminator="kind")]

MetricName: TypeAlias = Literal[
    "auroc", "auprc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "brier", "ece", "c_index"
]


class Evaluation(Section):
    """What is measured, and against what."""

    primary: MetricName | None = Field(default=None, description="Leading metric; else auroc, or c_index for survival.")
    threshold: Threshold = Field(
        default=FixedThreshold(kind="fixed"), description="Predicted risk from which on a patient counts as positive."
    )
    recalibration: Literal["none", "platt"] = Field(
        default="none", description="`platt`: slope and intercept fitted on validation data (Platt 1999)."
    )
    selection: Literal["last", "best-validation"] = Field(
        default="last", description="Which round's model is released."
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(default=0.95, description="Of every interval.")
    bootstrap: Annotated[int, Field(ge=100, le=20_000)] = Field(default=1000, description="Resamples of patients.")
    compare: tuple[Literal["alone", "pooled"], ...] = Field(
        default=("alone", "pooled"), description="Baselines: each hospital alone, all data in one place (simulation)."
    )
