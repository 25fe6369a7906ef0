"""What an update determines of each patient, whoever attacks: as an entry of ``bounds`` in ``audit.json``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sealround.audit.inversion.bounding import bounds_of_update
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.audit.inversion.information import Determined
    from sealround.audit.inversion.observation import Observation, Victims
    from sealround.engines.audit.exposures import Exposure

__all__ = ["bounds_of"]

_LARGEST = 2_000
"""With more unknowns times steps than this, nothing is computed: each number would take a training of its own."""

_PATIENTS = 64
"""Patients that are listed, the worst off first; the note says of how many."""


def bounds_of(rung: str, exposure: Exposure, seen: Observation, victims: Victims, seed: int) -> dict[str, Any] | None:
    """Return what an update determines of each patient behind it; ``None`` where that cannot be computed.

    Args:
        rung: Key of the rung.
        exposure: Where the update is from.
        seen: The update.
        victims: The records behind it.
        seed: For what is estimated.
    """
    if seen.unknowns * seen.plan.steps > _LARGEST:
        return None
    ends = [0]
    for truth in exposure.truth:
        ends.append(ends[-1] + len(truth.rows))
    sites = [[batch + start for batch in truth.batches] for start, truth in zip(ends, exposure.truth, strict=False)]
    try:
        found = bounds_of_update(seen, victims, seed, sites)
    except UsageError:
        return None
    worst = sorted(found.patients, key=lambda each: (-(each.directions or 0), -each.leakage, each.patient))
    many = len(found.patients)
    more = f"; of {many} patients the {_PATIENTS} of whom most is determined" if many > _PATIENTS else ""
    return {
        "rung": rung,
        "attacker": exposure.attacker,
        "round": exposure.round,
        "site": exposure.site,
        "sites_in_sum": len(exposure.members),
        "examples": exposure.examples,
        "unknowns": found.unknowns,
        "equations": found.equations,
        "rank": found.rank,
        "precision": _finite(found.precision),
        "patients": [_patient(each) for each in worst[:_PATIENTS]],
        "note": f"{found.method}; {found.note}{more}",
    }


def _patient(found: Determined) -> dict[str, float | int | None]:
    return {
        "numbers": found.numbers,
        "determined": found.directions or 0,
        "smallest_singular": _finite(found.smallest_singular),
        "largest_singular": _finite(found.largest_singular),
        "crb_sd": _finite(found.prior_sd),
        "fil": _finite(found.leakage),
        "i2f": _finite(found.influence),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
