"""The books of simulated sites: a ledger each, or the site file's for all runs; a resumed run counts nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sealround.engines.budgets import SiteLedger
from sealround.engines.runs import resume_run, start_run
from sealround.errors import ConsistencyError, PrivacyBudgetError, ServiceError
from sealround.federation.private import PrivacyTerms, PrivateWork
from sealround.storage import PrivacyLimit, budget_entries
from sealround.study import load_study, parse_site_file, study_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sealround.engines.in_process import Progress
    from sealround.storage import PrivacyEntry

STUDY = """\
[study]
name = "small"
rounds = 4
seed = 7

[cohort]
source = { kind = "builtin", name = "breast-cancer" }
sites = { kind = "iid", number = 3 }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_steps = 2

[standardisation]
kind = "example"

[evaluation]
compare = []
bootstrap = 100

[protection]
secure_aggregation = { mode = "none", reason = "simulation on public data" }
robustness = { rule = "mean", reason = "simulation on public data" }

[protection.privacy]
unit = "record"
neighboring_relation = "add-or-remove-one"
trust = "local"
delta = 1e-4
epsilon = 8.0
sampling_probability = 0.1
l2_clip_norm = 1.0
patients = 400
"""
SITES = ("site-1", "site-2", "site-3")


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def site_file(study: Path, epsilon: float = 8.0) -> Path:
    path = study.with_name("site.toml")
    path.write_text(
        f'[site]\nname = "every-site"\n[privacy]\nledger = "site.privacy"\nepsilon = {epsilon}\ndelta = 1e-4\n'
    )
    return path


def run(study: Path, out: str = "run", **options: Any) -> Path:
    settings: dict[str, Any] = {"data_folder": None, "workers": 0, "observe": lambda _: None} | options
    start_run(study, out=study.with_name(out), folder_known=lambda _: None, **settings)
    return study.with_name(out)


def resume(folder: Path) -> None:
    resume_run(folder, workers=None, observe=lambda _: None, folder_known=lambda _: None)


def books(folder: Path) -> dict[str, PrivacyEntry]:
    """The one entry of each site's own ledger."""
    found = {path.name: budget_entries(path) for path in sorted((folder / "records").glob("*.privacy"))}
    assert all(len(entries) == 1 for entries in found.values())
    return {name.removesuffix(".privacy"): entries[0] for name, entries in found.items()}


def terms_of(study: Path) -> PrivacyTerms:
    terms = PrivacyTerms.of(load_study(study), len(SITES))
    assert terms is not None
    return terms


def test_each_simulated_site_keeps_a_ledger_of_all_it_released(study: Path) -> None:
    found = books(run(study))
    assert tuple(found) == SITES
    for entry in found.values():
        assert set(entry.spent) == set(terms_of(study).events)
        assert entry.settled
        assert (entry.study, entry.unit) == (study_digest(load_study(study)), "record")
        assert entry.limit == PrivacyLimit(8.0, 1e-4)
    assert len({entry.data for entry in found.values()}) == len(SITES)


def test_without_an_epsilon_there_is_no_limit(study: Path) -> None:
    study.write_text(STUDY.replace("epsilon = 8.0", "noise_multiplier = 0.6"))
    assert {entry.limit.epsilon for entry in books(run(study)).values()} == {None}


def test_a_study_without_privacy_keeps_no_books(study: Path) -> None:
    head, _, _ = STUDY.partition("[protection.privacy]")
    study.write_text(head + 'privacy = { unit = "none", reason = "simulation on public data" }\n')
    folder = run(study, site_file=site_file(study))
    assert not (folder / "records").exists()
    assert not study.with_name("site.privacy").exists()


def stop_in_round(number: int) -> Callable[[Progress], None]:
    def observe(progress: Progress) -> None:
        if progress.round == number:
            raise Killed

    return observe


