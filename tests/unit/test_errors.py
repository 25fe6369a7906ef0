"""The tree of errors: its drawing, codes, exit statuses, hints."""

from __future__ import annotations

import inspect
import re

import pytest

from sealround import errors
from sealround.errors import PeerError, PolicyDeniedError, PrivacyBudgetError, Problem, SealroundError, StudyError


def tree(base: type[SealroundError] = SealroundError) -> list[type[SealroundError]]:
    return [
        base,
        *(found for child in base.__subclasses__() if child.__module__ == errors.__name__ for found in tree(child)),
    ]


EXIT_STATUSES = {
    "sealround": 1,
    "usage": 2,
    "study": 3,
    "cohort": 4,
    "peer": 5,
    "malformed-message": 5,
    "protocol-violation": 5,
    "divergence": 6,
    "verification": 7,
    "consistency": 7,
    "threshold": 8,
    "unsupported": 9,
    "service": 10,
    "policy-denied": 11,
    "withheld": 12,
    "privacy-budget": 13,
}


def made(kind: type[SealroundError]) -> SealroundError:
    return (
        kind("what happened", party="site-a", hint="what to do")
        if issubclass(kind, PeerError)
        else kind("what happened", hint="what to do")
    )


def test_every_class_has_a_code_of_its_own_and_its_documented_exit_status() -> None:
    assert {kind.code: kind.exit_status for kind in tree()} == EXIT_STATUSES
    assert len({kind.code for kind in tree()}) == len(tree())


def test_no_exit_status_is_taken_by_the_shell() -> None:
    assert all(0 < kind.exit_status < 64 for kind in tree())


def test_the_drawing_shows_every_class_and_only_those_under_its_parent() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for depth, name in re.findall(
        r"^((?:    )+(?:[|`]-- |\|   |    )*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE
    ):
        level = (len(depth) - 4) // 4
        above[level:] = [name]
        drawn[name] = above[level - 1] if level else "Exception"
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in tree()}  # type: ignore[union-attr]


def test_every_class_is_public_and_described() -> None:
    for kind in tree():
        assert kind.__name__ in errors.__all__
        assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.code)
def test_every_error_says_what_happened_and_what_to_do(kind: type[SealroundError]) -> None:
    error = made(kind)
    assert error.message.endswith("what happened")
    assert error.hint == "what to do"
    assert str(error).startswith(f"{error.message}\n  hint: what to do")


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.code)
def test_without_a_hint_none_is_shown(kind: type[SealroundError]) -> None:
    error = kind("what happened", party="site-a") if issubclass(kind, PeerError) else kind("what happened")
    assert "hint" not in str(error)


@pytest.mark.parametrize("kind", [kind for kind in tree() if issubclass(kind, PeerError)], ids=lambda kind: kind.code)
def test_a_peers_error_names_the_peer(kind: type[PeerError]) -> None:
    error = kind("what happened", party="site-a")
    assert error.party == "site-a"
    assert str(error) == "site-a: what happened"


def test_a_study_error_lists_every_problem() -> None:
    error = StudyError(
        "two mistakes", (Problem("a.b", "wrong", line=3), Problem("c", "unknown", "d")), hint="mend them"
    )
    assert str(error) == ("two mistakes\n  hint: mend them\n  - a.b (line 3): wrong\n  - c: unknown; did you mean d?")


def test_a_denial_lists_every_rule_that_said_no() -> None:
    assert (
        str(PolicyDeniedError("no", ("too few sites", "privacy is off"))) == "no\n  - too few sites\n  - privacy is off"
    )


def test_an_overdrawn_budget_says_what_was_spent_what_was_asked_and_what_is_allowed() -> None:
    error = PrivacyBudgetError("too much", spent=1.5, asked=4.25, limit=4.0, hint="ask for less")
    assert (error.spent, error.asked, error.limit) == (1.5, 4.25, 4.0)
    assert str(error) == (
        "too much\n  hint: ask for less\n  - epsilon, spent before: 1.5\n  - epsilon, with this: 4.25\n"
        "  - epsilon, limit: 4"
    )
    assert str(PrivacyBudgetError("too much", spent=1.5)) == "too much\n  - epsilon, spent before: 1.5"


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.code)
def test_an_error_survives_the_way_between_processes(kind: type[SealroundError]) -> None:
    """Worker processes hand their errors back by pickling them: the standard library's own doing, never on a wire."""
    import pickle

    error = made(kind)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert (type(copy), str(copy), copy.hint) == (type(error), str(error), error.hint)


def test_the_numbers_of_a_budget_survive_it_too() -> None:
    import pickle

    error = PrivacyBudgetError("too much", spent=1.5, asked=4.25, limit=4.0)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert (copy.spent, copy.asked, copy.limit) == (1.5, 4.25, 4.0)
