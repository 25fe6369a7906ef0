"""Gradient inversion: from an update back to the records it was made from.

`sealround.audit.inversion.observation` says what an attacker has and what an attack returns.
"""
