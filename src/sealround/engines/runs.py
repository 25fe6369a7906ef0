"""From a study file to a finished run folder, and from a killed one to the same."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sealround.clinical import Places, load_cohorts
from sealround.engines.audit.requirement import AuditChoice, permission
from sealround.engines.budgets import SiteLedger
from sealround.engines.evidence import environment, gather
from sealround.engines.gate_evidence import is_withheld
from sealround.engines.gate_reference import check_gate, find_reference, reference_hash
from sealround.engines.model_file import model_file
from sealround.engines.parties import sealed_plan
from sealround.engines.sealed_evidence import site_results
from sealround.engines.simulation import Simulation
from sealround.errors import ConsistencyError, Problem, StudyError, WithheldError
from sealround.federation import Plan
from sealround.federation.plan import FEDERATED
from sealround.federation.private import PrivacyTerms
from sealround.federation.site_policy import policy_of
from sealround.report import render
from sealround.storage import RunFolder, file_names
from sealround.study import apply_site, load_site_file, load_study, study_digest
from sealround.study.robust_rules import root_unknown, rule_unfit
from sealround.study.site_file import check_roster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.in_process import Progress
    from sealround.federation.interfaces import Contender
    from sealround.secagg import SitePolicy
    from sealround.study import SiteFile, Study
    from sealround.vocabulary import PartyId

__all__ = ["fingerprint", "resume_run", "start_run"]

RUNS = Path("runs")
_ORIGIN = {"study_digest", "site_sha256", "cohorts_sha256", "study_folder", "data_folder"}


@dataclass(frozen=True, slots=True)
class _Agreed:
    """What is run.

    Attributes:
        study: The study that is agreed on: its digest is the run's.
        local: The same as every site runs it: stricter where the site file is.
        cohorts: Each site's records.
        workers: Worker processes, ``None`` to measure and decide.
        policy: What every site insists on of sealed sums.
        reference: What the gate compares with, where the study names a model.
        ledger: Where every site keeps the books of its patients' privacy, where the site file says so.
        audit: What let the run start, where the study asks for a leakage audit.
    """

    study: Study
    local: Study
    cohorts: Mapping[PartyId, SiteCohort]
    workers: int | None
    policy: SitePolicy
    reference: Contender | None = None
    ledger: SiteLedger | None = None
    audit: Mapping[str, Any] | None = None


def start_run(
    study_file: Path,
    *,
    out: Path | None,
    data_folder: Path | None,
    workers: int | Literal["auto"] | None,
    observe: Callable[[Progress], None],
    folder_known: Callable[[Path], None],
    site_file: Path | None = None,
    audit: AuditChoice | None = None,
) -> Mapping[str, Any]:
    """Run a study in a new run folder.

    Args:
        study_file: The study.
        out: Run folder; ``runs/<name>-<date>-<time>`` when ``None``.
        data_folder: Where ``data:`` paths start; ``None`` for the site file's, else the default.
        workers: Worker processes, 0 for none, ``"auto"`` to measure and decide; ``None`` as the site file says, else
            ``"auto"``.
        observe: Told of every step.
        folder_known: Told of the run folder before anything is trained.
        site_file: What every simulated site insists on.
        audit: The leakage audit that lets it start, where the study asks for one.

    Returns:
        The evidence, as in the folder's ``metrics.json``.

    Raises:
        PolicyDeniedError: If the site file refuses the study, or the study an audit that did not pass; nothing is
            written.
        SealroundError: As the parts raise; what is done so far stays in the folder.
    """
    began = time.monotonic()
    study = load_study(study_file)
    site = None if site_file is None else load_site_file(site_file)
    if data_folder is None and site_file is not None and site is not None and site.data.folder is not None:
        data_folder = site_file.resolve().parent / site.data.folder
    places = Places.of_study(study_file, data_folder)
    site_folder = None if site_file is None else site_file.resolve().parent
    agreed = _agree(study, site, places, workers, site_folder)
    site_text = None if site_file is None else site_file.read_bytes()
    records = fingerprint(agreed.cohorts)
    agreed = dataclasses.replace(agreed, audit=permission(study, records, audit or AuditChoice()))
    stamp = dt.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = RunFolder.create(
        out or RUNS / f"{study.study.name}-{stamp}",
        study_file.read_bytes(),
        {
            "study_digest": study_digest(study).hex(),
            "site_sha256": _sha256(site_text),
            "cohorts_sha256": records,
            "study_folder": str(places.study_folder),
            "data_folder": str(places.data_folder.resolve()),
            **({} if agreed.audit is None else {"audit": agreed.audit}),
            **({} if agreed.ledger is None else {"site_folder": str(site_folder)}),
            **({} if agreed.reference is None else {"reference_sha256": reference_hash(agreed.reference)}),
        },
        site_text,
    )
    folder_known(folder.path)
    folder.write_json("environment.json", environment())
    return _finish(agreed, folder, observe, began)


def resume_run(
    run_folder: Path,
    *,
    workers: int | Literal["auto"] | None,
    observe: Callable[[Progress], None],
    folder_known: Callable[[Path], None],
) -> Mapping[str, Any]:
    """Go on with a run after the last round in its journal.

    Args:
        run_folder: The run's folder.
        workers: As in `start_run`.
        observe: Told of every step.
        folder_known: Told of the run folder before anything is trained.

    Returns:
        The evidence; the model is byte for byte what an uninterrupted run gives.

    Raises:
        UsageError: If it is not a run folder, or another process works in it.
        ConsistencyError: If study, site file or data are not those the run was started with.
    """
    began = time.monotonic()
    folder = RunFolder.open(run_folder)
    folder_known(folder.path)
    origin = folder.read_json("run.json")
    study = load_study(folder.file("study.toml"))
    if not origin.keys() >= _ORIGIN:
        raise ConsistencyError("run.json is of another version of sealround", hint="resume with that version")
    if study_digest(study).hex() != origin["study_digest"]:
        raise ConsistencyError("study.toml in the run folder has changed", hint="start a new run with the new study")
    places = Places(Path(origin["study_folder"]), Path(origin["data_folder"]))
    site_folder = Path(origin["site_folder"]) if "site_folder" in origin else None
    agreed = _agree(study, _kept_site_file(folder, origin), places, workers, site_folder)
    if fingerprint(agreed.cohorts) != origin["cohorts_sha256"]:
        raise ConsistencyError(
            "the data are not those this run was started with", hint="restore the data, or start a new run"
        )
    if agreed.reference is not None and reference_hash(agreed.reference) != origin.get("reference_sha256"):
        raise ConsistencyError(
            "the gate's reference is not the model this run was started with", hint="restore it, or start a new run"
        )
    if study.audit.require is not None and "audit" not in origin:
        raise ConsistencyError("run.json does not say which audit let the run start", hint="start a new run")
    return _finish(dataclasses.replace(agreed, audit=origin.get("audit")), folder, observe, began)


def _agree(
    study: Study,
    site: SiteFile | None,
    places: Places,
    workers: int | Literal["auto"] | None,
    site_folder: Path | None,
) -> _Agreed:
    """Load the records and let a site file's say be had, before anything is trained.

    Raises:
        PolicyDeniedError: If the site file refuses the study, or a round of so few sites.
        StudyError: If the sums of so many sites cannot be sealed as the study says.
    """
    local = study if site is None else apply_site(study, site)
    cohorts = load_cohorts(local, places)
    roster = tuple(sorted(cohorts))
    a_round = Plan(study, FEDERATED, roster, roster).round_size(len(roster))
    PrivacyTerms.of(study, a_round)  # what does not add up is said before anything is written
    if study.protection.sealed:
        sealed_plan(study).check(a_round)
        sealed_plan(study).check_names(roster)
    if unknown := root_unknown(study.protection.robustness, roster):
        raise StudyError(f"{study.study.name}: the root of trust is no site", (unknown,))
    if why := rule_unfit(study.protection.robustness, a_round):
        problem = Problem("protection.robustness.num_byzantine", why)
        raise StudyError(f"{study.study.name}: the rule does not fit the sites", (problem,))
    if site is not None:
        check_roster(site, a_round)
        workers = site.compute.workers if workers is None else workers
    policy = policy_of(None if site is None else site.floors)
    check_gate(study, cohorts)
    reference = find_reference(study, places, cohorts)
    ledger = SiteLedger.of(site, site_folder)
    return _Agreed(study, local, cohorts, None if workers == "auto" else workers, policy, reference, ledger)


def _kept_site_file(folder: RunFolder, origin: Mapping[str, Any]) -> SiteFile | None:
    """Return the run's own copy of its site file; one that went missing would make the sites laxer."""
    path = folder.file("site.toml")
    text = path.read_bytes() if path.is_file() else None
    if _sha256(text) != origin.get("site_sha256"):
        raise ConsistencyError(
            "site.toml in the run folder is not the one this run was started with",
            hint="restore it, or start a new run with the new site file",
        )
    return None if text is None else load_site_file(path)


