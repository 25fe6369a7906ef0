"""Every message between coordinator and site, and its encoding.

A message travels in an `Envelope` that names the session (which study, which job), the step of the
coordinator's protocol it belongs to, and its type. A decoder takes exactly the fields of that type, each checked, or
refuses the message and names its sender. The table of who may say what when is in `coordinator` and `site`.

=============  ============================  =======================================================
Request        Reply                         What it is for
=============  ============================  =======================================================
`Join`         `Joined`                      same study? what do inputs look like?
`AskLevels`    `Levels`                      levels of categorical features the study leaves open
`AskCounts`    `Sums`                        counts and sums, first pass of the statistics
`AskSquares`   `Sums`                        squared distances, second pass
`Prepare`      `Prepared`                    encode inputs with the joint statistics
`Train`        `Trained`                     one round
`Validate`     `Sums`                        tally of the released model
`AskGroups`    `Sums`                        whom of each group two models get wrong
`Evaluate`     `Evaluated`                   test results of the released model
any            `Refused`                     the site cannot, and says why (never a patient's value)
=============  ============================  =======================================================

With secure aggregation on, the replies `Sums`, `Trained` and `Evaluated` are never sent. A request for one of them
goes out as `SealedOrder`, with the first message of a round of secure aggregation beside it; `SealedStep` carries the
others, and `SealedAnswer` what the site's machine says to each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeAlias, TypeVar, cast

import numpy as np

from sealround import wire
from sealround.errors import MalformedMessageError, PolicyDeniedError, UsageError
from sealround.fairness.cells import COMPARED
from sealround.federation.groups import Group
from sealround.federation.interfaces import Contender, InputShape
from sealround.federation.statistics import Layout, Statistics

if TYPE_CHECKING:
    from sealround.errors import SealroundError
    from sealround.vocabulary import PartyId, RoundId, Tally, Update

__all__ = [
    "AskCounts",
    "AskGroups",
    "AskLevels",
    "AskSquares",
    "Envelope",
    "Evaluate",
    "Evaluated",
    "Join",
    "Joined",
    "Levels",
    "Message",
    "Prepare",
    "Prepared",
    "Refused",
    "SealedAnswer",
    "SealedOrder",
    "SealedStep",
    "Sums",
    "Train",
    "Trained",
    "Validate",
    "comparisons_size",
    "pack",
    "unpack",
]

VERSION = 1
_MAX_TEXT = 4096
_T = TypeVar("_T")
_Refuse: TypeAlias = Callable[[str], NoReturn]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one field is written and read; ``read`` calls ``refuse`` on anything unexpected."""

    read: Callable[[wire.Value, _Refuse], Any]
    write: Callable[[Any], wire.Value] = lambda value: value


def _instance(kind: type[_T], what: str) -> Callable[[wire.Value, _Refuse], _T]:
    def read(value: wire.Value, refuse: _Refuse) -> _T:
        # bool is an int to Python, never to us.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            refuse(f"is not {what}")
        return value

    return read


def _text(value: wire.Value, refuse: _Refuse) -> str:
    text = _instance(str, "text")(value, refuse)
    if len(text) > _MAX_TEXT:
        refuse(f"is longer than {_MAX_TEXT} characters")
    return text


def _hash(value: wire.Value, refuse: _Refuse) -> bytes:
    data = _instance(bytes, "bytes")(value, refuse)
    if len(data) != 32:  # noqa: PLR2004  (SHA-256)
        refuse("is not 32 bytes")
    return data


def _natural(value: wire.Value, refuse: _Refuse) -> int:
    number = _instance(int, "an integer")(value, refuse)
    if number < 0:
        refuse("is negative")
    return number


def _array(dtype: str) -> Callable[[wire.Value, _Refuse], np.ndarray]:
    expected = np.dtype(dtype)

    def read(value: wire.Value, refuse: _Refuse) -> np.ndarray:
        if not isinstance(value, np.ndarray) or value.dtype != expected or value.ndim != 1:
            refuse(f"is not a one-dimensional {expected.name} array")
        return value

    return read


