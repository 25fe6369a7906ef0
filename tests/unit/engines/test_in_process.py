from __future__ import annotations

import collections
import json
from pathlib import Path

import pytest

from sealround.engines.host import Answer, Request
from sealround.engines.in_process import Job, Progress, drive
from sealround.engines.pools import spread
from sealround.errors import ConsistencyError, DivergenceError
from sealround.federation import Plan, Site, TrainOrder, TrainOutcome
from sealround.storage import Journal
from sealround.study import Study, study_digest
from sealround.testing import NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

SITES = tuple(PartyId(name) for name in ("aachen", "bern"))


class _Diverging(NumpyWork):
    def train(self, order: TrainOrder) -> TrainOutcome:
        if order.round == 2:
            raise DivergenceError("the loss is not a number", party="bern", hint="lower the learning rate")
        return super().train(order)


class _Pool:
    """Sites of numpy in this process."""

    number = 0

    def __init__(
        self, study: Study, kind: type[NumpyWork] = NumpyWork, snapshots: dict[PartyId, bytes] | None = None
    ) -> None:
        self._study, self._kind = study, kind
        self._snapshots = snapshots or {}
        self._sites: dict[tuple[str, PartyId], Site] = {}
        self._requests: collections.deque[Request] = collections.deque()

    def post(self, request: Request) -> None:
        self._requests.append(request)

    def next(self) -> Answer:
        request = self._requests.popleft()
        place = request.job, request.party
        if place not in self._sites:
            work = self._kind(seed=SITES.index(request.party))
            self._sites[place] = Site(request.party, study_digest(self._study), work, 5)
            if request.party in self._snapshots:
                self._sites[place].restore(self._snapshots[request.party])
        payload = self._sites[place].handle(request.payload)
        return Answer(request.job, request.party, payload, self._sites[place].snapshot())

    def close(self) -> None:
        pass


def _job(study: Study, folder: Path, name: str = "federated", *, may_fail: bool = False) -> Job:
    roster = SITES if name == "federated" else (PartyId(name.removeprefix("alone-")),)
    return Job(Plan(study, name, roster, roster), zero_model, Journal(folder / name), may_fail=may_fail)


def test_trainings_run_side_by_side_and_tell_where_they_are(tmp_path: Path) -> None:
    study = small_study()
    jobs = [_job(study, tmp_path), _job(study, tmp_path, "alone-bern"), _job(study, tmp_path, "alone-aachen")]
    seen: list[Progress] = []
    drive(jobs, _Pool(study), seen.append)
    assert all(job.done and job.failure is None for job in jobs)
    assert {step.job for step in seen} == {"federated", "alone-bern", "alone-aachen"}
    assert [step.round for step in seen if step.job == "federated"][-1] == study.study.rounds
    assert seen[-1].stage == "done"
    assert [line["round"] for line in jobs[0].journal.rounds()] == [1, 2, 3]


def test_a_training_stopped_on_purpose_goes_on_from_its_journal(tmp_path: Path) -> None:
    study = small_study()
    straight = _job(study, tmp_path / "straight")
    drive([straight], _Pool(study), lambda _: None)
    job = _job(study, tmp_path / "stopped")
    drive([job], _Pool(study), lambda _: None, until=lambda: True)
    assert job.coordinator.round == 1
    again = _job(study, tmp_path / "stopped")
    drive([again], _Pool(study, snapshots=again.snapshots), lambda _: None)
    assert again.coordinator.released.vector.tobytes() == straight.coordinator.released.vector.tobytes()
    assert again.evaluations == straight.evaluations


def _stopped_after(rounds: int, study: Study, folder: Path) -> Path:
    """Where the journal of a training lies that was stopped there."""
    job = _job(study, folder)
    drive([job], _Pool(study), lambda _: None, until=lambda: job.coordinator.round == rounds)
    return folder / "federated"


def test_a_damaged_checkpoint_costs_a_round_and_nothing_else(tmp_path: Path) -> None:
    study = small_study()
    straight = _job(study, tmp_path / "straight")
    drive([straight], _Pool(study), lambda _: None)
    (_stopped_after(2, study, tmp_path) / "checkpoint-000002").write_bytes(b"half a check")
    again = _job(study, tmp_path)
    assert again.coordinator.round == 1
    drive([again], _Pool(study, snapshots=again.snapshots), lambda _: None)
    assert again.coordinator.snapshot() == straight.coordinator.snapshot()


def test_a_round_that_gives_another_result_is_refused_every_time(tmp_path: Path) -> None:
    study = small_study()
    folder = _stopped_after(2, study, tmp_path)
    (folder / "checkpoint-000002").unlink()
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    other = json.dumps(json.loads(lines[1]) | {"snapshot_sha256": "00" * 32})
    (folder / "rounds.jsonl").write_text(f"{lines[0]}\n{other}\n")
    for _ in range(2):
        again = _job(study, tmp_path)
        with pytest.raises(ConsistencyError, match="round 2, computed again"):
            drive([again], _Pool(study, snapshots=again.snapshots), lambda _: None)


def test_a_comparison_that_diverges_is_reported_and_the_study_goes_on(tmp_path: Path) -> None:
    study = small_study()
    bad, good = _job(study, tmp_path, "alone-bern", may_fail=True), _job(study, tmp_path, "alone-aachen")
    pool = _Pool(study)
    diverging = _Pool(study, _Diverging)
    pool._sites["alone-bern", SITES[1]] = Site(SITES[1], study_digest(study), diverging._kind(1), 5)
    drive([bad, good], pool, lambda _: None)
    assert bad.done
    assert bad.evaluations is None
    assert bad.failure == "bern: the loss is not a number"
    assert good.evaluations is not None


def test_the_federation_itself_stops_with_the_site_named(tmp_path: Path) -> None:
    study = small_study()
    with pytest.raises(DivergenceError, match="bern: the loss is not a number"):
        drive([_job(study, tmp_path)], _Pool(study, _Diverging), lambda _: None)


def test_the_heaviest_sites_go_to_different_workers() -> None:
    loads = [
        (("federated", PartyId(name)), load) for name, load in zip("abcde", (9.0, 7.0, 4.0, 3.0, 1.0), strict=True)
    ]
    places = spread(loads, 2)
    carried = [sum(load for place, load in loads if places[place] == worker) for worker in (0, 1)]
    assert sorted(carried) == [12.0, 12.0]
    assert spread(list(reversed(loads)), 2) == places
