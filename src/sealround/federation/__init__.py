"""One training as two state machines without IO: a `Coordinator`, and a `Site` for each hospital.

Opaque bytes go to a named party; a reply, or a deadline, comes back. The same two machines run in one process, over a
network, or in a test that drops and forges messages.
"""

from sealround.federation.coordinator import Coordinator, Send, Stage
from sealround.federation.interfaces import (
    EvaluateOrder,
    InputShape,
    LocalWork,
    ModelFactory,
    TrainOrder,
    TrainOutcome,
)
from sealround.federation.plan import Plan
from sealround.federation.records import Exclusion, RoundRecord, TrainedModel
from sealround.federation.site import Site
from sealround.federation.statistics import Layout, Statistics

__all__ = [
    "Coordinator",
    "EvaluateOrder",
    "Exclusion",
    "InputShape",
    "Layout",
    "LocalWork",
    "ModelFactory",
    "Plan",
    "RoundRecord",
    "Send",
    "Site",
    "Stage",
    "Statistics",
    "TrainOrder",
    "TrainOutcome",
    "TrainedModel",
]
