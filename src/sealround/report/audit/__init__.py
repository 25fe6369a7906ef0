"""The page of an audit: what an attacker could rebuild from what this study sends, for a privacy officer."""

from sealround.report.audit.page import render_audit

__all__ = ["render_audit"]
