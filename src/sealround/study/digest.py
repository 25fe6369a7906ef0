"""The digest that pins a study: what every site agreed to, whatever the file looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealround.study.sections import Study

__all__ = ["study_digest"]

_LABEL = "sealround study v1"


def study_digest(study: Study) -> bytes:
    """Return the SHA-256 over the canonical encoding of a study's validated values, defaults included.

    Comments, the order of keys, layout and the spelling of a number (``1`` or ``1.0`` where a real number is asked for)
    do not change it; every change of a value does.

    Args:
        study: The study as every site agreed to it.

    Returns:
        32 bytes.
    """
    from sealround import wire  # noqa: PLC0415  (numpy comes with it: half the time of importing this package)

    return wire.digest([_LABEL, study.model_dump(mode="python")])