def _optional(read: Callable[[wire.Value, _Refuse], _T]) -> Callable[[wire.Value, _Refuse], _T | None]:
    return lambda value, refuse: None if value is None else read(value, refuse)


def _tree(value: wire.Value, refuse: _Refuse) -> dict[str, wire.Value]:
    return _instance(dict, "a map")(value, refuse)


def _texts(value: wire.Value, refuse: _Refuse) -> tuple[str, ...]:
    return tuple(_text(item, refuse) for item in _instance(tuple, "a list")(value, refuse))


def _levels(value: wire.Value, refuse: _Refuse) -> dict[str, tuple[str, ...]]:
    levels = {_text(name, refuse): _texts(found, refuse) for name, found in _tree(value, refuse).items()}
    if any(len(set(found)) != len(found) for found in levels.values()):
        refuse("repeats a level")
    return levels


def _input_shape(value: wire.Value, refuse: _Refuse) -> InputShape:
    pair = _instance(tuple, "a list")(value, refuse)
    if len(pair) != 2 or pair[0] not in ("table", "vector", "image") or not isinstance(pair[1], tuple):  # noqa: PLR2004
        refuse("is not an input shape")
    kind = cast(Literal["table", "vector", "image"], pair[0])
    return InputShape(kind, tuple(_natural(size, refuse) for size in pair[1]))


_LAYOUT_KEYS = {"numeric", "categories"}
_STATISTICS_KEYS = {"examples", "positives", "present", "mean", "scale", "level_counts"}


def _keys(value: dict[str, wire.Value], expected: set[str], refuse: _Refuse) -> None:
    if set(value) != expected:
        refuse(f"has keys other than {', '.join(sorted(expected))}")


def _layout(value: wire.Value, refuse: _Refuse) -> Layout:
    fields = _tree(value, refuse)
    _keys(fields, _LAYOUT_KEYS, refuse)
    categories = []
    for entry in _instance(tuple, "a list")(fields["categories"], refuse):
        pair = _instance(tuple, "a list")(entry, refuse)
        if len(pair) != 2:  # noqa: PLR2004
            refuse("holds a category that is not [name, levels]")
        categories.append((_text(pair[0], refuse), _texts(pair[1], refuse)))
    return Layout(_texts(fields["numeric"], refuse), tuple(categories))


def _statistics(value: wire.Value, refuse: _Refuse) -> Statistics:
    fields = _tree(value, refuse)
    _keys(fields, _LAYOUT_KEYS | _STATISTICS_KEYS, refuse)
    layout = _layout({key: fields[key] for key in _LAYOUT_KEYS}, refuse)
    arrays = {key: _array("<f8")(fields[key], refuse) for key in ("present", "mean", "scale", "level_counts")}
    width, levels = len(layout.numeric), sum(len(levels) for _, levels in layout.categories)
    if any(arrays[key].size != size for key, size in zip(arrays, (width, width, width, levels), strict=True)):
        refuse("has arrays that do not fit its layout")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        refuse("holds a number that is not finite")
    number = _instance(float, "a float")
    return Statistics(layout, number(fields["examples"], refuse), number(fields["positives"], refuse), **arrays)


def _floats(value: wire.Value, refuse: _Refuse) -> tuple[float, ...]:
    return tuple(_instance(float, "a float")(item, refuse) for item in _instance(tuple, "a list")(value, refuse))


_CONTENDER_KEYS = {"model", "threshold", "slope", "intercept", "statistics", "group_thresholds"}


