"""Holding a reconstruction against the records: the judge's side of an audit, from tensors to numbers and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.audit.inversion.baselines import Auxiliary, Baseline, image_baselines, table_baselines
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.scoring import Judgement, Kind, judge
from sealround.audit.inversion.table_cells import cells_of, reported_tolerance

if TYPE_CHECKING:
    from sealround.audit.inversion.observation import Observation, Victims

__all__ = ["Held", "Judge"]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """The worst-off patient of one attack, raw: original, rebuilt, guessed without an update.

    Attributes:
        original: Numbers of the record, or grey values in [0, 1] ``(channels, rows, columns)``.
        rebuilt: The same shape.
        guessed: The same shape.
        hits: Tables: which cells are recovered, in the order of `cells`; else ``None``.
        cells: Tables: the columns of each cell.
    """

    original: np.ndarray
    rebuilt: np.ndarray
    guessed: np.ndarray
    hits: np.ndarray | None
    cells: tuple[tuple[int, ...], ...]


class Judge:
    """Knows the records behind an observation, and what is guessed without it.

    Args:
        seen: What was attacked.
        victims: The records behind it.
        others: Records of patients who are not behind it, encoded alike: what guesses are made from.
        kind: What an example is.
        seed: Which of the others stand for a random one.
    """

    def __init__(self, seen: Observation, victims: Victims, others: Victims, kind: Kind, seed: int) -> None:
        self._domain, self._victims, self._kind = seen.domain, victims, kind
        self._survival = victims.labels.ndim == 2 and victims.labels.shape[1] == 2  # noqa: PLR2004  (event, rank)
        auxiliary = Auxiliary(others.inputs, others.labels)
        draw = np.random.default_rng(seed)
        self._tolerance: torch.Tensor | None = None
        self._baselines: tuple[Baseline, ...]
        if kind == "image":
            self._baselines = image_baselines(victims, auxiliary, seen.domain, draw)
        else:
            everybody = seen.domain.raw(torch.cat([victims.inputs, others.inputs]))
            # Ready-made features are real numbers: what they are written with says nothing.
            self._tolerance = reported_tolerance(everybody) if kind == "table" else None
            self._baselines = table_baselines(
                victims, auxiliary, seen.domain, draw, tolerance=self._tolerance, survival=self._survival
            )

    def judge(self, reconstruction: Reconstruction) -> Judgement:
        """Hold a reconstruction against the records."""
        return judge(
            reconstruction,
            self._victims,
            self._domain,
            self._kind,
            self._baselines,
            tolerance=self._tolerance,
            survival=self._survival,
        )

    def reconstruction(self, attack: str, inputs: np.ndarray) -> Reconstruction:
        """Return candidates for encoded examples, float64 ``(m, p)``, as a reconstruction that proves nothing."""
        candidates = torch.from_numpy(np.asarray(inputs, dtype=np.float64)).view(-1, *self._victims.inputs.shape[1:])
        return Reconstruction(attack, candidates)

    def raw(self, reconstruction: Reconstruction) -> np.ndarray:
        """Return what was rebuilt in the records' own units, float64 ``(m, *shape)``."""
        return np.asarray(self._domain.raw(reconstruction.inputs.double()).numpy())

    def people(self, others: Victims) -> np.ndarray:
        """Return the records behind the update, then others, in their own units, ``(N, *shape)``."""
        return np.asarray(self._domain.raw(torch.cat([self._victims.inputs, others.inputs]).double()).numpy())

    def worst(self, reconstruction: Reconstruction, judgement: Judgement) -> Held | None:
        """Return the worst-off patient's record beside what was rebuilt of it; ``None`` if nothing was."""
        patient = judgement.worst().patient - 1
        place = int(judgement.rebuilt[patient])
        if place < 0:
            return None
        blind = [each for each in self._baselines if each.blind]
        best = judgement.best_baseline("psnr_db" if self._kind == "image" else "exact_cells")
        named = next((each for each in blind if best is not None and each.name == best[0]), blind[0])
        rebuilt = self._domain.raw(reconstruction.inputs[place].double())
        cells = () if self._kind == "image" else cells_of(self._domain, rebuilt.shape[0], self._tolerance).columns
        return Held(
            np.asarray(self._domain.raw(self._victims.inputs[patient].double()).numpy()),
            np.asarray(rebuilt.numpy()),
            np.asarray(self._domain.raw(named.guesses[0][patient].double()).numpy()),
            None if judgement.hits is None else judgement.hits[patient],
            cells,
        )
