"""``[protection]``: what protects the study; each part is stated, and switching one off takes a reason."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sealround.study.sections.base import Section

__all__ = ["NoPrivacy", "NoRobustness", "NoSecureAggregation", "Protection", "Reason"]

Reason = Annotated[str, Field(min_length=10, max_length=500, examples=["simulation on public data, on one computer"])]


class NoSecureAggregation(Section):
    """Updates reach the coordinator in clear."""

    mode: Literal["none"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class NoRobustness(Section):
    """A plain mean: one lying site can steer the model."""

    rule: Literal["mean"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class NoPrivacy(Section):
    """No differential privacy."""

    unit: Literal["none"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class Protection(Section):
    """What protects the study. Each is stated: switching one off takes a reason."""

    secure_aggregation: NoSecureAggregation = Field(description="What hides each site's update from the coordinator.")
    robustness: NoRobustness = Field(description="What keeps a lying site from steering the model.")
    privacy: NoPrivacy = Field(description="What bounds how much the model reveals about one patient.")
