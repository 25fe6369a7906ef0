"""A whole audit, as small as one can be: what is written, what is not, and that it goes on where it was left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.audit.inversion.playing import Played
from sealround.engines.audit.audits import AuditProgress, AuditWishes, explain, resume_audit, start_audit
from sealround.engines.audit.requirement import AuditChoice
from sealround.engines.runs import start_run
from sealround.errors import ConsistencyError, PolicyDeniedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PUBLIC = '{ kind = "builtin", name = "breast-cancer" }'
STUDY = """\
[study]
name = "tiny"
rounds = 2
seed = 42

[cohort]
source = { kind = "builtin", name = "breast-cancer" }
sites = { kind = "iid", number = 6 }
split = { kind = "random", validation = 0.0, test = 0.3 }

[model]
kind = "mlp"
hidden = [20]

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
batch_size = 4
local_steps = 1

[evaluation]
threshold = { kind = "fixed", value = 0.5 }
compare = []
bootstrap = 100

[protection]
secure_aggregation = { mode = "none", reason = "shows what updates give away" }
robustness = { rule = "mean", reason = "simulation: no hospital lies" }
privacy = { unit = "none", reason = "public data without identifiers" }
"""
OPEN = 'secure_aggregation = { mode = "none", reason = "shows what updates give away" }'
COLUMNS = """
[cohort.columns]
site = { role = "site" }
age = { role = "feature", kind = "numeric" }
marker = { role = "feature", kind = "numeric" }
pressure = { role = "feature", kind = "numeric" }
ill = { role = "label", positive = [1] }
"""
# Played whole in their counted searches: no clock decides what they find.
COUNTED = ("closed-form", "spear", "linkage", "imprint")


def written(folder: Path, text: str = STUDY) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "study.toml"
    path.write_text(text)
    return path


def audited(
    study: Path, out: Path, observe: Callable[[AuditProgress], None] = lambda _: None, **wishes: Any
) -> Mapping[str, Any]:
    asked = AuditWishes(**({"budget_s": 1.0, "attacks": COUNTED, "only_study": True} | wishes))
    return start_audit(study, asked, out=out, data_folder=study.parent, observe=observe, folder_known=lambda _: None)


def resumed(out: Path, observe: Callable[[AuditProgress], None] = lambda _: None) -> Mapping[str, Any]:
    return resume_audit(out, observe=observe, folder_known=lambda _: None)


def timeless(tree: Any) -> Any:
    """Return evidence without what a clock decides."""
    match tree:
        case dict():
            return {key: timeless(value) for key, value in tree.items() if key not in ("seconds", "environment")}
        case list():
            return [timeless(each) for each in tree]
        case _:
            return tree


def of(evidence: Mapping[str, Any], rung: str, attacker: str, attack: str) -> Mapping[str, Any]:
    key = (rung, attacker, attack)
    return dict(next(one for one in evidence["findings"] if (one["rung"], one["attacker"], one["attack"]) == key))


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit with every rung."""
    folder = tmp_path_factory.mktemp("ladder")
    audited(written(folder), folder / "audit", attacks=("spear",), only_study=False)
    return folder / "audit"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of the study as written, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    audited(written(folder), folder / "audit")
    return folder / "audit"


def evidence_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "audit.json").read_text()))


def test_secure_aggregation_is_what_keeps_spear_out(ladder: Path) -> None:
    evidence = evidence_of(ladder)
    plain = of(evidence, "here", "coordinator", "spear")
    assert plain["certified"] == plain["patients"] == 4
    assert plain["worst"]["exact_cells"] > 0.9
    assert plain["sites_in_sum"] == 1
    sealed = of(evidence, "beyond-sealed", "coordinator", "spear")
    assert sealed["sites_in_sum"] == 6
    assert sealed["certified"] == 0
    assert sealed["beyond"]["exact_cells"] < 0.1


