"""For tests, ours and yours: a site that needs numpy only, and a network that loses, repeats and forges messages."""

from sealround.testing.network import Fault, Network
from sealround.testing.parties import sealed_training
from sealround.testing.studies import small_study
from sealround.testing.work import ClippingWork, GroupedWork, NumpyWork, zero_model

__all__ = [
    "ClippingWork",
    "Fault",
    "GroupedWork",
    "Network",
    "NumpyWork",
    "sealed_training",
    "small_study",
    "zero_model",
]
