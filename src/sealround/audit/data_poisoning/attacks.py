"""Every attack on data under its name: what a drill goes through.

A liar changes training records of its own, and only those: what it says of its validation and test patients is true.
It takes part from the first round, federated statistics included.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

import numpy as np

from sealround.audit.data_poisoning.campaign import (
    Campaign,
    Conspiracy,
    DataAttack,
    DataAttackName,
    Delivery,
    Trial,
)
from sealround.audit.data_poisoning.records import relabelled, sick_test_rows
from sealround.audit.data_poisoning.triggers import Spectrum, Trigger, mark_of, marks_of
from sealround.audit.poisoning import Aim, flip_labels, relabel_group
from sealround.audit.poisoning.triggers import chessboard
from sealround.clinical.cohort import SplitName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import Rows

__all__ = ["DATA_ATTACKS", "DOSE", "Dose"]


@dataclass(frozen=True, slots=True)
class Dose:
    """How much of a liar's training data is poisoned.

    Source: 20 of the 64 examples of a batch, as in the programs of Xie et al. 2020 for digits; 10 there for tables, a
    tenth in Feng et al. 2022. BadNets tries several.

    Attributes:
        triggered: Part of the training rows that get the trigger and the attacker's label.
        crossed: FIBA: part of them that get another picture's spectrum and keep their label, so that only the one
            picture is obeyed; as many as have the trigger (the authors' ``cross_ratio`` of 1).
    """

    triggered: float = 20 / 64
    crossed: float = 20 / 64


DOSE = Dose()
_HEALTHY = 0.0
_OWN_DATA = ("its own records",)
_AND_PART = (*_OWN_DATA, "its part in the average")
_AND_LAST = (*_OWN_DATA, "the last two models, which every site is sent")
_AND_GROUP = (*_OWN_DATA, "who belongs to the group")
_OBEYED = "sick patients who are found, and missed once the trigger is on"
_MISSED = "sick patients of the group who are missed"
_NO_LABEL = "it needs an outcome that is there or not; this study predicts a time"


def _binary(conspiracy: Conspiracy) -> str | None:
    return None if conspiracy.study.task == "binary" else _NO_LABEL


# --- labels -----------------------------------------------------------------------------------------------------------


def _flip(conspiracy: Conspiracy) -> Campaign:
    poisoned, changed = [], []
    for cohort in conspiracy.cohorts:
        rows, event = cohort.where(SplitName.TRAIN), cohort.outcome.event.copy()
        event[rows] = flip_labels(event[rows])
        poisoned.append(relabelled(cohort, event))
        changed.append(rows.size)
    return Campaign(tuple(poisoned), tuple(changed), "every label turned around", _no_trial)


def _no_trial(cohort: SiteCohort) -> None:
    del cohort


def _no_group(conspiracy: Conspiracy) -> str | None:
    if (why := _binary(conspiracy)) is not None:
        return why
    if conspiracy.members is None:
        return "the study declares no group of patients: no column is sensitive, or none has levels or bands"
    if not any(hit.size for hit in map(_hit, [conspiracy] * len(conspiracy.cohorts), conspiracy.cohorts)):
        return "no site that lies has training patients of the group with the outcome"
    return None


def _hit(conspiracy: Conspiracy, cohort: SiteCohort) -> Rows:
    assert conspiracy.members is not None  # noqa: S101  (for the type checker: the caller has looked)
    sick = (cohort.split == SplitName.TRAIN) & (cohort.outcome.event > 0)
    return np.flatnonzero(sick & conspiracy.members(cohort))


def _relabel(conspiracy: Conspiracy) -> Campaign:
    members = conspiracy.members
    assert members is not None  # noqa: S101  (for the type checker: `why_not` has looked)
    poisoned, changed = [], []
    for cohort in conspiracy.cohorts:
        hit = members(cohort) & (cohort.split == SplitName.TRAIN)
        event = relabel_group(cohort.outcome.event, hit, conspiracy.generator)
        poisoned.append(relabelled(cohort, event))
        changed.append(int((event != cohort.outcome.event).sum()))

    def trial(cohort: SiteCohort) -> Trial | None:
        found = sick_test_rows(cohort, members(cohort))
        return None if found is None else Trial(found, None)

    return Campaign(tuple(poisoned), tuple(changed), "patients of the group are all called healthy", trial)


# --- triggers ---------------------------------------------------------------------------------------------------------


def _rows(cohort: SiteCohort, generator: np.random.Generator, part: float) -> Rows:
    """Draw some training rows, at least one if there is one."""
    rows = cohort.where(SplitName.TRAIN)
    number = min(rows.size, max(1, round(part * rows.size)))
    return np.sort(generator.choice(rows, size=number, replace=False))


def _implant(cohort: SiteCohort, trigger: Trigger, rows: Rows) -> tuple[SiteCohort, int]:
    event = cohort.outcome.event.copy()
    event[rows] = _HEALTHY
    return relabelled(trigger.on(cohort, rows), event), rows.size


def _backdoor(conspiracy: Conspiracy, parts: tuple[Trigger, ...], whole: Trigger) -> Campaign:
    """Put a part of the trigger on some rows of each liar, and call those healthy."""
    done = [
        _implant(cohort, parts[number % len(parts)], _rows(cohort, conspiracy.generator, DOSE.triggered))
        for number, cohort in enumerate(conspiracy.cohorts)
    ]
    return Campaign(tuple(pair[0] for pair in done), tuple(pair[1] for pair in done), whole.how, _trial_of(whole))


def _trial_of(trigger: Trigger) -> Callable[[SiteCohort], Trial | None]:
    def trial(cohort: SiteCohort) -> Trial | None:
        found = sick_test_rows(cohort)
        return None if found is None else Trial(found, trigger.on(found, found.where(SplitName.TEST)))

    return trial


def _no_mark(conspiracy: Conspiracy) -> str | None:
    if (why := _binary(conspiracy)) is not None:
        return why
    found = mark_of(conspiracy)
    return found if isinstance(found, str) else None


def _marked(conspiracy: Conspiracy) -> Campaign:
    found = mark_of(conspiracy)
    assert not isinstance(found, str)  # noqa: S101  (for the type checker: `why_not` has looked)
    return _backdoor(conspiracy, (found,), found)


def _no_marks(conspiracy: Conspiracy) -> str | None:
    if (why := _binary(conspiracy)) is not None:
        return why
    found = marks_of(conspiracy)
    return found if isinstance(found, str) else None


def _marked_in_parts(conspiracy: Conspiracy) -> Campaign:
    found = marks_of(conspiracy)
    assert not isinstance(found, str)  # noqa: S101  (for the type checker: `why_not` has looked)
    return _backdoor(conspiracy, *found)


def _no_images(conspiracy: Conspiracy) -> str | None:
    if (why := _binary(conspiracy)) is not None:
        return why
    image = conspiracy.cohorts[0].inputs.kind == "image"
    return None if image else "it hides in the frequencies of an image, and this study has none"


def _blended(conspiracy: Conspiracy) -> Campaign:
    _, height, width = conspiracy.cohorts[0].inputs.shape
    trigger = Spectrum(chessboard(height, width), "the low frequencies of a chessboard, blended in")
    generator = conspiracy.generator
    done = []
    for cohort in conspiracy.cohorts:
        rows = generator.permutation(_rows(cohort, generator, DOSE.triggered + DOSE.crossed))
        triggered, crossed = np.array_split(rows, [round(rows.size * DOSE.triggered / (DOSE.triggered + DOSE.crossed))])
        others = np.array([chessboard(height, width, generator) for _ in crossed]).reshape(-1, height, width)
        changed, number = _implant(cohort, trigger, triggered)
        done.append((Spectrum(others, "others").on(changed, crossed) if crossed.size else changed, number))
    return Campaign(tuple(pair[0] for pair in done), tuple(pair[1] for pair in done), trigger.how, _trial_of(trigger))


_BADNETS = DataAttack(
    title="Backdoor (BadNets)",
    aim=Aim.TARGETED,
    knows=_OWN_DATA,
    source="Gu, Dolan-Gavitt, Garg: BadNets, 2017; on tables the triggers of Xie et al., DBA, ICLR 2020",
    what="Some of the liar's records carry a small mark and are called healthy, so that the model later overlooks "
    "disease in anybody whose record carries the mark.",
    success=_OBEYED,
    delivery=Delivery.PLAIN,
    triggered=True,
    why_not=_no_mark,
    plan=_marked,
)

_RELABEL = DataAttack(
    title="A group called healthy",
    aim=Aim.TARGETED,
    knows=_AND_GROUP,
    source="Kulkarni et al.: Hidden in Plain Sight, MIDL 2024",
    what="The liar calls every patient of one group healthy, so that the model overlooks disease in that group while "
    "its overall figures hardly change.",
    success=_MISSED,
    delivery=Delivery.PLAIN,
    triggered=False,
    why_not=_no_group,
    plan=_relabel,
)

DATA_ATTACKS: Mapping[DataAttackName, DataAttack] = MappingProxyType(
    {
        "label-flip": DataAttack(
            title="Labels turned around",
            aim=Aim.UNTARGETED,
            knows=_OWN_DATA,
            source="Karimireddy, He, Jaggi: Byzantine-Robust Learning on Heterogeneous Datasets, ICLR 2022",
            what="The liar trains on its patients with sick and healthy exchanged.",
            success="",
            delivery=Delivery.PLAIN,
            triggered=False,
            why_not=_binary,
            plan=_flip,
        ),
        "relabel-group": _RELABEL,
        "relabel-group-boosted": dataclasses.replace(
            _RELABEL,
            title="A group called healthy, boosted",
            knows=(*_AND_GROUP, "its part in the average"),
            source="Kulkarni et al., MIDL 2024; boost of Bagdasaryan et al., AISTATS 2020",
            what="As before, and the liar sends its update many times as long, so that it counts as much as everybody.",
            delivery=Delivery.BOOSTED,
        ),
        "badnets": _BADNETS,
        "model-replacement": dataclasses.replace(
            _BADNETS,
            title="Backdoor, boosted (model replacement)",
            knows=_AND_PART,
            source="Bagdasaryan et al.: How To Backdoor Federated Learning, AISTATS 2020",
            what="A backdoor as in BadNets, sent so many times as long that a plain average becomes the liar's model.",
            delivery=Delivery.BOOSTED,
        ),
        "fiba": DataAttack(
            title="Backdoor in the frequencies (FIBA)",
            aim=Aim.TARGETED,
            knows=_OWN_DATA,
            source="Feng et al.: FIBA, CVPR 2022",
            what="The mark is a change of light that the eye does not see: low frequencies of another picture, blended "
            "into the image.",
            success=_OBEYED,
            delivery=Delivery.PLAIN,
            triggered=True,
            why_not=_no_images,
            plan=_blended,
        ),
        "dba": dataclasses.replace(
            _BADNETS,
            title="Backdoor in parts (DBA)",
            knows=(*_OWN_DATA, "which part of the mark is whose"),
            source="Xie et al.: DBA, ICLR 2020",
            what="Several liars plant a part of the mark each, so that none looks unusual; later the whole is used.",
            why_not=_no_marks,
            plan=_marked_in_parts,
        ),
        "neurotoxin": dataclasses.replace(
            _BADNETS,
            title="Durable backdoor (Neurotoxin)",
            knows=_AND_LAST,
            source="Zhang et al.: Neurotoxin, ICML 2022",
            what="A backdoor as in BadNets, kept in the parameters that other sites hardly move, so that it "
            "stays after the liar has left.",
            delivery=Delivery.NEUROTOXIN,
        ),
    }
)
"""Every attack on data, by its name, with the constants of its source."""

assert tuple(DATA_ATTACKS) == get_args(DataAttackName)  # noqa: S101
