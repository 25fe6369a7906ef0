"""Membership: a model that learnt its patients by heart gives them away, one that learnt nothing does not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.audit.inversion.observing import Seen, observe, victims
from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import SplitName
from sealround.engines.audit.capture import Truth
from sealround.engines.audit.exposures import Exposure
from sealround.engines.audit.membership import RELEASED, released_membership, strangers_of, update_membership
from sealround.engines.audit.shadows import as_training, nominal_seconds
from sealround.federation.interfaces import TrainOrder
from sealround.federation.plan import FEDERATED
from sealround.federation.statistics import Statistics
from sealround.learning import TorchWork, initial_model
from sealround.study import load_study
from sealround.vocabulary import RoundId

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.engines.audit.findings import Outcome
    from sealround.study import Study
    from sealround.vocabulary import PartyId

STUDY = """\
[study]
name = "by-heart"
rounds = 2
seed = 7

[cohort]
source = {{ kind = "csv", path = "data:patients.csv" }}
sites = {{ kind = "column" }}
split = {{ kind = "random", validation = 0.0, test = 0.5 }}

[cohort.columns]
site = {{ role = "site" }}
{features}
ill = {{ role = "label", positive = [1] }}

[model]
kind = "mlp"
hidden = [64]

[training]
optimizer = {{ kind = "{optimizer}", learning_rate = {rate} }}
local_epochs = {epochs}

[evaluation]
compare = []
bootstrap = 100