def _contender(value: wire.Value, refuse: _Refuse) -> Contender:
    fields = _tree(value, refuse)
    _keys(fields, _CONTENDER_KEYS, refuse)
    threshold, slope, intercept = (
        _instance(float, "a float")(fields[key], refuse) for key in ("threshold", "slope", "intercept")
    )
    if not np.isfinite([threshold, slope, intercept]).all():
        refuse("holds a number that is not finite")
    statistics = _optional(_statistics)(fields["statistics"], refuse)
    by_group = _floats(fields["group_thresholds"], refuse)
    return Contender(_array("<f4")(fields["model"], refuse), threshold, slope, intercept, statistics, by_group)


def _contenders(value: wire.Value, refuse: _Refuse) -> tuple[Contender, ...]:
    return tuple(_contender(item, refuse) for item in _instance(tuple, "a list")(value, refuse))


def _written(contender: Contender) -> wire.Value:
    return {
        "model": contender.model,
        "threshold": contender.threshold,
        "slope": contender.slope,
        "intercept": contender.intercept,
        "statistics": None if contender.statistics is None else contender.statistics.to_wire(),
        "group_thresholds": list(contender.group_thresholds),
    }


def _groups(value: wire.Value, refuse: _Refuse) -> tuple[Group, ...]:
    groups = []
    for entry in _instance(tuple, "a list")(value, refuse):
        terms = [_texts(term, refuse) for term in _instance(tuple, "a list")(entry, refuse)]
        if any(len(term) != 2 for term in terms):  # noqa: PLR2004
            refuse("holds a term that is not [column, level]")
        try:
            groups.append(Group(tuple((column, level) for column, level in terms)))
        except UsageError as error:
            refuse(f"holds what is no group: {error.message}")
    if len(set(groups)) != len(groups):
        refuse("repeats a group")
    return tuple(groups)


# What a dataclass field below is made of: `dataclasses.field(metadata=...)` carries it to `pack` and `unpack`.
TEXT = {"kind": _Kind(_text)}
HASH = {"kind": _Kind(_hash)}
NATURAL = {"kind": _Kind(_natural)}
FLOAT = {"kind": _Kind(_instance(float, "a float"))}
OPTIONAL_FLOAT = {"kind": _Kind(_optional(_instance(float, "a float")))}
UPDATE = {"kind": _Kind(_array("<f4"))}
OPTIONAL_UPDATE = {"kind": _Kind(_optional(_array("<f4")))}
TALLY = {"kind": _Kind(_array("<f8"))}
OPTIONAL_TALLY = {"kind": _Kind(_optional(_array("<f8")))}
BYTES = {"kind": _Kind(_instance(bytes, "bytes"))}
TREE = {"kind": _Kind(_tree)}
LEVELS = {"kind": _Kind(_levels)}
BOOL = {"kind": _Kind(_instance(bool, "a yes or no"))}
FLOATS = {"kind": _Kind(_floats, list)}
CONTENDER = {"kind": _Kind(_contender, _written)}
CONTENDERS = {"kind": _Kind(_contenders, lambda contenders: [_written(contender) for contender in contenders])}
GROUPS = {"kind": _Kind(_groups, lambda groups: [[list(term) for term in group.terms] for group in groups])}
INPUT_SHAPE = {"kind": _Kind(_input_shape, lambda inputs: [inputs.kind, list(inputs.shape)])}
LAYOUT = {"kind": _Kind(_layout, lambda layout: layout.to_wire())}
STATISTICS = {"kind": _Kind(_statistics, lambda statistics: statistics.to_wire())}


@dataclass(frozen=True, slots=True)
class Join:
    """Is this the study you agreed to?"""

    type: ClassVar = "join"
    study_digest: bytes = field(metadata=HASH)
    job: str = field(metadata=TEXT)


@dataclass(frozen=True, slots=True)
class Joined:
    """Yes; this is what my inputs look like, and which groups of patients I tell apart."""

    type: ClassVar = "joined"
    inputs: InputShape = field(metadata=INPUT_SHAPE)
    layout: Layout = field(metadata=LAYOUT)
    groups: tuple[Group, ...] = field(default=(), metadata=GROUPS)


