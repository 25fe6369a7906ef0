"""Nobody is in two splits of one study; across studies everybody may have been anywhere."""

from __future__ import annotations

import itertools

import pytest

from sealround.errors import UsageError
from sealround.privacy import splits
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import RELEASES, PrivacyEvent
from sealround.privacy.splits import SPLIT_OF, by_split, epsilon_over_studies

DELTA = 1e-5
TRAINING = PrivacyEvent("training", 1.2, 0.1, 20)
STATISTICS = PrivacyEvent("statistics", 9.0, 1.0, 2)
VALIDATION = PrivacyEvent("validation", 4.0, 1.0, 1)
METRICS = PrivacyEvent("metrics", 3.0, 1.0, 1)
STUDY = (TRAINING, STATISTICS, VALIDATION, METRICS)


def spent(*events: PrivacyEvent) -> float:
    """Of one unit that took part in all of these."""
    return epsilon_of(events, DELTA, "add-or-remove-one")


def slowly(*studies: tuple[PrivacyEvent, ...]) -> float:
    """By the definition: every choice of one split for each study."""
    choices = itertools.product(*(by_split(events).values() for events in studies))
    return max(spent(*itertools.chain(*chosen)) for chosen in choices)


def test_every_release_is_of_one_split() -> None:
    assert set(SPLIT_OF) == set(RELEASES)
    assert by_split(STUDY) == {
        "train": (TRAINING, STATISTICS),
        "validation": (VALIDATION,),
        "test": (METRICS,),
    }
    assert by_split([PrivacyEvent("metrics", 3.0, 1.0, 0)]) == {}


def test_a_release_of_nobody_knows_whom_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "SPLIT_OF", {})
    with pytest.raises(UsageError, match="'metrics'"):
        by_split([METRICS])


def test_one_study_spends_the_most_of_any_split() -> None:
    assert epsilon_over_studies([STUDY], DELTA) == max(spent(TRAINING, STATISTICS), spent(METRICS))
    assert epsilon_over_studies([(METRICS,)], DELTA) == spent(METRICS)


def test_nothing_is_spent_of_nobody() -> None:
    assert epsilon_over_studies([], DELTA) == epsilon_over_studies([()], DELTA) == 0.0


def test_of_several_studies_the_worst_choice_of_splits_counts() -> None:
    other = (PrivacyEvent("training", 2.0, 0.2, 30), PrivacyEvent("metrics", 1.0, 1.0, 1))
    assert epsilon_over_studies([STUDY, other], DELTA) == pytest.approx(slowly(STUDY, other), rel=1e-9)
    assert epsilon_over_studies([STUDY, other], DELTA) >= max(slowly(STUDY), slowly(other))


def test_the_order_of_studies_plays_no_part() -> None:
    studies = [(PrivacyEvent("training", 2.0 + i, 0.2, 30), METRICS) for i in range(3)]
    assert len({epsilon_over_studies(order, DELTA) for order in itertools.permutations(studies)}) == 1


def test_of_many_studies_it_is_never_too_little_and_never_more_than_all_splits_at_once() -> None:
    studies = [
        (PrivacyEvent("training", 2.0 + i / 10, 0.1, 30), PrivacyEvent("metrics", 3.0 + i, 1.0, 1)) for i in range(7)
    ]
    found = epsilon_over_studies(studies, DELTA)
    least = max(spent(*(study[at] for study in studies)) for at in (0, 1))
    assert least < found <= spent(*itertools.chain(*studies))


def test_a_release_without_noise_spends_everything() -> None:
    assert epsilon_over_studies([STUDY, (PrivacyEvent("metrics", 0.0, 1.0, 1),)], DELTA) == float("inf")
