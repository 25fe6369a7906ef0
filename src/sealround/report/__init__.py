"""The result page: a run's evidence as one self-contained HTML file a clinician can read."""

from sealround.report.page import render

__all__ = ["render"]
