"""The page of a drill: what this study withstands when some of its sites lie, for a reader who is no statistician."""

from sealround.report.drill.page import render_drill

__all__ = ["render_drill"]