@dataclass(frozen=True, slots=True)
class AskLevels:
    """Which levels do your categorical features have?"""

    type: ClassVar = "ask-levels"


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels that at least the minimum number of my training patients have, by feature."""

    type: ClassVar = "levels"
    levels: Mapping[str, tuple[str, ...]] = field(metadata=LEVELS)


@dataclass(frozen=True, slots=True)
class AskCounts:
    """Your counts and sums, laid out like this."""

    type: ClassVar = "ask-counts"
    layout: Layout = field(metadata=LAYOUT)


@dataclass(frozen=True, slots=True)
class AskSquares:
    """Your squared distances from this mean."""

    type: ClassVar = "ask-squares"
    layout: Layout = field(metadata=LAYOUT)
    mean: Tally = field(metadata=TALLY)


@dataclass(frozen=True, slots=True)
class Sums:
    """Numbers that only matter as their sum over sites."""

    type: ClassVar = "sums"
    values: Tally = field(metadata=TALLY)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Encode your inputs with these statistics from now on."""

    type: ClassVar = "prepare"
    statistics: Statistics = field(metadata=STATISTICS)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Done."""

    type: ClassVar = "prepared"


@dataclass(frozen=True, slots=True)
class Train:
    """Train this model for one round."""

    type: ClassVar = "train"
    round: RoundId = field(metadata=NATURAL)
    model: Update = field(metadata=UPDATE)
    candidate: Update | None = field(metadata=OPTIONAL_UPDATE)
    control: Update | None = field(metadata=OPTIONAL_UPDATE)
    weights: Tally | None = field(default=None, metadata=OPTIONAL_TALLY)
    clip_norm: float | None = field(default=None, metadata=OPTIONAL_FLOAT)


@dataclass(frozen=True, slots=True)
class Trained:
    """My update."""

    type: ClassVar = "trained"
    update: Update = field(metadata=UPDATE)
    weight: float = field(metadata=FLOAT)
    tally: Tally = field(metadata=TALLY)
    control: Update | None = field(metadata=OPTIONAL_UPDATE)


@dataclass(frozen=True, slots=True)
class Validate:
    """The validation tally of this model, please."""

    type: ClassVar = "validate"
    model: Update = field(metadata=UPDATE)


@dataclass(frozen=True, slots=True)
class AskGroups:
    """Compare this model with others on your validation patients, group by group."""

    type: ClassVar = "ask-groups"
    groups: tuple[Group, ...] = field(metadata=GROUPS)
    candidate: Contender = field(metadata=CONTENDER)
    references: tuple[Contender, ...] = field(metadata=CONTENDERS)
    own: bool = field(metadata=BOOL)


def comparisons_size(request: AskGroups) -> int:
    """Count the numbers that answer a request for comparisons: a row for everybody and each group, of each."""
    return (len(request.references) + request.own) * (1 + len(request.groups)) * COMPARED


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Test this model."""

    type: ClassVar = "evaluate"
    statistics: Statistics = field(metadata=STATISTICS)
    model: Update = field(metadata=UPDATE)
    threshold: float = field(metadata=FLOAT)
    slope: float = field(metadata=FLOAT)
    intercept: float = field(metadata=FLOAT)
    group_thresholds: tuple[float, ...] = field(default=(), metadata=FLOATS)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """My test results."""

    type: ClassVar = "evaluated"
    result: Mapping[str, wire.Value] = field(metadata=TREE)


@dataclass(frozen=True, slots=True)
class Refused:
    """I cannot: the ``code`` of an error class, its message and its hint."""

    type: ClassVar = "refused"
    code: str = field(metadata=TEXT)
    reason: str = field(metadata=TEXT)
    hint: str = field(metadata=TEXT)

    @classmethod
    def of(cls, error: SealroundError) -> Refused:
        """Put an error into words that travel: of a denial, every rule that said no."""
        decision = error.decision if isinstance(error, PolicyDeniedError) else ()
        return cls(error.code, "; ".join((error.message, *decision))[:_MAX_TEXT], error.hint[:_MAX_TEXT])


