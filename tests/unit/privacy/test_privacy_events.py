"""Events say which number is wrong, and come back from JSON as they went."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from sealround.errors import UnsupportedError, UsageError
from sealround.privacy.events import RELATIONS, RELEASES, PrivacyEvent, require_relation

GOOD: dict[str, Any] = {"what": "training", "noise_multiplier": 1.1, "sampling_probability": 0.02, "count": 300}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise_multiplier", -0.1),
        ("noise_multiplier", math.nan),
        ("noise_multiplier", math.inf),
        ("noise_multiplier", True),
        ("noise_multiplier", "1"),
        ("noise_multiplier", None),
        ("sampling_probability", 0.0),
        ("sampling_probability", 1.0000001),
        ("sampling_probability", -0.5),
        ("sampling_probability", math.nan),
        ("sampling_probability", True),
        ("count", -1),
        ("count", 1.0),
        ("count", True),
        ("count", None),
    ],
)
def test_a_number_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name} is"):
        PrivacyEvent(**(GOOD | {name: value}))
    with pytest.raises(UsageError, match=f"^{name} is"):
        PrivacyEvent.from_json(GOOD | {name: value})


def test_only_known_releases_are_events() -> None:
    assert [PrivacyEvent(what, 1.0, 1.0, 1).what for what in RELEASES] == list(RELEASES)
    with pytest.raises(UsageError, match="'gossip'"):
        PrivacyEvent("gossip", 1.0, 1.0, 1)


def test_edges_are_events() -> None:
    assert PrivacyEvent("metrics", 0, 1, 0) == PrivacyEvent("metrics", 0.0, 1.0, 0)


def test_an_event_is_a_value() -> None:
    event = PrivacyEvent(**GOOD)
    assert len({event, PrivacyEvent(**GOOD), PrivacyEvent(**(GOOD | {"count": 301}))}) == 2
    with pytest.raises(FrozenInstanceError):
        event.count = 1  # type: ignore[misc]


@pytest.mark.parametrize("what", RELEASES)
def test_json_and_back(what: str) -> None:
    event = PrivacyEvent(what, 3, 1, 2)
    text = json.dumps(event.to_json())
    assert json.loads(text) == {"what": what, "noise_multiplier": 3.0, "sampling_probability": 1.0, "count": 2}
    assert PrivacyEvent.from_json(json.loads(text)) == event
    assert type(PrivacyEvent.from_json(GOOD | {"noise_multiplier": 2}).noise_multiplier) is float


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        "training",
        {},
        {name: value for name, value in GOOD.items() if name != "count"},
        GOOD | {"epsilon": 1.0},
        GOOD | {"what": 3},
        GOOD | {"what": ["training"]},
        GOOD | {"what": "gossip"},
    ],
)
def test_what_is_no_event_is_refused(tree: object) -> None:
    with pytest.raises(UsageError):
        PrivacyEvent.from_json(tree)


def test_unknown_relations_are_unsupported() -> None:
    for relation in RELATIONS:
        require_relation(relation)
    for relation in ("replace-special", "", "ADD_OR_REMOVE_ONE"):
        with pytest.raises(UnsupportedError, match="relation"):
            require_relation(relation)
