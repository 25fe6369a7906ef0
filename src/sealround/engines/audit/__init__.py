"""The leakage audit: what each attacker of a study holds, attacked."""
