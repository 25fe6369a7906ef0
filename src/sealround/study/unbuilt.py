"""Words that sealround knows and does not build yet: refused by name, with what to do instead, and never ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sealround.study.places import KeyPath
    from sealround.study.recovery import Recovery

__all__ = ["refuse_unbuilt"]


@dataclass(frozen=True, slots=True)
class _Unbuilt:
    """Words of one place.

    Attributes:
        path: The key whose value is one of `words`, or the table that has one of them as a key.
        words: Each with what it would do.
        instead: What to do now.
        go_on_with: Value of the whole table to read on with.
    """

    path: KeyPath
    words: dict[str, str]
    instead: str
    go_on_with: Any = None


_REASON = "not supported by this version"

_WORDS = (
    _Unbuilt(
        ("protection", "secure_aggregation", "mode"),
        {
            "shamir": "updates shared with a threshold",
            "homomorphic": "updates added up under encryption",
        },
        'mode = "pairwise" or "replicated", or "none" with a reason',
        {"mode": "none", "reason": _REASON},
    ),
    _Unbuilt(
        ("model", "kind"),
        {
            "unet": "segmentation",
            "densenet": "a densely connected network",
            "transformer": "a network with attention",
            "vit": "a vision transformer",
            "gradient-boosting": "boosted trees",
            "random-forest": "a forest of trees",
        },
        "another kind of model",
        {"kind": "logistic"},
    ),
    _Unbuilt(
        ("cohort", "source", "kind"),
        {
            "dicom": "a folder of DICOM images",
            "fhir": "a FHIR server or bundle",
            "omop": "an OMOP database",
            "sql": "a database query",
        },
        'export tables to kind = "csv" or "parquet", images to kind = "image-folder"',
        {"kind": "builtin", "name": "heart-disease"},
    ),
)

_SECTIONS = (
    _Unbuilt(
        (),
        {
            "monitoring": "watches for drift",
            "ledger": "keeps a tamper-evident log",
            "attestation": "checks each site's hardware and software",
            "policy": "decides who may do what",
            "identity": "names the keys of each site",
            "transport": "connects sites over a network",
        },
        "leave the section out",
    ),
    _Unbuilt(
        ("protection",),
        {
            "backdoor": "looks for planted triggers",
            "ledger": "keeps a tamper-evident log",
            "attestation": "checks each site's hardware and software",
            "encryption": "encrypts what is sent",
            "evasion": "trains against manipulated inputs",
        },
        "leave it out",
    ),
)


def refuse_unbuilt(recovery: Recovery) -> None:
    """Report every known but unbuilt word of a study file, and take it out of what is read on.

    Args:
        recovery: The file being read.
    """
    for place in _WORDS:
        table = _table(recovery.data, place.path[:-1])
        word = table.get(str(place.path[-1])) if table is not None else None
        if isinstance(word, str) and (meaning := place.words.get(_plain(word))) is not None:
            recovery.report(place.path, _refusal(meaning, place.instead))
            recovery.invent(place.path[:-1], place.go_on_with)
    for place in _SECTIONS:
        table = _table(recovery.data, place.path)
        for word in list(table or ()):
            if (meaning := place.words.get(_plain(word))) is not None:
                recovery.report((*place.path, word), _refusal(meaning, place.instead), mark="key")
                recovery.ignore((*place.path, word))


def _refusal(meaning: str, instead: str) -> str:
    return f"known, but not supported by this version ({meaning}); instead: {instead}"


def _plain(word: str) -> str:
    return word.casefold().replace("_", "-")


def _table(data: dict[str, Any], path: KeyPath) -> dict[str, Any] | None:
    table: Any = data
    for part in path:
        table = table.get(part) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else None
