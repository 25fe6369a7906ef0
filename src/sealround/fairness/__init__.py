"""How groups of patients fare under a model, and whether one of them is harmed: counts in, intervals and verdicts out.

Pure: arrays and numbers, no study, no message, no clock.
"""

from sealround.fairness.comparison import Assessment, GateRules, Metric, Verdict, assess

__all__ = ["Assessment", "GateRules", "Metric", "Verdict", "assess"]
