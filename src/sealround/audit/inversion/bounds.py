"""What an update determines of each patient, whoever attacks: numbers that no attack's failure can talk away.

Around the records x that a site trained on, its update moves by ``J^T dx``: row i of J is the derivative by the i-th
number. Whatever blurs the update (noise, or at least the rounding to float32) has a deviation, the *precision*.
From both follows what any attacker can tell apart, near these records.

- **Determined directions** of a patient: combinations of the patient's numbers that the update tells to within a
  twentieth of what they vary by before anything was sent, everybody else's records unknown within their bounds. As the
  blur goes to 0, and others' records can hide what they overlap with, they are the rank of J less its rank without
  the patient's rows: local identifiability.
- **Cramér-Rao**: an unbiased attack's mean squared error is at least precision^2 tr((J J^T)^-1), the patient's block
  of the inverse of the *joint* matrix; infinite where J does not determine the record. For an attacker who takes each
  number for normal, as spread as a uniform one within its bounds, the bound is finite (van Trees) and attained by the
  posterior mean, in a linearised update. Whoever knows more of patients in general (how images look, how columns hang
  together) can do better.
- **Fisher information leakage**: the largest singular value of the patient's rows over the precision (A. Hannun,
  C. Guo, L. van der Maaten, "Measuring Data Leakage in Machine-Learning Models with Fisher Information", UAI 2021,
  section 3), all else known to the attacker.
- **Inversion influence** (I2F; H. Zhang, J. Hong, Y. Deng, M. Mahdavi, J. Zhou, "Understanding Deep Gradient Leakage
  via Inversion Influence Functions", NeurIPS 2023, section 4): a perturbation p of the update moves the best
  reconstruction by at least ``|J p| / lambda_max(J J^T)``.

All are local and of smooth losses: where a ReLU is off its derivative is 0, and a record that is not determined near
itself may still be told from one far away. None of them says that a patient is safe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.derivatives import energy, influence_bound, largest_singular, sketched
from sealround.audit.inversion.information import Bounds, Determined, Method, influence, information, leakage
from sealround.audit.inversion.simulation import flat_gradient, jacobian, played_update
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.audit.inversion.observation import Observation, Victims

__all__ = [
    "Bounds",
    "Determined",
    "Method",
    "bounds",
    "in_words",
    "influence_bound",
    "information",
    "largest_singular",
    "mean_update",
    "rounding",
]

_LIMIT = 3 << 24  # Numbers of J in memory: 400 MB.
_FACTOR = 8  # Sums that a sketch has for each unknown, where memory allows; 4 at least.


def bounds(
    seen: Observation,
    victims: Victims,
    draw: torch.Generator,
    *,
    sites: Sequence[Sequence[torch.Tensor]] = (),
    known: Sequence[int] = (),
    limit: int = _LIMIT,
) -> Bounds:
    """Return what an update determines of each patient behind it, labels known.

    Args:
        seen: The update; without blur, rounding to float32 is taken for it.
        victims: All records behind it, of every site.
        draw: For sketches and probes; unused where J fits.
        sites: Several steps or sites: for each site its steps' rows of ``victims``. One step of all records otherwise.
        known: Rows that the attacker knows, as colluding sites know theirs.
        limit: Numbers of J that may be held; what is larger is sketched, and where four sums for each
            unknown are too many, only its largest singular values are computed.

    Returns:
        For each row that is not known.

    Raises:
        UsageError: If steps are Adam's, several steps have no batches, or nothing is unknown.
    """
    unknown = [row for row in range(len(victims.inputs)) if row not in set(known)]
    if not unknown:
        raise UsageError("every record is known: there is nothing to determine")
    play, rows = mean_update(seen, victims.labels, sites), torch.tensor(unknown)
    given = victims.inputs.double()
    at = given[rows]

    def of_unknown(inputs: torch.Tensor) -> torch.Tensor:
        return play(given.index_copy(0, rows, inputs))

    update: Callable[[torch.Tensor], torch.Tensor] = of_unknown
    precision = seen.blur or rounding(seen.update)
    note = "noise as the study has it" if seen.blur else "no noise: rounding of typical coordinates to float32"
    u, d = at.numel(), seen.update.numel()
    if u * min(d, 4 * u) > limit:
        note += "; largest singular values by Lanczos' method, at most the true ones"
        return _outermost(update, at, precision, draw, note)
    method: Method = "exact"
    if u * d > limit:
        method, sums = "sketched", min(_FACTOR * u, limit // u)
        update = sketched(update, d, sums, draw)
        note += f"; J J^T estimated from {sums} random sums of {d} coordinates"
    rows_of_j = jacobian(update, at, chunk=max(1, min(64, (1 << 25) // d)))
    found = information(rows_of_j, len(unknown), precision, seen.domain, seen.shape)
    return Bounds(found.patients, u, d, found.rank, found.singular, precision, method, note)


def mean_update(
    seen: Observation, labels: torch.Tensor, sites: Sequence[Sequence[torch.Tensor]] = ()
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the update as a function of all records, the mean over sites weighted by examples.

    Args:
        seen: The round.
        labels: Of all records.
        sites: As `bounds` takes them.

    Raises:
        UsageError: If steps are Adam's, or several steps have no batches.
    """
    if seen.plan.adaptive:
        raise UsageError("steps of Adam are not played", hint="ask for the bounds of the same study with SGD")
    if not sites:
        if seen.plan.steps > 1:
            raise UsageError("several steps take the rows of each", hint="give the batches of every site")
        gradient, rate = flat_gradient(seen), seen.plan.learning_rate
        return lambda inputs: gradient(inputs, labels) * -rate
    sizes = [len(set(torch.cat(list(batches)).tolist())) for batches in sites]

    def update(inputs: torch.Tensor) -> torch.Tensor:
        played = [
            played_update(seen, inputs, labels, batches) * size for batches, size in zip(sites, sizes, strict=True)
        ]
        return torch.stack(played).sum(0) / sum(sizes)

    return update


