"""Secure aggregation: the sum of the sites' updates, and of none of them alone.

Building blocks so far: no study can switch it on yet.
"""

from sealround.secagg.fixed_point import FixedPoint, clip
from sealround.secagg.manifest import RoundManifest, quorum
from sealround.secagg.policy import RoundRecord, SitePolicy, VolatileRecord

__all__ = ["FixedPoint", "RoundManifest", "RoundRecord", "SitePolicy", "VolatileRecord", "clip", "quorum"]
