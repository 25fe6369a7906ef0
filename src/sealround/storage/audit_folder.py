"""One leakage audit on disk: what was asked, each attack that was played, what came out.

====================  ================================================================================
``study.toml``        the study file, byte for byte
``audit-start.json``  how the audit was started: what was asked for, data folder, digests
``cells/``            one file for each attack that was played: what was measured, and no patient
``audit.json``        the evidence: every number of the report
``environment.json``  versions and machine
``report.html``       the page, which may be shared
``at-the-site/``      the worst-off patients' records beside what was rebuilt: stays here unless they are public
``lock``              held while a process works in the folder
====================  ================================================================================
"""

from __future__ import annotations

from typing import ClassVar

from sealround.storage.cell_folder import CellFolder

__all__ = ["AuditFolder"]


class AuditFolder(CellFolder):
    """An audit's folder; a part is an attack."""

    KIND: ClassVar[str] = "audit"