def _sha256(text: bytes | None) -> str | None:
    return None if text is None else hashlib.sha256(text).hexdigest()


def _finish(agreed: _Agreed, folder: RunFolder, observe: Callable[[Progress], None], began: float) -> Mapping[str, Any]:
    study, cohorts = agreed.study, agreed.cohorts
    folder.lock()
    try:
        trainings = Simulation(
            study, cohorts, folder, agreed.workers, agreed.local, agreed.policy, agreed.reference, agreed.ledger
        ).run(observe)
        evidence = gather(study, agreed.local, cohorts, trainings, time.monotonic() - began)
        if agreed.audit is not None:
            evidence["audit"] = agreed.audit
        coordinator = trainings.federated.coordinator
        withheld = is_withheld(coordinator)
        if not withheld:
            folder.write("model.safetensors", model_file(study, coordinator.released))
        if study.protection.sealed or study.protection.private:
            _write_site_results(folder, site_results(study, agreed.local, cohorts, trainings))
        folder.write_json("metrics.json", evidence)
        folder.write_csv("rounds.csv", *_round_table(evidence))
        # Last: whoever finds a report finds everything it is made from.
        folder.write("report.html", render(evidence).encode())
    finally:
        folder.unlock()
    if withheld:
        raise _withheld(folder, evidence)
    return evidence