def rounding(update: torch.Tensor) -> float:
    """Return the deviation of float32's rounding of a coordinate of typical (root mean square, not zero) size.

    Uniform within half a unit in the last place, 2^-24 relative. A training in float32 rounds more than once: this is
    the least that blurs an update, and so the attacker's best case.
    """
    moved = update[update != 0.0].double()
    return float(moved.square().mean().sqrt()) * 2.0**-24 / math.sqrt(3.0) if moved.numel() else 0.0


def in_words(found: Determined) -> str:
    """Return a patient's numbers as a sentence for somebody who decides."""
    if found.directions is None or found.pinned is None:
        return (
            f"Patient {found.patient}: too large to say how many of {found.numbers} numbers the update determines; its "
            f"Fisher information leakage is {found.leakage:.3g}."
        )
    error = found.prior_sd if found.prior_sd is not None else math.nan
    return (
        f"Patient {found.patient}: {found.directions} of {found.numbers} numbers of this patient are determined by the "
        f"update, {found.pinned} of them each to within a twentieth of what it varies by. Whoever knows of a number no "
        f"more than its bounds errs by about {error:.2g} standard deviations or more, near this record. This is no "
        f"upper limit of what an attack may find."
    )


def _outermost(
    update: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, precision: float, draw: torch.Generator, note: str
) -> Bounds:
    """What products with J alone can say, patient by patient: all else known to the attacker."""
    none = torch.zeros(0, dtype=torch.float64)
    judged = []
    for patient in range(len(at)):
        row = torch.tensor([patient])

        def alone(one: torch.Tensor, row: torch.Tensor = row) -> torch.Tensor:
            return update(at.index_copy(0, row, one))

        mine = at[row]
        largest = largest_singular(alone, mine, draw)
        typical = influence(energy(alone, mine, draw), largest, precision)
        judged.append(
            Determined(
                patient=patient + 1,
                numbers=mine.numel(),
                largest_singular=largest,
                leakage=leakage(largest, precision),
                influence=typical,
            )
        )
    equations = update(at).numel()
    return Bounds(tuple(judged), at.numel(), equations, None, none, precision, "largest singular value only", note)