def test_a_finished_audit_leaves_its_page_and_nothing_of_its_trainings(whole: Path) -> None:
    evidence = evidence_of(whole)
    assert evidence["format"] == "sealround-audit/1"
    assert not evidence["plan"]["finished"]  # not all attacks were asked for
    assert {one["rung"] for one in evidence["findings"]} == {"here"}
    assert {one["attack"] for one in evidence["findings"]} == set(COUNTED)
    assert evidence["plan"]["data"] == "public"
    assert all(one["attack"] != "linkage" or one["note"].startswith("of what") for one in evidence["findings"])
    assert evidence["showcase"]
    page = (whole / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "SPEAR" in page
    assert not (whole / "records").exists()


def test_a_planted_model_is_refused_and_the_note_says_what_that_is_worth(whole: Path) -> None:
    planted = of(evidence_of(whole), "here", "malicious-coordinator", "imprint")
    assert planted["status"] == "refused by the site"
    assert planted["why"]
    assert "would have given away" in planted["note"]
    assert int(planted["note"].partition("%")[0].rsplit(" ", 1)[1]) > 50
    assert not planted["measures"]
    assert not planted["beyond"]


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_audit_ends_like_an_uninterrupted_one(whole: Path, tmp_path: Path, after: int) -> None:
    seen: list[AuditProgress] = []

    def stop(step: AuditProgress) -> None:
        if step.done == after and step.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audited(written(tmp_path), tmp_path / "audit", stop)
    assert not (tmp_path / "audit" / "report.html").exists()
    cells = {path: path.read_bytes() for path in (tmp_path / "audit" / "cells").iterdir()}
    assert cells
    resumed(tmp_path / "audit", seen.append)
    assert {step.before for step in seen if step.total} == {after}
    assert {path: path.read_bytes() for path in cells} == cells
    assert timeless(evidence_of(tmp_path / "audit")) == timeless(evidence_of(whole))


def test_another_seed_is_another_audit(whole: Path, tmp_path: Path) -> None:
    other = audited(written(tmp_path), tmp_path / "audit", seed=2)
    assert other["plan"]["seed"] == 2
    assert timeless(other["findings"]) != timeless(evidence_of(whole)["findings"])


def _stopped(folder: Path, text: str) -> Path:
    """Start an audit and stop it before anything is trained."""

    def stop(_: AuditProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audited(written(folder, text), folder / "audit", stop)
    return folder / "audit"


def _table(folder: Path) -> np.ndarray:
    """Write records of three sites whose every value is told from any other number."""
    draw = np.random.default_rng(5)
    table = draw.normal(1000.0, 100.0, size=(150, 3)).round(5)
    lines = [f"{'abc'[i % 3]},{','.join(f'{x:.5f}' for x in row)},{i // 3 % 2}" for i, row in enumerate(table)]
    (folder / "patients.csv").write_text("\n".join(["site,age,marker,pressure,ill", *lines]) + "\n")
    return table


def _own(audit: str = "") -> str:
    text = STUDY.replace(PUBLIC, '{ kind = "csv", path = "data:patients.csv" }')
    return text.replace('{ kind = "iid", number = 6 }', '{ kind = "column" }') + COLUMNS + audit


def test_a_changed_study_or_version_or_table_is_not_gone_on_with(tmp_path: Path) -> None:
    _table(tmp_path)
    audit = _stopped(tmp_path, _own())
    start, study = (audit / "audit-start.json").read_text(), (audit / "study.toml").read_text()
    (audit / "study.toml").write_text(study.replace("rounds = 2", "rounds = 3"))
    with pytest.raises(ConsistencyError, match="has changed"):
        resumed(audit)
    (audit / "study.toml").write_text(study)
    (audit / "audit-start.json").write_text(json.dumps(json.loads(start) | {"sealround": "0.0.0"}))
    with pytest.raises(ConsistencyError, match="another version"):
        resumed(audit)
    (audit / "audit-start.json").write_text(start)
    records = tmp_path / "patients.csv"
    records.write_text(records.read_text() + "a,1.5,2.5,3.5,1\n")
    with pytest.raises(ConsistencyError, match="data are not those"):
        resumed(audit)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [({"attacks": ("speer",)}, "no attack 'speer'"), ({"site": "nowhere"}, "'nowhere'")],
    ids=["attack", "site"],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, wishes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        audited(written(tmp_path), tmp_path / "audit", **wishes)
    assert not (tmp_path / "audit").exists()


def _texts(folder: Path) -> str:
    """Return all that may leave the place."""
    inside = folder / "at-the-site"
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file() and inside not in path.parents)


def test_no_value_of_a_patient_leaves_the_place(tmp_path: Path) -> None:
    table = _table(tmp_path)
    evidence = audited(written(tmp_path, _own()), tmp_path / "audit")
    assert evidence["plan"]["data"] == "own"
    assert evidence["showcase"] == []
    spear = of(evidence, "here", "coordinator", "spear")
    assert spear["certified"] > 0
    # Seven digits are what a page shows of a value; any that is in it at all is found by its first six.
    values = {f"{value:.7g}"[:7] for value in table.ravel()}
    texts = _texts(tmp_path / "audit")
    assert not [value for value in values if value in texts]
    inside = (tmp_path / "audit" / "at-the-site" / "report.html").read_text()
    assert sum(value in inside for value in values) >= 3
    assert "stays at the site" in inside


def test_public_records_are_shown(tmp_path: Path) -> None:
    _table(tmp_path)
    study = written(tmp_path, _own('[audit]\npublic = "made up for this test"\n'))
    evidence = audited(study, tmp_path / "audit", attacks=("spear",))
    assert evidence["plan"]["why_public"] == "made up for this test"
    assert evidence["showcase"][0]["cells"]
    assert not (tmp_path / "audit" / "at-the-site" / "report.html").exists()


def test_a_sealed_study_has_a_verdict_on_two_worlds_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = written(tmp_path, STUDY.replace(OPEN, 'secure_aggregation = { mode = "pairwise" }'))
    evidence = audited(study, Path("audits") / "here", attacks=("closed-form",))
    assert evidence["two_worlds"] is not None
    here = next(rung for rung in evidence["rungs"] if rung["here"])
    assert here["key"] in {one["rung"] for one in evidence["findings"]}
    assert {one["sites_in_sum"] for one in evidence["findings"]} <= {5, 6}


def _run(study: Path, out: str, choice: AuditChoice | None = None) -> Path:
    folder = study.with_name(out)
    start_run(
        study,
        out=folder,
        data_folder=None,
        workers=0,
        observe=lambda _: None,
        folder_known=lambda _: None,
        audit=choice,
    )
    return folder


def test_a_run_starts_after_an_audit_that_passed_or_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    required = written(tmp_path, STUDY + "[audit]\nrequire = { exact_cells = 0.5 }\n")
    with pytest.raises(PolicyDeniedError):
        _run(required, "none")
    evidence = audited(required, Path("audits") / "open", attacks=None)
    assert evidence["plan"]["finished"]
    assert evidence["passed"] is False
    with pytest.raises(PolicyDeniedError) as refused:
        _run(required, "failed")
    assert "exact_cells is" in str(refused.value.__dict__)
    assert not (tmp_path / "failed").exists()
    folder = _run(required, "all-the-same", AuditChoice(override="a simulation for a test"))
    stated = json.loads((folder / "metrics.json").read_text())["audit"]
    assert (stated["state"], stated["reason"]) == ("overridden", "a simulation for a test")
    assert "a simulation for a test" in (folder / "report.html").read_text()


def test_a_run_starts_after_an_audit_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generous = written(tmp_path, STUDY + "[audit]\nrequire = { exact_cells = 1.0 }\n")
    part = audited(generous, Path("audits") / "part", attacks=("spear",))
    assert part["passed"]
    with pytest.raises(PolicyDeniedError):  # An audit of chosen attacks is none.
        _run(generous, "part")
    audited(generous, Path("audits") / "all", attacks=None)
    folder = _run(generous, "run")
    assert json.loads((folder / "metrics.json").read_text())["audit"]["state"] == "passed"


def test_explaining_attacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = explain(written(tmp_path), None)
    keys = [attacker["key"] for attacker in said["attackers"]]
    assert keys[0] == "coordinator"
    assert {"SPEAR", "Closed form"} <= {attack["name"] for attack in said["attackers"][0]["attacks"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.toml"]


def test_an_attack_that_finds_it_cannot_apply_is_not_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "too many unknowns for its steps"
    monkeypatch.setattr("sealround.engines.audit.campaign.play", lambda *_: Played("not applicable", None, why=why))
    audited(written(tmp_path), tmp_path / "audit", attacks=("spear",))
    found = of(evidence_of(tmp_path / "audit"), "here", "coordinator", "spear")
    assert (found["status"], found["why"]) == ("not applicable", why)