@dataclass(frozen=True, slots=True)
class SealedOrder:
    """Answer this request with a sealed sum: the packed request, and the first message of its round.

    To a party that adds up and holds no records, the request is empty.
    """

    type: ClassVar = "sealed-order"
    order: bytes = field(metadata=BYTES)
    payload: bytes = field(metadata=BYTES)


@dataclass(frozen=True, slots=True)
class SealedStep:
    """The next message of the round."""

    type: ClassVar = "sealed-step"
    payload: bytes = field(metadata=BYTES)


@dataclass(frozen=True, slots=True)
class SealedAnswer:
    """What my machine says to it."""

    type: ClassVar = "sealed-answer"
    payload: bytes = field(metadata=BYTES)


Message: TypeAlias = (
    Join | Joined | AskLevels | Levels | AskCounts | AskSquares | Sums | Prepare | Prepared
    | Train | Trained | Validate | AskGroups | Evaluate | Evaluated | SealedOrder | SealedStep | SealedAnswer | Refused
)  # fmt: skip

_CLASSES: dict[str, type[Message]] = {cls.type: cls for cls in Message.__args__}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its place.

    Attributes:
        session: SHA-256 that names study and job (32 bytes).
        step: Which step of the coordinator's protocol the request belongs to; a reply repeats it.
        message: What is said.
    """

    session: bytes
    step: int
    message: Message


def _is_default(entry: dataclasses.Field[Any], value: object) -> bool:
    """Whether a field may be left out; of an array, whose default is nothing, no equality is asked."""
    if entry.default is dataclasses.MISSING or isinstance(value, np.ndarray):
        return False
    return bool(value == entry.default)


def pack(envelope: Envelope) -> bytes:
    """Encode an envelope canonically; a field that has a default and equals it is left out."""
    message = envelope.message
    values = {entry: getattr(message, entry.name) for entry in dataclasses.fields(message)}
    body = {
        entry.name: entry.metadata["kind"].write(value)
        for entry, value in values.items()
        if not _is_default(entry, value)
    }
    return wire.encode(
        {"v": VERSION, "session": envelope.session, "step": envelope.step, "type": message.type, "body": body}
    )


def unpack(data: bytes, *, sender: PartyId) -> Envelope:
    """Decode an envelope from ``sender``; arrays are read-only views into ``data``.

    Raises:
        MalformedMessageError: If it is anything but one canonical envelope with exactly the fields of its type.
    """

    def refuse(why: str) -> NoReturn:
        msg = f"sent an invalid message: {why}"
        raise MalformedMessageError(msg, party=sender)

    outer = wire.decode(data, sender=sender)
    if not isinstance(outer, dict) or set(outer) != {"v", "session", "step", "type", "body"}:
        refuse("not an envelope")
    if outer["v"] != VERSION:
        refuse(f"its format is not version {VERSION}")
    cls = _CLASSES.get(outer["type"]) if isinstance(outer["type"], str) else None
    if cls is None:
        refuse("unknown type")
    body = outer["body"]
    entries = {entry.name: entry for entry in dataclasses.fields(cls)}
    needed = {name for name, entry in entries.items() if entry.default is dataclasses.MISSING}
    if not isinstance(body, dict) or not needed <= set(body) <= set(entries):
        refuse(f"{cls.type} has fields other than {', '.join(entries) or 'none'}")
    values = {}
    for name in body:
        kind = entries[name].metadata["kind"]
        values[name] = kind.read(body[name], lambda why, name=name: refuse(f"{cls.type}.{name} {why}"))
        if _is_default(entries[name], values[name]):
            refuse(f"{cls.type}.{name} says what is left out")
    return Envelope(
        session=_hash(outer["session"], lambda why: refuse(f"session {why}")),
        step=_natural(outer["step"], lambda why: refuse(f"step {why}")),
        message=cls(**values),
    )