[protection]
secure_aggregation = {{ mode = "none", reason = "simulation on made-up data" }}
robustness = {{ rule = "mean", reason = "simulation on made-up data" }}
privacy = {{ unit = "none", reason = "simulation on made-up data" }}
"""
COLUMNS = 10
PATIENTS = 40
WIDTH = 64 * (COLUMNS + 1) + 65


def made(
    tmp_path: Path, *, optimizer: str = "adam", rate: float = 0.01, epochs: int = 40
) -> tuple[Study, dict[PartyId, SiteCohort]]:
    """Two sites whose outcomes are coins."""
    draw = np.random.default_rng(5)
    lines = [
        f"{site},{','.join(f'{value:.3f}' for value in draw.normal(size=COLUMNS))},{draw.integers(2)}"
        for site in "ab"
        for _ in range(PATIENTS)
    ]
    names = [f"x{number}" for number in range(COLUMNS)]
    (tmp_path / "patients.csv").write_text("\n".join([f"site,{','.join(names)},ill", *lines]) + "\n")
    features = "\n".join(f'{name} = {{ role = "feature", kind = "numeric" }}' for name in names)
    file = tmp_path / "study.toml"
    file.write_text(STUDY.format(features=features, optimizer=optimizer, rate=rate, epochs=epochs))
    study = load_study(file)
    return study, dict(load_cohorts(study, Places.of_study(file, tmp_path)))


def released(study: Study, cohorts: dict[PartyId, SiteCohort], trainings: float = 5.5) -> dict[str, Outcome]:
    budget = trainings * nominal_seconds(study, cohorts, WIDTH)
    return dict(released_membership(study, cohorts, 1, budget, itertools.repeat(0.0).__next__))


def test_a_model_that_learnt_by_heart_gives_its_patients_away(tmp_path: Path) -> None:
    found = released(*made(tmp_path))
    assert set(found) == set(RELEASED)
    for outcome in found.values():
        auc = outcome.measures["auc"]
        assert outcome.status == "done"
        assert auc.low is not None
        assert auc.low > 0.6
        assert outcome.beyond == {"membership_auc": auc.value}
        assert outcome.patients == 2 * (PATIENTS - 2)
        assert outcome.measures["tpr_at_fpr_1"].baseline == 0.01


def test_a_model_that_learnt_nothing_gives_nobody_away(tmp_path: Path) -> None:
    found = released(*made(tmp_path, rate=1e-9, epochs=1))
    for outcome in found.values():  # each fails by chance for one seed in forty
        auc = outcome.measures["auc"]
        assert auc.low is not None
        assert auc.low < 0.5


def test_too_short_a_budget_is_no_finding(tmp_path: Path) -> None:
    for outcome in released(*made(tmp_path, epochs=1), trainings=0.1).values():
        assert outcome.status == "not applicable"
        assert outcome.why is not None
        assert "time" in outcome.why
        assert not outcome.beyond


# --- one update -------------------------------------------------------------------------------------------------------


def exposure_of(cohort: SiteCohort, rows: np.ndarray) -> Exposure:
    nothing = np.zeros(WIDTH, dtype=np.float32)
    return Exposure(
        attacker="coordinator",
        round=1,
        site=cohort.site,
        members=(cohort.site,),
        accomplice=None,
        model=nothing,
        update=nothing.astype(np.float64),
        examples=rows.size,
        steps=1,
        batch_size=rows.size,
        blur=0.0,
        granted=(),
        truth=(Truth(cohort.site, rows, (np.arange(rows.size),)),),
        mix=None,
        note=None,
    )


def asked_of_update(study: Study, cohorts: dict[PartyId, SiteCohort], *, behind: bool) -> Outcome:
    """Ask of the mean gradient of 20 records: of these, or, where they are not behind it, of 20 others."""
    site = min(cohorts)
    cohort = cohorts[site]
    work = TorchWork(study, cohort)
    statistics = Statistics.from_counts(work.layout, work.counts(work.layout, 1))
    statistics = statistics.with_squares(work.squares(work.layout, 1, statistics.mean))
    model = initial_model(study)(work.inputs, statistics)
    rows = cohort.where(SplitName.TRAIN)
    strangers, references = strangers_of(exposure_of(cohort, rows), cohorts, 1)
    assert all(part.site == site for part, _ in strangers)
    assert all(part.site != site for part, _ in references)
    members = as_training(cohort, rows)
    others = strangers[0]
    trained = TorchWork(study, members[0])
    update = trained.train(TrainOrder(FEDERATED, RoundId(1), model, statistics)).update.astype(np.float64)
    if not behind:
        half = others[1][::2]
        members, others = (others[0], half), (others[0], np.setdiff1d(others[1], half))
    seen = observe(
        study,
        work.inputs,
        statistics,
        Seen(round=1, model=model, update=update, examples=rows.size, steps=1, batch_size=rows.size, blur=1e-9),
    )
    sides = [victims(study, parts, statistics) for parts in ((members,), (others,), references)]
    return update_membership(seen, sides[0], sides[1], sides[2], 1)


def test_an_update_gives_away_whose_gradients_are_in_it(tmp_path: Path) -> None:
    outcome = asked_of_update(*made(tmp_path, optimizer="sgd", rate=0.1, epochs=1), behind=True)
    assert outcome.status == "done"
    auc = outcome.measures["auc"]
    assert auc.low is not None
    assert auc.low > 0.55
    assert outcome.patients == PATIENTS
    assert outcome.note is not None
    assert "likelihood ratio" in outcome.note


def test_an_update_says_nothing_of_records_that_are_not_in_it(tmp_path: Path) -> None:
    outcome = asked_of_update(*made(tmp_path, optimizer="sgd", rate=0.1, epochs=1), behind=False)
    auc = outcome.measures["auc"]
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low <= 0.5 <= auc.high  # false alarm: one seed in twenty


def test_steps_of_adam_show_no_gradient(tmp_path: Path) -> None:
    outcome = asked_of_update(*made(tmp_path, epochs=1), behind=True)
    assert outcome.status == "not applicable"
    assert outcome.why is not None
    assert "Adam" in outcome.why


@pytest.mark.parametrize("alone", [False, True])
def test_strangers_are_other_patients(tmp_path: Path, *, alone: bool) -> None:
    _, cohorts = made(tmp_path)
    if alone:
        cohorts = dict(sorted(cohorts.items())[:1])
    cohort = cohorts[min(cohorts)]
    rows = cohort.where(SplitName.TRAIN)
    strangers, references = strangers_of(exposure_of(cohort, rows), cohorts, 1)
    behind = {cohort.table.row(int(row)) for row in rows}
    one, two = (
        {part.table.row(int(row)) for part, every in parts for row in every} for parts in (strangers, references)
    )
    assert one
    assert two
    assert not behind & (one | two)
    assert not one & two