def test_a_run_that_was_killed_and_resumed_has_spent_what_an_uninterrupted_one_has(study: Path) -> None:
    whole = run(study, "whole")
    for number in (1, 3):
        name = f"killed-{number}"
        with pytest.raises(Killed):
            run(study, name, observe=stop_in_round(number))
        folder = study.with_name(name)
        assert not any(entry.settled for entry in books(folder).values())
        resume(folder)
        assert {site: entry.spent for site, entry in books(folder).items()} == {
            site: entry.spent for site, entry in books(whole).items()
        }
        assert all(entry.settled for entry in books(folder).values())
        assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_noise_that_was_entered_and_not_used_is_used_by_the_resumed_run(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noised, calls = PrivateWork._noised_sum, [0]

    def killed(self: PrivateWork, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 9:  # in the second round of the second site, after its entry
            raise Killed
        return noised(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PrivateWork, "_noised_sum", killed)
        with pytest.raises(Killed):
            run(study)
    folder = study.with_name("run")
    made = [sum(event.count for event in entry.spent) for entry in books(folder).values()]
    assert made == [4, 4, 2]
    resume(folder)
    for entry in books(folder).values():
        assert set(entry.spent) == set(terms_of(study).events)


def test_the_results_are_settled_again_where_that_was_what_failed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sealround.storage import PrivacyBudget

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PrivacyBudget, "settle", killed)
        with pytest.raises(Killed):
            run(study)
    folder = study.with_name("run")
    assert not any(entry.settled for entry in books(folder).values())
    resume(folder)
    assert all(entry.settled for entry in books(folder).values())


def test_a_site_files_ledger_holds_over_all_runs(study: Path) -> None:
    site, ledger = site_file(study), study.with_name("site.privacy")
    first = run(study, "first", site_file=site)
    assert not list((first / "records").iterdir())
    before = budget_entries(ledger)
    assert len(before) == len(SITES)
    assert {entry.limit for entry in before} == {PrivacyLimit(8.0, 1e-4)}
    second = run(study, "second", site_file=site)  # the same answers
    assert {entry.spent for entry in budget_entries(ledger)} == {entry.spent for entry in before}
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    # Another seed deals the same patients otherwise: other records, byte for byte, and the same budget.
    study.write_text(STUDY.replace("seed = 7", "seed = 8"))
    with pytest.raises(PrivacyBudgetError) as caught:
        run(study, "third", site_file=site)
    assert caught.value.limit == 8.0
    assert caught.value.spent == pytest.approx(8.0, abs=0.01)
    assert not list(study.with_name("third").glob("model*"))
    run(study, "fourth", site_file=site_file(study, epsilon=20.0))
    assert len(budget_entries(ledger)) == 2 * len(SITES)


def test_worker_processes_keep_the_same_books(study: Path) -> None:
    site = site_file(study)
    run(study, site_file=site, workers=2)
    for entry in budget_entries(study.with_name("site.privacy")):
        assert set(entry.spent) == set(terms_of(study).events)
        assert entry.settled


def test_a_resumed_run_goes_on_with_the_site_files_ledger(study: Path) -> None:
    with pytest.raises(Killed):
        run(study, site_file=site_file(study), observe=stop_in_round(2))
    folder, ledger = study.with_name("run"), study.with_name("site.privacy")
    origin = json.loads((folder / "run.json").read_text())
    assert origin["site_folder"] == str(study.parent)
    (folder / "run.json").write_text(json.dumps({k: v for k, v in origin.items() if k != "site_folder"}))
    with pytest.raises(ConsistencyError, match="where the site file was"):
        resume(folder)
    (folder / "run.json").write_text(json.dumps(origin))
    resume(folder)
    assert all(entry.settled for entry in budget_entries(ledger))
    assert not list((folder / "records").iterdir())


def test_a_ledger_that_cannot_be_written_stops_the_run_before_anything_is_released(study: Path) -> None:
    site = site_file(study)
    site.write_text(site.read_text().replace('"site.privacy"', '"nowhere/site.privacy"'))
    with pytest.raises(ServiceError, match="privacy ledger"):
        run(study, site_file=site)
    assert not list(study.with_name("run").glob("model*"))


def test_a_site_file_names_its_ledger_beside_itself_or_none(tmp_path: Path) -> None:
    plain = parse_site_file('[site]\nname = "a"\n', "site.toml")
    assert SiteLedger.of(None, tmp_path) is SiteLedger.of(plain, tmp_path) is None
    text = '[site]\nname = "a"\n[privacy]\nledger = "l"\nepsilon = 3.0\ndelta = 1e-6\nrecords = "heart"\n'
    site = parse_site_file(text, "site.toml")
    assert SiteLedger.of(site, tmp_path) == SiteLedger(tmp_path / "l", PrivacyLimit(3.0, 1e-6), "heart")
    with pytest.raises(ConsistencyError):
        SiteLedger.of(site, None)
