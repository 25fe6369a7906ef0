"""The few types every layer shares, under the field's own names.

Array aliases carry their shape for the reader and, in the test suite, for jaxtyping's run-time check: ``"d"`` is the
number of model parameters, ``"n"`` the number of examples or sites, ``"p"`` the number of encoded features.
"""

from __future__ import annotations

from typing import NewType, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

__all__ = [
    "COORDINATOR",
    "Design",
    "Labels",
    "PartyId",
    "RoundId",
    "Rows",
    "Tally",
    "Update",
    "Updates",
]

PartyId = NewType("PartyId", str)
"""A key holder in a protocol: a site, an aggregator or the coordinator."""

RoundId = NewType("RoundId", int)
"""A training round, counted from 1; round 0 is the initial model."""

COORDINATOR = PartyId("coordinator")
"""The relay that drives rounds and is trusted with nothing secret."""

Update: TypeAlias = Float32[np.ndarray, "d"]
"""One model, or one change of it, as a flat float32 vector."""

Updates: TypeAlias = Float32[np.ndarray, "n d"]
"""The updates of one round, a row for each site."""

Tally: TypeAlias = Float64[np.ndarray, "t"]
"""Numbers that only ever matter as their sum over sites."""

Design: TypeAlias = Float32[np.ndarray, "n p"]
"""Encoded features, a row for each example."""

Labels: TypeAlias = Shaped[np.ndarray, "n"]
"""One value for each example."""

Rows: TypeAlias = Int64[np.ndarray, "n"]
"""Row numbers into a table."""
