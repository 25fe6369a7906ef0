"""Pages from evidence, each one self-contained HTML file: a run's for a clinician, a drill's for a security officer."""

from sealround.report.drill import render_drill
from sealround.report.page import render

__all__ = ["render", "render_drill"]
