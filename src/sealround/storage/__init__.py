"""What stays on disk: folders of runs and drills, the journal a killed run goes on from, a site's record of rounds."""

from sealround.storage.drill_folder import DrillFolder
from sealround.storage.files import file_name, file_names, write_atomically
from sealround.storage.journal import Checkpoint, Journal
from sealround.storage.round_record import DurableRecord
from sealround.storage.run_folder import RunFolder
from sealround.storage.updates import StoredUpdates

__all__ = [
    "Checkpoint",
    "DrillFolder",
    "DurableRecord",
    "Journal",
    "RunFolder",
    "StoredUpdates",
    "file_name",
    "file_names",
    "write_atomically",
]