def _withheld(folder: RunFolder, evidence: Mapping[str, Any]) -> WithheldError:
    """Make the end of a run whose model did not pass: not a failure of the run, and no success either."""
    failed = evidence["gate"]["looks"][-1]["failed"]
    pairs = ", ".join(f"{group} ({metric})" for group, metric in failed)
    return WithheldError(
        f"the model did not pass the gate and is not released: {pairs}",
        hint=f"read {folder.file('report.html')}: what was found, in which group, and to whom it is traced",
    )


def _write_site_results(folder: RunFolder, results: Mapping[PartyId, Mapping[str, Any]]) -> None:
    """Write what each site would see at its own place; but for the journal, nothing else in the folder tells it."""
    files = file_names(results)
    for site, result in results.items():
        folder.write_json(f"sites/{files[site]}.json", result)


_ROUND_COLUMNS = (
    "round",
    "train_loss",
    "validation_loss",
    "validation",
    "accuracy",
    "bytes_up",
    "bytes_down",
    "seconds",
)


def _round_table(evidence: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[object]]]:
    sites = sorted(evidence["cohort"]["sites"])
    header = (*_ROUND_COLUMNS, *(f"validation {site}" for site in sites))
    rows = [
        [entry[column] for column in _ROUND_COLUMNS]
        + [entry["sites"].get(site, {}).get("validation") for site in sites]
        for entry in evidence["rounds"]
    ]
    return header, rows


def fingerprint(cohorts: Mapping[PartyId, SiteCohort]) -> str:
    """Return the SHA-256 of every record of every site, hex: a resumed run must find the same."""
    whole = hashlib.sha256()
    for _, cohort in sorted(cohorts.items()):
        cohort.hash_into(whole)
    return whole.hexdigest()
