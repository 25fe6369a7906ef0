"""What every keeper of updates does, whatever it keeps them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.errors import ConsistencyError
from sealround.federation.update_journal import MemoryUpdates, RoundUpdates
from sealround.storage import StoredUpdates
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.federation.update_journal import UpdateJournal

SITES = (PartyId("aachen"), PartyId("bern"), PartyId("cork"))


@pytest.fixture(params=["memory", "disk"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> UpdateJournal:
    return MemoryUpdates() if request.param == "memory" else StoredUpdates(tmp_path / "updates")


def sent(seed: int) -> RoundUpdates:
    draw = np.random.default_rng(seed)
    return RoundUpdates(SITES, draw.random(3), draw.normal(size=(3, 4)).astype(np.float32))


def test_each_round_is_read_back_to_the_bit_however_often(journal: UpdateJournal) -> None:
    journal.keep(RoundId(1), sent(1))
    journal.keep(RoundId(2), sent(2))
    for round_ in (1, 2, 1):
        found = journal.read(RoundId(round_))
        assert found.parties == SITES
        assert found.weights.tobytes() == sent(round_).weights.tobytes()
        assert found.updates.tobytes() == sent(round_).updates.tobytes()


def test_what_is_changed_afterwards_is_not_what_was_kept(journal: UpdateJournal) -> None:
    given = sent(1)
    journal.keep(RoundId(1), given)
    given.updates[:] = 0.0
    assert journal.read(RoundId(1)).updates.tobytes() == sent(1).updates.tobytes()


def test_a_round_computed_again_takes_the_place_of_the_old(journal: UpdateJournal) -> None:
    journal.keep(RoundId(1), sent(1))
    journal.keep(RoundId(1), sent(2).without({SITES[0]}))
    found = journal.read(RoundId(1))
    assert found.parties == SITES[1:]
    assert found.updates.tobytes() == sent(2).updates[1:].tobytes()


def test_a_round_of_nobody_is_a_round(journal: UpdateJournal) -> None:
    journal.keep(RoundId(1), sent(1).without(SITES))
    assert journal.read(RoundId(1)).parties == ()


def test_forgotten_rounds_cannot_be_read(journal: UpdateJournal) -> None:
    journal.clear()
    journal.keep(RoundId(1), sent(1))
    journal.clear()
    with pytest.raises(ConsistencyError):
        journal.read(RoundId(1))
    with pytest.raises(ConsistencyError):
        journal.read(RoundId(2))
