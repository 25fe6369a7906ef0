"""Masked vectors do not tell two worlds with one sum apart; without masks they do. Seeded: passes or fails for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.crypto import add_masks
from sealround.engines.audit.capture import capture
from sealround.engines.audit.two_worlds import FALSE_ALARM, distinguish, two_worlds
from sealround.errors import UsageError
from sealround.secagg.pairwise import site as pairwise_site
from sealround.secagg.replicated import site as replicated_site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.study import Study
    from sealround.vocabulary import PartyId


@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
def test_worlds_are_told_apart_without_masks_alone(
    make: Callable[..., Study],
    protected: Callable[..., Any],
    hospitals: Mapping[PartyId, SiteCohort],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    """False alarm: 0.001 for each mode, over the choice of keys."""
    study = make(protection=protected(mode))
    found = capture(study, hospitals, (1,), tmp_path).rounds[1]
    masked = two_worlds(study, found, views=12)
    assert masked.verdict == "not told apart"
    assert masked.p_value > FALSE_ALARM
    monkeypatch.setattr(pairwise_site, "add_masks", lambda vector, **_: add_masks(vector))
    monkeypatch.setattr(replicated_site, "hide", lambda *_: None)
    bare = two_worlds(study, found, views=12)
    assert bare.verdict == "told apart"
    assert bare.statistic in (0.0, 1.0)
    assert bare.to_tree()["views"] == 12


def test_the_distinguisher_finds_a_shift_and_reports_chance_without() -> None:
    """The p-value of pure noise is uniform: below 0.001 with probability 0.001."""
    draw = np.random.default_rng(5)
    difference, noise = draw.normal(size=30), draw.normal(size=(2, 40, 30))
    area, p_value = distinguish(noise[0], noise[1], difference, draw)
    assert p_value > FALSE_ALARM
    assert 0.2 < area < 0.8
    shifted, small = distinguish(noise[0] + difference, noise[1], difference, draw)
    assert shifted > 0.95
    assert small <= FALSE_ALARM


def test_an_open_round_has_no_two_worlds(
    make: Callable[..., Study], hospitals: Mapping[PartyId, SiteCohort], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="sealed"):
        two_worlds(make(), capture(make(), hospitals, (1,), tmp_path).rounds[1])
