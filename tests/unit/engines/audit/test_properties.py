"""Property inference: an update in clear gives the share of a trait away; a blurred one does not."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import pytest

from sealround.engines.audit.capture import capture
from sealround.engines.audit.exposures import Exposure, exposures
from sealround.engines.audit.properties import Effort, infer_property, traits_of
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.engines.audit.capture import Captured
    from sealround.study import Study
    from sealround.vocabulary import PartyId

OUTCOME = "the outcome"


def effort(seconds: float = 10.0) -> Effort:
    return Effort(1, seconds, itertools.repeat(0.0).__next__)


@pytest.fixture
def captured(make: Callable[..., Study], hospitals: Mapping[PartyId, SiteCohort], tmp_path: Path) -> Captured:
    return capture(make(), hospitals, (1,), tmp_path / "records")


@pytest.fixture
def exposure(captured: Captured) -> Exposure:
    found = exposures(captured, 1)[0]
    assert isinstance(found, Exposure)
    assert found.site is not None
    return found


def test_the_share_of_the_sick_is_in_the_update(
    captured: Captured, exposure: Exposure, hospitals: Mapping[PartyId, SiteCohort]
) -> None:
    study, statistics = captured.study, captured.statistics
    outcome = infer_property(study, hospitals, statistics, exposure, effort(), OUTCOME)
    assert outcome.status == "done"
    error = outcome.measures["share_error"]
    assert error.baseline is not None
    assert error.value < error.baseline / 4
    assert outcome.worst["share_error"] < outcome.worst_baseline["share_error"]
    assert infer_property(study, hospitals, statistics, exposure, effort(), OUTCOME) == outcome


def test_what_is_blurred_is_not(
    captured: Captured, exposure: Exposure, hospitals: Mapping[PartyId, SiteCohort]
) -> None:
    blurred = dataclasses.replace(exposure, blur=1e3)
    outcome = infer_property(captured.study, hospitals, captured.statistics, blurred, effort(), OUTCOME)
    error = outcome.measures["share_error"]
    assert error.baseline is not None
    assert error.value > 0.7 * error.baseline


def test_where_it_does_not_apply(
    captured: Captured, exposure: Exposure, hospitals: Mapping[PartyId, SiteCohort]
) -> None:
    study, statistics = captured.study, captured.statistics
    total = dataclasses.replace(exposure, site=None)
    short = infer_property(study, hospitals, statistics, exposure, effort(1e-6))
    alone = dict(item for item in hospitals.items() if item[0] == exposure.site)
    for outcome in (
        infer_property(study, hospitals, statistics, total, effort()),
        short,
        infer_property(study, alone, statistics, exposure, effort()),
    ):
        assert outcome.status == "not applicable"
        assert outcome.why
        assert not outcome.measures
    with pytest.raises(UsageError, match="no trait"):
        infer_property(study, hospitals, statistics, exposure, effort(), "no such thing")
    assert traits_of(study)[0] == OUTCOME
