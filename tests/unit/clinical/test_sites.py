from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from sealround.clinical.sites import MINIMUM_PATIENTS, divide_patients, site_names
from sealround.errors import CohortError
from sealround.study.sections import ColumnSites, DirichletSites, IidSites, QuantitySites, Sites

POSITIVE = np.arange(1000) % 4 == 0
NO_TEST = np.zeros(1000, dtype=bool)


def _shares(site: np.ndarray, number: int) -> np.ndarray:
    return np.array([POSITIVE[site == one].mean() for one in range(number)])


def test_names_sort_as_numbers() -> None:
    assert site_names(3) == ["site-1", "site-2", "site-3"]
    names = site_names(120)
    assert names == sorted(names)
    assert names[0] == "site-001"


def test_iid_sites_have_equal_size_and_mix() -> None:
    site = divide_patients(IidSites(kind="iid", number=7), 1, POSITIVE, NO_TEST)
    sizes = np.bincount(site)
    assert sizes.max() - sizes.min() <= 2
    assert np.abs(_shares(site, 7) - 0.25).max() < 0.01


def test_quantity_sites_have_unequal_size_and_equal_mix() -> None:
    site = divide_patients(QuantitySites(kind="quantity", number=5, alpha=1.0), 3, POSITIVE, NO_TEST)
    sizes = np.bincount(site, minlength=5)
    assert sizes.max() > 2 * sizes.min()
    large = sizes >= 50
    assert np.abs(_shares(site, 5)[large] - 0.25).max() < 0.05


def test_dirichlet_sites_are_the_more_skewed_the_smaller_alpha() -> None:
    def spread(alpha: float) -> float:
        rule = DirichletSites(kind="dirichlet", number=5, alpha=alpha)
        found = [_shares(divide_patients(rule, seed, POSITIVE, NO_TEST), 5).std() for seed in range(10)]
        return float(np.mean(found))

    assert spread(0.3) > spread(3.0) > spread(1000.0)
    assert spread(1e6) < 0.01


def test_every_site_gets_its_minimum() -> None:
    rule = DirichletSites(kind="dirichlet", number=10, alpha=0.05)
    sizes = np.bincount(divide_patients(rule, 0, POSITIVE, NO_TEST), minlength=10)
    assert sizes.min() == MINIMUM_PATIENTS
    many = DirichletSites(kind="dirichlet", number=200, alpha=0.05)
    assert np.bincount(divide_patients(many, 0, POSITIVE, NO_TEST), minlength=200).min() == 1


def test_given_test_patients_follow_the_proportions_of_the_others() -> None:
    test = np.arange(1000) % 5 == 0
    rule = DirichletSites(kind="dirichlet", number=4, alpha=1.0)
    site = divide_patients(rule, 8, POSITIVE, test)
    for label in (False, True):
        chosen = label == POSITIVE
        train = np.bincount(site[chosen & ~test], minlength=4) / (chosen & ~test).sum()
        tested = np.bincount(site[chosen & test], minlength=4) / (chosen & test).sum()
        assert np.abs(train - tested).max() < 0.06


def test_more_sites_than_patients_are_refused() -> None:
    with pytest.raises(CohortError, match="3 patients cannot be divided among 4 sites"):
        divide_patients(IidSites(kind="iid", number=4), 0, POSITIVE[:4], np.array([True, False, False, False]))


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "quantity"])
def test_rules_divide_differently(kind: str) -> None:
    adapter: TypeAdapter[Sites] = TypeAdapter(Sites)
    rule = adapter.validate_python({"kind": kind, "number": 3} | ({} if kind == "iid" else {"alpha": 1.0}))
    assert set(divide_patients(rule, 0, POSITIVE, NO_TEST).tolist()) == {0, 1, 2}


def test_natural_sites_are_not_simulated() -> None:
    with pytest.raises(TypeError):
        divide_patients(ColumnSites(kind="column"), 0, POSITIVE, NO_TEST)
