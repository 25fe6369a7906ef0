"""Patients dealt to sites in other ways: each still whole, once, and in its split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sealround.clinical import Places, SiteCohort, SplitName
from sealround.engines.drill.mixes import cohorts_of, mix_of
from sealround.study import Study, load_study
from sealround.vocabulary import PartyId

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
HEART = EXAMPLES / "heart-disease.toml"


def _cohorts(word: str) -> dict[PartyId, SiteCohort]:
    study = load_study(HEART)
    return cohorts_of(mix_of(word, study), study, Places.of_study(HEART))


def _records(cohorts: dict[PartyId, SiteCohort], split: SplitName) -> list[str]:
    """Every record of one split, wherever it is."""
    return sorted(
        line
        for cohort in cohorts.values()
        for line in cohort.table[cohort.where(split)].write_csv(include_header=False).splitlines()
    )


@pytest.fixture(scope="module")
def own() -> dict[PartyId, SiteCohort]:
    return _cohorts("as-is")


@pytest.mark.parametrize("word", ["iid", "dirichlet-0.3"])
def test_every_record_is_dealt_once_and_stays_in_its_split(word: str, own: dict[PartyId, SiteCohort]) -> None:
    dealt = _cohorts(word)
    assert list(dealt) == list(own)
    for split in SplitName:
        # The table says which hospital a record is from: dealing must not touch it.
        assert _records(dealt, split) == _records(own, split)


def test_iid_keeps_sizes_and_evens_out_the_outcome(own: dict[PartyId, SiteCohort]) -> None:
    dealt = _cohorts("iid")
    for site, cohort in own.items():
        assert [dealt[site].where(split).size for split in SplitName] == [
            cohort.where(split).size for split in SplitName
        ]
    assert _spread(dealt) < 0.5 * _spread(own)


def test_a_small_alpha_makes_sites_unlike() -> None:
    assert _spread(_cohorts("dirichlet-0.1")) > _spread(_cohorts("dirichlet-100"))


def _spread(cohorts: dict[PartyId, SiteCohort]) -> float:
    shares = [cohort.outcome.event.mean() for cohort in cohorts.values() if cohort.rows]
    return float(np.std(shares))


def test_dealing_is_the_same_every_time() -> None:
    first, second = _cohorts("dirichlet-0.3"), _cohorts("dirichlet-0.3")
    assert all(first[site].table.equals(second[site].table) for site in first)


def test_simulated_sites_are_simulated_anew(tmp_path: Path) -> None:
    text = HEART.read_text().replace('sites = { kind = "column" }', 'sites = { kind = "iid", number = 5 }')
    text = text.replace('{ kind = "flamby-heart" }', '{ kind = "random" }')
    path = tmp_path / "study.toml"
    path.write_text(text)
    study: Study = load_study(path)
    skewed = cohorts_of(mix_of("dirichlet-0.1", study), study, Places.of_study(path))
    even = cohorts_of(mix_of("iid", study), study, Places.of_study(path))
    assert list(skewed) == list(even)
    assert _spread(skewed) > 2 * _spread(even)
