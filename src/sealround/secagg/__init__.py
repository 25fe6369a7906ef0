"""Secure aggregation: the sum of the sites' updates, and of none of them alone.

Building blocks so far: no study can switch it on yet.
"""

from sealround.secagg.fixed_point import FixedPoint, clip

__all__ = ["FixedPoint", "clip"]
