"""Protections against reconstruction, each taken out: records are recovered then, and only then.

What is attacked are the updates of the study's own first round, of four real hospitals or six simulated ones.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.audit.inversion.held import Judge
from sealround.audit.inversion.others import held_out
from sealround.audit.inversion.playing import Trial, play
from sealround.clinical import Places, load_cohorts
from sealround.engines.audit.capture import capture
from sealround.engines.audit.exposures import Exposure, exposures, judged, observation
from sealround.testing import small_study

if TYPE_CHECKING:
    from sealround.audit.inversion.scoring import Judgement

_REASON = "a public data set in a test"
_OPEN: dict[str, Any] = {
    "secure_aggregation": {"mode": "none", "reason": _REASON},
    "robustness": {"rule": "mean", "reason": _REASON},
    "privacy": {"unit": "none", "reason": _REASON},
}
_SEALED = _OPEN | {"secure_aggregation": {"mode": "pairwise"}}


def _private(noise_multiplier: float) -> dict[str, Any]:
    """Noise at each site, for each patient, on its own update: nothing is sealed."""
    return _OPEN | {
        "privacy": {
            "unit": "patient",
            "neighboring_relation": "add-or-remove-one",
            "trust": "local",
            "noise_multiplier": noise_multiplier,
            "delta": 1e-4,
            "sampling_probability": 0.06,
            "l2_clip_norm": 100.0,
            "patients": 60,
        }
    }


def attacked(folder: Path, protection: dict[str, Any], **more: Any) -> tuple[Exposure, Judgement]:
    """Return what the coordinator holds of the first round, and what SPEAR makes of it."""
    study = small_study(
        cohort={
            "source": {"kind": "builtin", "name": "breast-cancer"},
            "sites": {"kind": "iid", "number": 6},
            "split": {"kind": "random", "validation": 0.0, "test": 0.3},
        },
        model={"kind": "mlp", "hidden": [20]},
        training={
            "optimizer": {"kind": "sgd", "learning_rate": 0.1},
            "batch_size": 4,
            "local_epochs": None,
            "local_steps": 1,
        },
        evaluation={"compare": [], "threshold": {"kind": "fixed", "value": 0.5}},
        protection=protection,
        **more,
    )
    cohorts = load_cohorts(study, Places.of_study(Path("study.toml"), None))
    captured = capture(study, cohorts, (1,), folder)
    (exposure,) = (
        each for each in exposures(captured, 1) if isinstance(each, Exposure) and each.attacker == "coordinator"
    )
    seen, victims = observation(captured, exposure), judged(captured, exposure, cohorts)
    others = held_out(study, cohorts.values(), captured.statistics, np.random.default_rng(1), 100)
    played = play("spear", seen, Trial(1.0, 1, time.monotonic, others.inputs))
    assert played.reconstruction is not None, played.why
    judge = Judge(seen, victims, others, captured.inputs.kind, 1)
    return exposure, judge.judge(played.reconstruction)


def test_secure_aggregation_hides_the_update_that_gives_records_away(tmp_path: Path) -> None:
    plain, found = attacked(tmp_path, _OPEN)
    assert len(plain.members) == 1
    assert found.certified.all()
    assert found.figures["exact_cells"].min() > 0.7
    summed, hidden = attacked(tmp_path, _SEALED)
    assert len(summed.members) == 6
    assert not hidden.certified.any()
    assert hidden.figures["exact_cells"].max() < 0.1


def test_noise_hides_the_records_in_an_update_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    declared = {"standardisation": {"kind": "declared"}}
    exposure, found = attacked(tmp_path, _private(1.0), **declared)
    assert len(exposure.members) == 1
    assert not found.certified.any()
    assert found.figures["exact_cells"].max() < 0.1
    # Clipping at 100 binds nobody: what is taken out is the noise, and the drawing of patients by chance.
    _, bare = attacked(tmp_path, _OPEN, **declared)
    assert bare.figures["exact_cells"].max() > 0.7
