"""Hospitals train one diagnostic model together without sharing patient records, and prove what they promise.

The parts are imported by name (``sealround.study``, ``sealround.federation``, ...), so that this import stays light.
"""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
