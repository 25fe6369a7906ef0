"""For tests, ours and yours: a site that needs numpy only, and a network that loses, repeats and forges messages."""

from sealround.testing.network import Fault, Network
from sealround.testing.studies import small_study
from sealround.testing.work import GroupedWork, NumpyWork, zero_model

__all__ = ["Fault", "GroupedWork", "Network", "NumpyWork", "small_study", "zero_model"]
