"""What stays on disk: the run folder, and the journal that lets a killed run go on."""

from sealround.storage.files import write_atomically
from sealround.storage.journal import Checkpoint, Journal
from sealround.storage.run_folder import RunFolder

__all__ = ["Checkpoint", "Journal", "RunFolder", "write_atomically"]
