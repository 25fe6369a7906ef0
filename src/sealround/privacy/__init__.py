"""Differential privacy of patients: noise that is exact, what it is worth, and what is left to spend.

Pure functions on numbers. What a round adds, and where it is added, is `sealround.federation`'s and
`sealround.learning`'s.
"""
