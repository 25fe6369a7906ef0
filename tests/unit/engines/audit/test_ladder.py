"""The ladder of protections of small studies."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from sealround.engines.audit.ladder import accuracy, rungs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.study import Study
    from sealround.vocabulary import PartyId


def test_an_open_study_is_the_lowest_rung_and_could_have_more(make: Callable[..., Study]) -> None:
    pytest.importorskip("dp_accounting")
    study = make()
    ladder = rungs(study, 4, 598)
    assert [rung.key for rung in ladder] == [
        "here",
        "beyond-sealed",
        "beyond-epsilon-8",
        "beyond-epsilon-3",
        "beyond-epsilon-1",
    ]
    assert ladder[0].study is study
    assert [rung.here for rung in ladder] == [True, False, False, False, False]
    for rung in ladder[1:]:
        assert rung.beyond
        assert rung.study.protection.sealed
        assert rung.switch is not None
        written = tomllib.loads(rung.switch)
        tree = rung.study.model_dump(mode="json")
        for section, entries in written.items():
            for key, value in entries.items():
                wanted = value.items() if isinstance(value, dict) else ()
                assert all(tree[section][key][name] == entry for name, entry in wanted) or tree[section][key] == value


def test_a_sealed_study_stands_on_rungs_of_its_own(make: Callable[..., Study], protected: Callable[..., Any]) -> None:
    ladder = rungs(make(protection=protected("pairwise", clip_norm=0.5)), 4, 598)
    below = [rung for rung in ladder if not rung.beyond]
    assert [rung.key for rung in below] == ["none", "sealed", "here"]
    assert not below[0].study.protection.sealed
    assert below[1].study.protection.secure_aggregation.clip_norm is None  # type: ignore[union-attr]
    assert below[2].study.protection.secure_aggregation.clip_norm == 0.5  # type: ignore[union-attr]
    assert "clipping to 0.5" in below[2].label
    assert "beyond-sealed" not in [rung.key for rung in ladder]


def test_two_sites_have_nothing_to_add_up(make: Callable[..., Study]) -> None:
    assert [rung.key for rung in rungs(make(), 2, 100)] == ["here"]


def test_accuracy_is_that_of_a_whole_training(
    make: Callable[..., Study], hospitals: Mapping[PartyId, SiteCohort], tmp_path: Path
) -> None:
    found = accuracy(make(), hospitals, tmp_path / "whole")
    assert found.metric == "AUROC"
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < found.value < found.high < 1.0
    assert not any((tmp_path / "whole").iterdir())
