"""``[audit]``: what the leakage audit may show, and what it has to find before the study may start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from sealround.study.sections.base import Fraction, Section
from sealround.study.sections.protection import Reason

__all__ = ["Audit", "Requirements"]


class Requirements(Section):
    """Limits on what an attacker recovered from the worst-off patient; above one of them, the study does not start.

    A limit is on what was found. That a stronger attack would find no more, no audit can show.
    """

    exact_cells: Fraction | None = Field(
        default=None,
        description="Tables: share of one patient's values that were recovered exactly, beyond what can be guessed "
        "without the update.",
    )
    exact_records: Fraction | None = Field(
        default=None, description="Share of the patients attacked whose whole record was recovered exactly."
    )
    reidentified: Fraction | None = Field(
        default=None,
        description="Probability with which one patient's reconstruction is linked to the right person, beyond what "
        "can be guessed without the update.",
    )
    psnr_db: Annotated[float, Field(ge=0.0, le=400.0)] | None = Field(
        default=None, description="Images: signal-to-noise ratio of one patient's reconstruction, in decibels."
    )
    membership_auc: Annotated[float, Field(ge=0.5, le=1.0)] | None = Field(
        default=None, description="How well it is told who took part: area under the curve, 0.5 is a coin."
    )

    @model_validator(mode="after")
    def _something(self) -> Requirements:
        if not self.model_dump(exclude_none=True):
            msg = "require limits nothing; give exact_cells, exact_records, reidentified, psnr_db or membership_auc"
            raise ValueError(msg)
        return self


class Audit(Section):
    """What the leakage audit may show, and what it has to find before the study may start."""

    public: Reason | None = Field(
        default=None,
        description="Why the records may be seen by all who get the audit: data that are public or made up. Without it "
        "a report has numbers only, and pictures and rows stay where the audit was made. Data that come with sealround "
        "are public.",
    )
    require: Requirements | None = Field(
        default=None, description="What an audit of this very study must have found before `sealround run` starts."
    )
