"""Pages from evidence, each one self-contained HTML file.

A run's for a clinician, a drill's for a security officer, a leakage audit's for a privacy officer.
"""

from sealround.report.audit import render_audit
from sealround.report.drill import render_drill
from sealround.report.page import render

__all__ = ["render", "render_audit", "render_drill"]
