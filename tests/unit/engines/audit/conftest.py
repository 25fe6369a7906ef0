"""Small studies of four hospitals that come with the package, and their records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sealround.clinical import Places, load_cohorts
from sealround.testing.studies import small_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical import SiteCohort
    from sealround.study import Study
    from sealround.vocabulary import PartyId

_REASON = "a public data set in a test"


def protection(mode: str = "none", **options: Any) -> dict[str, Any]:
    """Return a section of a mode of secure aggregation, without robustness and privacy."""
    reason = {"reason": _REASON} if mode == "none" else {}
    return {
        "secure_aggregation": {"mode": mode, **reason, **options},
        "robustness": {"rule": "mean", "reason": _REASON},
        "privacy": {"unit": "none", "reason": _REASON},
    }


def heart(**sections: dict[str, Any]) -> Study:
    """Return a small study of the four hospitals."""
    cohort = {"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"}}
    return small_study(**{"cohort": cohort, **sections})


@pytest.fixture(scope="session")
def hospitals() -> Mapping[PartyId, SiteCohort]:
    """The records of the four hospitals; no variant of a study here loads others."""
    return load_cohorts(heart(), Places.of_study(Path("study.toml"), None))


@pytest.fixture
def make() -> Callable[..., Study]:
    """`heart`."""
    return heart


@pytest.fixture
def protected() -> Callable[..., dict[str, Any]]:
    """`protection`."""
    return protection
