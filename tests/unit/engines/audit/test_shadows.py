"""Reference trainings: who is in which, whole patients only, and the same again from the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.clinical import Places, load_cohorts
from sealround.engines.audit.shadows import (
    LEAST_SHADOWS,
    MOST_SHADOWS,
    as_training,
    nominal_seconds,
    shadows,
    shadows_within,
)
from sealround.errors import UnsupportedError, UsageError
from sealround.study import load_study
from sealround.study.sections import Cox

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.study import Study
    from sealround.vocabulary import PartyId

STUDY = """\
[study]
name = "small"
rounds = {rounds}
seed = 7

[cohort]
source = {{ kind = "csv", path = "data:patients.csv" }}
sites = {{ kind = "column" }}
split = {{ kind = "random", validation = {validation}, test = 0.3 }}

[cohort.columns]
site = {{ role = "site" }}
who = {{ role = "patient" }}
{features}
ill = {{ role = "label", positive = [1] }}

[model]
kind = "logistic"

[training]
optimizer = {{ kind = "sgd", learning_rate = 0.5 }}
local_steps = 2

[evaluation]
compare = []
bootstrap = 100

[protection]
secure_aggregation = {{ mode = "none", reason = "simulation on made-up data" }}
robustness = {{ rule = "mean", reason = "simulation on made-up data" }}
privacy = {{ unit = "none", reason = "simulation on made-up data" }}
"""
COLUMNS = 3
SITES = {"a": 24, "b": 12}


def made(tmp_path: Path, *, rounds: int = 2, validation: float = 0.0) -> tuple[Study, dict[PartyId, SiteCohort]]:
    """Patients with two rows each."""
    draw = np.random.default_rng(3)
    lines = [
        f"{site},{site}{patient},{','.join(f'{value:.3f}' for value in draw.normal(size=COLUMNS))},{patient % 2}"
        for site, number in SITES.items()
        for patient in range(number)
        for _ in range(2)
    ]
    names = [f"x{number}" for number in range(COLUMNS)]
    (tmp_path / "patients.csv").write_text("\n".join([f"site,who,{','.join(names)},ill", *lines]) + "\n")
    features = "\n".join(f'{name} = {{ role = "feature", kind = "numeric" }}' for name in names)
    file = tmp_path / "study.toml"
    file.write_text(STUDY.format(features=features, rounds=rounds, validation=validation))
    study = load_study(file)
    return study, dict(load_cohorts(study, Places.of_study(file, tmp_path)))


def no_time() -> float:
    return 0.0


@pytest.fixture
def small(tmp_path: Path) -> tuple[Study, dict[PartyId, SiteCohort]]:
    return made(tmp_path)


def test_who_is_in_which_training(small: tuple[Study, dict[PartyId, SiteCohort]]) -> None:
    study, cohorts = small
    found = shadows(study, cohorts, 1, 4 * nominal_seconds(study, cohorts, COLUMNS + 1) + 1e-9, no_time)
    assert found.models == found.wanted == LEAST_SHADOWS
    assert found.signals.shape == found.inside.shape
    # One training gets two thirds of those who are not kept out of all, site by site.
    kept_out = {site: round(0.05 * number) or 1 for site, number in SITES.items()}
    assert found.population.shape == (1 + LEAST_SHADOWS, sum(kept_out.values()))
    pool = {site: number - kept_out[site] for site, number in SITES.items()}
    drawn = sum(min(int(2 / 3 * number), round(0.7 * SITES[site])) for site, number in pool.items())
    assert found.inside.shape[1] == sum(pool.values())
    assert (found.inside.sum(axis=1) == drawn).all()
    assert not found.inside[1:].all(axis=0).any()
    assert found.inside[1:].any(axis=0).all()
    assert len({row.tobytes() for row in found.inside}) == 1 + LEAST_SHADOWS
    assert np.isfinite(found.signals).all()


def test_same_seed_same_signals(small: tuple[Study, dict[PartyId, SiteCohort]]) -> None:
    study, cohorts = small
    budget = 5 * nominal_seconds(study, cohorts, COLUMNS + 1) + 1e-9
    first, again, other = (shadows(study, cohorts, seed, budget, no_time) for seed in (1, 1, 2))
    assert first.models == LEAST_SHADOWS + 1
    assert np.array_equal(first.signals, again.signals)
    assert not np.array_equal(first.inside, other.inside)


def test_training_on_a_patient_changes_what_the_model_says(tmp_path: Path) -> None:
    study, cohorts = made(tmp_path, rounds=12)
    found = shadows(study, cohorts, 1, 13 * nominal_seconds(study, cohorts, COLUMNS + 1), no_time)
    gain = [
        found.signals[found.inside[:, n], n].mean() - found.signals[~found.inside[:, n], n].mean() for n in range(30)
    ]
    assert np.mean(gain) > 0.05  # the outcome has nothing to do with the features: what fits is learnt by heart


def test_validation_patients_are_in_no_training(tmp_path: Path) -> None:
    study, cohorts = made(tmp_path, validation=0.25)
    found = shadows(study, cohorts, 1, 4 * nominal_seconds(study, cohorts, COLUMNS + 1) + 1e-9, no_time)
    held = sum(np.unique(cohort.patient[cohort.split == 1]).size for cohort in cohorts.values())
    assert held > 0
    assert found.population.shape[1] == held
    assert found.inside.shape[1] == sum(SITES.values()) - held


def test_the_clock_ends_what_takes_too_long(small: tuple[Study, dict[PartyId, SiteCohort]]) -> None:
    study, cohorts = small
    ticks = iter(range(0, 10_000, 100))
    found = shadows(study, cohorts, 1, 20 * nominal_seconds(study, cohorts, COLUMNS + 1), lambda: float(next(ticks)))
    assert found.models == LEAST_SHADOWS < found.wanted


def test_number_of_trainings_follows_from_the_budget() -> None:
    assert shadows_within(1.0, 1.0) == 0
    assert shadows_within(2.0, 1.0) == LEAST_SHADOWS
    assert shadows_within(11.5, 1.0) == 10
    assert shadows_within(1e9, 1.0) == MOST_SHADOWS


def test_too_small_a_budget_is_refused(small: tuple[Study, dict[PartyId, SiteCohort]]) -> None:
    with pytest.raises(UsageError, match="longer than there is time"):
        shadows(*small, 1, 1e-6, no_time)


def test_survival_is_refused(small: tuple[Study, dict[PartyId, SiteCohort]]) -> None:
    study, cohorts = small
    survival = study.model_copy(update={"model": Cox(kind="cox")})
    with pytest.raises(UnsupportedError, match="a model of times"):
        shadows(survival, cohorts, 1, 10.0, no_time)


def test_records_as_training_records(small: tuple[Study, dict[PartyId, SiteCohort]]) -> None:
    _, cohorts = small
    cohort = next(iter(cohorts.values()))
    rows = np.array([5, 1])
    part, every = as_training(cohort, rows)
    assert (part.split == 0).all()
    assert every.tolist() == [0, 1]
    assert part.table.equals(cohort.table[rows])
    assert np.array_equal(part.patient, cohort.patient[rows])
