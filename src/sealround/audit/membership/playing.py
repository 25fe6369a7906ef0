"""Plays membership attacks on one update: from records to scores, by the score that suits the update."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.identity.sketch import count_sketch
from sealround.audit.membership.gradients import example_gradients, shown_gradient
from sealround.audit.membership.updates import gradient_difference, update_likelihood_ratio

if TYPE_CHECKING:
    from sealround.audit.inversion.observation import Observation, Victims

__all__ = ["ScoredUpdate", "score_update"]

_WIDEST = 1 << 14
"""Gradients of more parameters are sketched to so many numbers."""

_LEAST_REFERENCES = 8


@dataclass(frozen=True, slots=True, eq=False)
class ScoredUpdate:
    """Scores of records, higher where a gradient looks as if it were in the update.

    Attributes:
        scores: Members first, then strangers, float64 ``(n,)``.
        member: Who is one, bool ``(n,)``.
        score: Name of the score.
        sketched: To how many numbers gradients were sketched; ``None`` if they were not.
    """

    scores: np.ndarray
    member: np.ndarray
    score: str
    sketched: int | None


def score_update(
    seen: Observation, members: Victims, strangers: Victims, references: Victims, draw: np.random.Generator
) -> ScoredUpdate:
    """Score records by whether their gradients are in an update.

    The likelihood ratio, if there are at least eight reference records; for the exact gradient of one record, or
    without references, how much shorter the shown gradient gets without the record's part. Which of the two is not
    chosen by its result.

    Args:
        seen: The update, of plain steps.
        members: Records behind it.
        strangers: Records that are not.
        references: Other records that are not, which the attacker has; none of the two above.
        draw: For the sketch of long gradients.

    Raises:
        UsageError: If the steps were Adam's.
        UnsupportedError: If the loss gives one record no gradient of its own.
    """
    # Without dropout: which neurons were left out, the attacker does not know.
    quiet = dataclasses.replace(seen, module=copy.deepcopy(seen.module).eval())
    length = seen.model.numel()
    sketch = count_sketch(length, _WIDEST, draw) if length > _WIDEST else None
    shown = shown_gradient(quiet, sketch)
    parts = [example_gradients(quiet, part.inputs, part.labels, sketch) for part in (members, strangers)]
    gradients = np.concatenate(parts)
    member = np.arange(len(gradients)) < len(parts[0])
    if len(references.inputs) >= _LEAST_REFERENCES and (seen.examples > 1 or shown.blur > 0.0):
        theirs = example_gradients(quiet, references.inputs, references.labels, sketch)
        scores, name = update_likelihood_ratio(gradients, shown, theirs), "likelihood ratio"
    else:
        scores, name = gradient_difference(gradients, shown), "difference"
    return ScoredUpdate(scores, member, name, None if sketch is None else sketch.width)
