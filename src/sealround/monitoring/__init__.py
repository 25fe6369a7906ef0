"""What a site looks at before it trusts: signs that a model it was sent is made to give records away.

Pure: named arrays in, findings out; no study, no message, no clock.
"""

from sealround.monitoring.findings import LIMITS, Before, Finding, Limits, Reach, Sign
from sealround.monitoring.incoming_model import (
    change_findings,
    start_findings,
    structure_findings,
    use_findings,
)

__all__ = [
    "LIMITS",
    "Before",
    "Finding",
    "Limits",
    "Reach",
    "Sign",
    "change_findings",
    "start_findings",
    "structure_findings",
    "use_findings",
]
