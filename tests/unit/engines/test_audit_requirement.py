"""What an audit must have found before a run may start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sealround.engines.audit.requirement import AUDITS, AuditChoice, judge_requirements, permission
from sealround.errors import ConsistencyError, PolicyDeniedError, UsageError
from sealround.storage import AuditFolder
from sealround.study import study_digest
from sealround.study.loading import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sealround.study import Study

RECORDS = "ab" * 32
STUDY = """
[study]
name = "small"
rounds = 2
seed = 1

[cohort]
source = { kind = "builtin", name = "heart-disease" }
sites = { kind = "column" }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_epochs = 1

[protection]
secure_aggregation = { mode = "none", reason = "simulation on public data" }
robustness = { rule = "mean", reason = "simulation on public data" }
privacy = { unit = "none", reason = "simulation on public data" }
"""
LIMITS = "\n[audit]\nrequire = { exact_cells = 0.5, reidentified = 0.2 }\n"


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY + LIMITS, "study.toml")


def finding(**beyond: float) -> dict[str, Any]:
    return {"rung": "study", "status": "done", "beyond": beyond}


def evidence(study: Study, *findings: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": "sealround-audit/1",
        "study": {"digest": study_digest(study).hex()},
        "plan": {"finished": True},
        "rungs": [{"key": "none", "here": False}, {"key": "study", "here": True}],
        "findings": list(findings),
        "passed": True,  # what a file says of itself is not believed
    }


@pytest.fixture
def audit(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, Any] | None], AuditFolder]:
    monkeypatch.chdir(tmp_path)

    def make(name: str, found: dict[str, Any] | None, records: str = RECORDS) -> AuditFolder:
        start = {"study_digest": study_digest(study).hex(), "cohorts_sha256": records}
        folder = AuditFolder.create(AUDITS / name, b"", start)
        if found is not None:
            folder.write_json("audit.json", found)
        return folder

    return make


GOOD = finding(exact_cells=0.1, reidentified=0.2)


def test_a_study_that_asks_for_none_starts() -> None:
    assert permission(parse_study(STUDY, "study.toml"), RECORDS, AuditChoice()) is None


def test_a_passing_audit_is_found_and_stated(study: Study, audit: Callable[..., AuditFolder]) -> None:
    audit("one", evidence(study, GOOD))
    stated = permission(study, RECORDS, AuditChoice())
    assert stated is not None
    assert stated["state"] == "passed"
    assert stated["limits"]["reidentified"] == {"limit": 0.2, "found": 0.2, "passed": True}


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda found: found["findings"].append(finding(exact_cells=0.51)), "exact_cells is 0.51"),
        (lambda found: found["findings"].clear(), "exact_cells was not measured"),
        (lambda found: found["findings"][0]["beyond"].pop("reidentified"), "reidentified was not measured"),
        (lambda found: found["plan"].update(finished=False), "not every attack was played"),
        (lambda found: found["study"].update(digest="00"), "another study"),
        (lambda found: found.update(format="sealround-audit/2"), "another study or version"),
    ],
)
def test_what_does_not_pass_does_not_start(
    study: Study, audit: Callable[..., AuditFolder], change: Callable[[dict[str, Any]], object], phrase: str
) -> None:
    found = evidence(study, finding(**GOOD["beyond"]))
    change(found)
    audit("one", found)
    with pytest.raises(PolicyDeniedError) as refused:
        permission(study, RECORDS, AuditChoice())
    assert phrase in str(refused.value)


def test_what_attacks_found_on_other_rungs_or_when_they_failed_does_not_count(study: Study) -> None:
    worse = [finding(exact_cells=1.0) | {"rung": "none"}, finding(exact_cells=1.0) | {"status": "failed"}]
    judged = judge_requirements(study, [GOOD, *worse], "study")
    assert judged["exact_cells"] == {"limit": 0.5, "found": 0.1, "passed": True}


def test_an_audit_of_other_records_does_not_count(study: Study, audit: Callable[..., AuditFolder]) -> None:
    audit("one", evidence(study, GOOD), records="cd" * 32)
    with pytest.raises(PolicyDeniedError, match="other records"):
        permission(study, RECORDS, AuditChoice())


def test_an_unfinished_audit_says_how_to_go_on(study: Study, audit: Callable[..., AuditFolder]) -> None:
    audit("one", None)
    with pytest.raises(PolicyDeniedError, match="--resume"):
        permission(study, RECORDS, AuditChoice())


def test_a_named_audit_is_the_only_one_looked_at(study: Study, audit: Callable[..., AuditFolder]) -> None:
    audit("good", evidence(study, GOOD))
    bad = audit("bad", evidence(study, finding(exact_cells=1.0, reidentified=0.0)))
    with pytest.raises(PolicyDeniedError, match="exact_cells is 1"):
        permission(study, RECORDS, AuditChoice(bad.path))


def test_a_reason_starts_a_run_and_is_stated(study: Study, audit: Callable[..., AuditFolder]) -> None:
    del audit  # the folder without audits
    stated = permission(study, RECORDS, AuditChoice(override="the ethics board has seen the last one"))
    assert stated == {
        "state": "overridden",
        "reason": "the ethics board has seen the last one",
        "sha256": None,
        "attacks": 0,
        "limits": {},
    }


def test_a_reason_that_says_nothing_is_refused(study: Study, audit: Callable[..., AuditFolder]) -> None:
    del audit
    with pytest.raises(UsageError, match="ten letters"):
        permission(study, RECORDS, AuditChoice(override="  because  "))


def test_a_reason_where_nothing_is_asked_is_refused() -> None:
    with pytest.raises(UsageError, match="asks for no audit"):
        permission(parse_study(STUDY, "study.toml"), RECORDS, AuditChoice(override="no time for it now"))


def test_a_damaged_file_is_said_to_be(study: Study, audit: Callable[..., AuditFolder]) -> None:
    found = evidence(study, GOOD)
    del found["rungs"]
    audit("one", found)
    with pytest.raises(ConsistencyError, match="damaged"):
        permission(study, RECORDS, AuditChoice())
