"""Updates on disk: read back to the bit, refused when damaged, and gone when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.errors import ConsistencyError
from sealround.federation.update_journal import RoundUpdates
from sealround.storage import StoredUpdates
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from pathlib import Path

SITES = (PartyId("aachen"), PartyId("St. Mary's / north"), PartyId("cork"))


def sent(seed: int = 0, sites: tuple[PartyId, ...] = SITES) -> RoundUpdates:
    draw = np.random.default_rng(seed)
    return RoundUpdates(sites, draw.random(len(sites)), draw.normal(size=(len(sites), 5)).astype(np.float32))


def same(found: RoundUpdates, expected: RoundUpdates) -> bool:
    arrays = (found.weights, expected.weights), (found.updates, expected.updates)
    return found.parties == expected.parties and all(
        a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in arrays
    )


@pytest.fixture
def journal(tmp_path: Path) -> StoredUpdates:
    return StoredUpdates(tmp_path / "updates")


def test_what_is_kept_is_read_back_by_another_process(journal: StoredUpdates, tmp_path: Path) -> None:
    journal.keep(RoundId(1), sent(1))
    journal.keep(RoundId(2), sent(2, SITES[:2]))
    again = StoredUpdates(tmp_path / "updates")
    assert same(again.read(RoundId(1)), sent(1))
    assert same(again.read(RoundId(2)), sent(2, SITES[:2]))


def test_a_round_kept_again_replaces_the_old(journal: StoredUpdates) -> None:
    journal.keep(RoundId(1), sent(1))
    journal.keep(RoundId(1), sent(2))
    assert same(journal.read(RoundId(1)), sent(2))


def test_without_some_sites_the_others_are_left_in_order(journal: StoredUpdates) -> None:
    journal.keep(RoundId(1), sent())
    rest = journal.read(RoundId(1)).without({SITES[1]})
    assert rest.parties == (SITES[0], SITES[2])
    assert rest.updates.tobytes() == sent().updates[[0, 2]].tobytes()


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "another round's"])
def test_what_is_missing_or_damaged_is_refused(journal: StoredUpdates, tmp_path: Path, damage: str) -> None:
    journal.keep(RoundId(1), sent())
    journal.keep(RoundId(2), sent())
    path, other = (tmp_path / "updates" / f"round-{number:06d}" for number in (1, 2))
    data = path.read_bytes()
    match damage:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(data[:-1])
        case "flipped":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case _:
            path.write_bytes(other.read_bytes())
    with pytest.raises(ConsistencyError, match="updates of round 1 are missing or damaged"):
        journal.read(RoundId(1))


def test_cleared_there_is_nothing_left(journal: StoredUpdates, tmp_path: Path) -> None:
    journal.clear()
    journal.keep(RoundId(1), sent())
    journal.clear()
    assert not (tmp_path / "updates").exists()
    with pytest.raises(ConsistencyError):
        journal.read(RoundId(1))
