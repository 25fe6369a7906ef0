"""An audit's page is never rendered from half its evidence: what is foreign, broken or contradictory is refused."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from sealround.errors import ConsistencyError, SealroundError, UnsupportedError, VerificationError
from sealround.report import render_audit
from sealround.report.audit.reading import read_audit

if TYPE_CHECKING:
    from types import ModuleType

Tree = dict[str, Any]


def _place(tree: Any, path: str) -> tuple[Any, Any]:
    *steps, last = path.split("/")
    for step in steps:
        tree = tree[int(step) if isinstance(tree, list) else step]
    return tree, int(last) if isinstance(tree, list) else last


def _set(tree: Tree, path: str, value: object) -> None:
    place, last = _place(tree, path)
    place[last] = value


def test_what_was_read_is_what_was_written(table: Tree) -> None:
    read = read_audit(table)
    finding = read.findings[1]
    assert read.sealround == "0.9.0"
    assert (read.plan.seed, read.plan.public, read.plan.kind) == (7, True, "table")
    assert finding.granted[0] == ("labels", "recovered from the update")
    assert finding.worst.values == {"exact_cells": 1.0, "exact_records": 1.0}
    assert finding.worst.baseline["exact_cells"] == pytest.approx(0.25)
    assert finding.measures["exact_cells"].found.low == pytest.approx(0.96)
    assert read.findings[6].beyond == {"auc": 0.58}
    assert [limit.key for limit in read.require] == ["exact_cells", "membership_auc", "psnr_db"]
    assert read.require[2].found is None


@pytest.mark.parametrize("format_", ["sealround-audit/2", "sealround-drill/1", ""])
def test_another_format_is_unsupported(table: Tree, format_: str) -> None:
    table["format"] = format_
    with pytest.raises(UnsupportedError, match="unknown format"):
        render_audit(table)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("verdict", "safe"),
        ("plan/data", "secret"),
        ("plan/kind", "text"),
        ("attackers/0/key", "nobody"),
        ("findings/0/family", "magic"),
        ("findings/0/status", "won"),
        ("findings/0/measures/f1", {"value": 1.0}),
        ("findings/0/worst/f1", 1.0),
        ("findings/0/worst/baseline", {"f1": 1.0}),
        ("findings/0/beyond/auc", 0.6),
        ("showcase/0/kind", "sound"),
        ("require/f1", {"limit": 1.0, "found": 0.0, "passed": True}),
    ],
)
def test_what_the_page_could_not_show_is_unsupported(table: Tree, path: str, value: object) -> None:
    _set(table, path, value)
    with pytest.raises(UnsupportedError) as refused:
        render_audit(table)
    assert refused.value.hint


def test_another_verdict_on_two_worlds_is_unsupported(own: Tree) -> None:
    own["two_worlds"]["verdict"] = "the same"
    with pytest.raises(UnsupportedError, match="unknown verdict"):
        render_audit(own)


@pytest.mark.parametrize(
    "path",
    [
        "study", "plan", "attackers", "rungs", "findings", "bounds", "showcase", "require", "skipped", "environment",
        "study/name", "study/digest", "study/sites", "plan/seed", "plan/finished", "plan/data", "plan/kind",
        "attackers/0/sees", "rungs/0/label", "rungs/0/here", "findings/0/rung", "findings/0/attacker",
        "findings/0/granted", "findings/0/status", "findings/0/patients", "bounds/0/patients", "bounds/0/unknowns",
        "bounds/0/patients/0/determined", "showcase/0/finding", "showcase/0/cells", "showcase/0/cells/0/recovered",
        "require/exact_cells/limit", "require/exact_cells/passed",
    ],
)  # fmt: skip
def test_what_is_missing_is_named(table: Tree, path: str) -> None:
    place, last = _place(table, path)
    del place[last]
    with pytest.raises(VerificationError) as refused:
        render_audit(table)
    assert str(last) in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("findings/1/measures/exact_cells/value", math.nan),
        ("findings/1/measures/exact_cells/value", 1.2),
        ("findings/1/measures/exact_cells/low", "0.8"),
        ("findings/1/measures/exact_cells/baseline", -0.1),
        ("findings/1/worst/exact_cells", 2.0),
        ("findings/1/worst/patient", 1.5),
        ("findings/1/beyond/exact_cells", math.inf),
        ("findings/1/granted/0", ["labels"]),
        ("findings/1/granted/0/1", True),
        ("findings/1/seconds", -1.0),
        ("findings/1/mismatch", "small"),
        ("findings/1/patients", -3),
        ("plan/finished", 1),
        ("plan/seed", 1.5),
        ("rungs/0/accuracy/value", 1.4),
        ("rungs/0/switch", 3),
        ("bounds/0/patients/0/crb_sd", -0.1),
        ("skipped/0", ["spear"]),
        ("attackers", {}),
        ("passed", "yes"),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused(table: Tree, path: str, value: object) -> None:
    _set(table, path, value)
    with pytest.raises(VerificationError, match="evidence: ") as refused:
        render_audit(table)
    assert not isinstance(refused.value, ConsistencyError)


@pytest.mark.parametrize(
    "picture",
    ["not base64!", base64.b64encode(b"GIF89a and then some more of it").decode(), "", 7, "data:image/png;base64,AAAA"],
)
def test_what_is_no_picture_is_refused(image: Tree, picture: object) -> None:
    image["showcase"][0]["reconstruction"] = picture
    with pytest.raises(VerificationError, match=r"showcase\[0\]\.reconstruction"):
        render_audit(image)


def test_a_picture_of_no_width_is_refused(image: Tree) -> None:
    raw = bytearray(base64.b64decode(image["showcase"][0]["original"]))
    raw[16:20] = bytes(4)
    image["showcase"][0]["original"] = base64.b64encode(raw).decode()
    with pytest.raises(VerificationError, match="a PNG picture"):
        render_audit(image)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("attackers", []),
        ("attackers/1/key", "coordinator"),
        ("rungs/0/here", True),
        ("rungs/1/here", False),
        ("rungs/1/beyond", True),
        ("rungs/0/beyond", True),
        ("rungs/3/beyond", False),
        ("rungs/0/accuracy/low", 0.99),
        ("findings/0/rung", "moon"),
        ("findings/0/attacker", "aggregator+site"),
        ("findings/0/sites_in_sum", 5),
        ("findings/0/sites_in_sum", 3),
        ("findings/0/worst/patient", 41),
        ("findings/0/worst/patient", 0),
        ("findings/0/patients", 0),
        ("findings/0/status", "failed"),
        ("findings/5/certified", 1),
        ("findings/2/measures/exact_cells/low", 0.9),
        ("bounds/0/rung", "moon"),
        ("bounds/0/rank", 105),
        ("bounds/0/patients/0/determined", 14),
        ("bounds/0/patients/0/smallest_singular", 1.0),
        ("showcase/0/finding", 99),
        ("showcase/0/finding", 5),
        ("plan/data", "own"),
        ("passed", True),
        ("passed", None),
        ("require", {}),
        ("require/exact_cells/passed", True),
        ("require/psnr_db/passed", True),
    ],
)
def test_what_contradicts_itself_is_refused(table: Tree, path: str, value: object) -> None:
    _set(table, path, value)
    with pytest.raises(ConsistencyError) as refused:
        render_audit(table)
    assert str(refused.value).startswith("evidence: ")


def test_records_that_are_not_public_are_never_shown(table: Tree) -> None:
    table["plan"]["data"] = "own"
    with pytest.raises(ConsistencyError, match="not public") as refused:
        render_audit(table)
    assert "cholesterol" not in f"{refused.value} {refused.value.hint}"


def test_a_refusal_does_not_repeat_values(table: Tree) -> None:
    _set(table, "findings/1/worst/exact_cells", "Jane Doe, born 1961")
    with pytest.raises(VerificationError, match=r"findings\[1\]\.worst\.exact_cells") as refused:
        render_audit(table)
    assert "Jane" not in f"{refused.value} {refused.value.hint}"


def _places(tree: Any, path: tuple[str | int, ...] = ()) -> dict[str, tuple[str | int, ...]]:
    """Return the first place of every kind in the tree."""
    found = {"/".join("#" if isinstance(step, int) else step for step in path): path} if path else {}
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, entry in entries:
        found = _places(entry, (*path, key)) | found
    return found


@pytest.mark.parametrize("value", [None, "x", -1, [], 10**400], ids=["null", "text", "negative", "list", "huge"])
@pytest.mark.parametrize("kind", ["table", "image"])
def test_whatever_is_broken_ends_in_a_page_or_in_a_typed_refusal(
    synthetic_audit: ModuleType, kind: str, value: object
) -> None:
    tree = synthetic_audit.AUDITS[kind]()
    before = json.dumps(tree)
    refused = 0
    for path in _places(tree).values():
        place: Any = tree
        for step in path[:-1]:
            place = place[step]
        kept, place[path[-1]] = place[path[-1]], value
        try:
            render_audit(tree)
        except SealroundError:
            refused += 1
        place[path[-1]] = kept
    assert json.dumps(tree) == before
    assert refused > 40
