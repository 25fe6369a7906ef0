"""One drill on disk: what was asked, each training that is done, what came out.

====================  ================================================================================
``study.toml``        the study file, byte for byte
``drill-start.json``  how the drill was started: what was asked for, data folder, digests
``cells/``            one file for each training that is done: what was measured, and no patient
``drill.json``        the evidence: every number of the report
``environment.json``  versions and machine
``report.html``       the page
``lock``              held while a process works in the folder
====================  ================================================================================
"""

from __future__ import annotations

from typing import ClassVar

from sealround.storage.cell_folder import CellFolder

__all__ = ["DrillFolder"]


class DrillFolder(CellFolder):
    """A drill's folder; a part is a training."""

    KIND: ClassVar[str] = "drill"
