"""What a Jacobian says of each patient behind an update; `sealround.audit.inversion.bounds` says what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.audit.inversion.observation import Domain

__all__ = ["Bounds", "Determined", "Method", "influence", "information", "leakage", "spread_of"]

Method: TypeAlias = Literal["exact", "sketched", "largest singular value only"]
"""Whether J was had whole; as random sums of its columns, which estimate ``J J^T``; or as products with vectors."""

_FAINT = 1e-8  # Share of a number that may lie in directions J does not see before it counts as not determined.
_LOOSE = 0.05**2  # Share of prior variance that is left of what is not determined.


@dataclass(frozen=True, slots=True, eq=False)
class Determined:
    """What an update determines of one patient. Units are those of encoded numbers unless said.

    Attributes:
        patient: Ordinal, from 1.
        numbers: How many numbers the record is.
        largest_singular: Of the patient's rows of J.
        leakage: Fisher information leakage; infinite without blur.
        influence: Typical size of the I2F lower bound under the blur.
        directions: How many combinations of them are determined: known to within a twentieth of their spread, given
            that everybody else's numbers are as spread as their bounds say; ``None`` if not computed.
        pinned: How many single numbers are; ``None`` if not computed.
        smallest_singular: Of those rows; ``None`` if not computed.
        unbiased_sd: Root mean square, over the record, of the typical error that no unbiased attack beats; infinite
            if the record is not determined, ``None`` if not computed.
        prior_sd: The same for whoever knows of each number how far it spreads, and no more; ``None`` if not computed.
        number_sd: The latter for each number, raw units, ``(numbers,)``; empty if not computed.
    """

    patient: int
    numbers: int
    largest_singular: float
    leakage: float
    influence: float
    directions: int | None = None
    pinned: int | None = None
    smallest_singular: float | None = None
    unbiased_sd: float | None = None
    prior_sd: float | None = None
    number_sd: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What an update determines.

    Attributes:
        patients: Each patient whose record is unknown, in order.
        unknowns: Numbers in all their records.
        equations: Coordinates of the update.
        rank: Combinations of all unknowns that are determined, as above; ``None`` if not computed.
        singular: Singular values of J, each row times the spread of its number, descending; empty if not computed.
        precision: Deviation of what blurs a coordinate.
        method: How J was had.
        note: What was assumed, for a reader.
    """

    patients: tuple[Determined, ...]
    unknowns: int
    equations: int
    rank: int | None
    singular: torch.Tensor
    precision: float
    method: Method
    note: str


def information(rows: torch.Tensor, patients: int, precision: float, domain: Domain, shape: tuple[int, ...]) -> Bounds:
    """Return what a Jacobian says.

    Args:
        rows: J, ``(u, d)``: the derivative of an update by each number of the patients' records, one patient after
            the other, equally many each.
        patients: How many.
        precision: Deviation of what blurs a coordinate; 0 leaves the rounding of J itself (float64).
        domain: Bounds and units of the numbers.
        shape: Of a record.

    Raises:
        UsageError: If the rows are not those of so many records.
    """
    u, d = rows.shape
    spread, scale = spread_of(domain, shape), domain.scale.double().abs().expand(shape).flatten()
    if patients * spread.numel() != u:
        raise UsageError(f"{u} rows are not those of {patients} records of shape {shape}")
    # J = R^T Q^T: R has the same singular values and left vectors as J, in u columns instead of d.
    small = torch.linalg.qr(rows.T, mode="r").R.T if d > u else rows
    spectrum = _decomposed(small * spread.repeat(patients)[:, None], d, precision)
    each = u // patients
    judged = tuple(
        _one(patient, spectrum, small, slice(patient * each, (patient + 1) * each), spread, scale)
        for patient in range(patients)
    )
    rank = int((spectrum.left <= _LOOSE).sum())
    return Bounds(judged, u, d, rank, spectrum.values, precision, "exact", "")


@dataclass(frozen=True, slots=True, eq=False)
class _Spectrum:
    """Singular values of J, rows times their spread; left vectors; and what share of prior variance each leaves."""

    values: torch.Tensor
    vectors: torch.Tensor
    left: torch.Tensor
    precision: float

    def unbiased(self, mine: slice) -> torch.Tensor:
        """Return the Cramer-Rao bound's variances of some numbers, in squared spreads; infinite where J is blind."""
        seen, weights = self.values > 0.0, self.vectors[mine].square()
        inverse = torch.where(seen, self.precision / self.values, 0.0).square()
        return torch.where(weights @ (~seen).double() > _FAINT, torch.inf, weights @ inverse)


def _decomposed(rows: torch.Tensor, equations: int, precision: float) -> _Spectrum:
    u = len(rows)
    vectors, values, _ = torch.linalg.svd(rows, full_matrices=True)
    values = torch.cat([values, values.new_zeros(u - values.numel())])
    floor = float(values[0]) * max(u, equations) * torch.finfo(values.dtype).eps
    values = torch.where(values > floor, values, 0.0)
    # 1 where J is blind, 0 where nothing blurs.
    left = torch.where(values > 0.0, precision**2 / (values.square() + precision**2).clamp_min(1e-300), 1.0)
    return _Spectrum(values, vectors, left, precision)


def _one(
    patient: int, spectrum: _Spectrum, rows: torch.Tensor, mine: slice, spread: torch.Tensor, scale: torch.Tensor
) -> Determined:
    vectors, left, numbers = spectrum.vectors[mine], spectrum.left, spread.numel()
    # Its directions' shares of prior variance that are left, with everybody else's records as uncertain as this one.
    shares = left if numbers == len(left) else torch.linalg.eigvalsh((vectors * left) @ vectors.T)
    remaining, own = vectors.square() @ left, torch.linalg.svdvals(rows[mine])
    variance = remaining * spread.square()
    return Determined(
        patient=patient + 1,
        numbers=numbers,
        directions=int((shares <= _LOOSE).sum()),
        pinned=int((remaining <= _LOOSE).sum()),
        largest_singular=float(own[0]),
        smallest_singular=float(own[-1]) if own.numel() == numbers else 0.0,
        unbiased_sd=float((spectrum.unbiased(mine) * spread.square()).mean().sqrt()),
        prior_sd=float(variance.mean().sqrt()),
        number_sd=variance.sqrt() * scale,
        leakage=leakage(float(own[0]), spectrum.precision),
        influence=influence(float(own.square().sum()), float(own[0]), spectrum.precision),
    )


def spread_of(domain: Domain, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the deviation of a number that is uniform within its bounds, encoded, ``(numbers,)``; 1 without bounds."""
    spread = (domain.upper - domain.lower).double().expand(shape).flatten() / math.sqrt(12.0)
    return torch.where(spread.isfinite() & (spread > 0.0), spread, 1.0)


def leakage(largest: float, precision: float) -> float:
    """Return Fisher information leakage: infinite without blur, 0 where nothing leaks."""
    if precision > 0.0:
        return largest / precision
    return math.inf if largest > 0.0 else 0.0


def influence(energy: float, largest: float, precision: float) -> float:
    """Return the typical I2F lower bound: ``E |J p|^2`` is ``precision^2 tr(J J^T)`` for noise p."""
    return precision * math.sqrt(energy) / largest**2 if largest > 0.0 else math.inf
