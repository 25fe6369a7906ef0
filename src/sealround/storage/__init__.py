"""What stays on disk: folders of runs, drills and audits, the journal of a killed run, a site's records of its own."""

from sealround.storage.audit_folder import AuditFolder
from sealround.storage.drill_folder import DrillFolder
from sealround.storage.files import file_name, file_names, write_atomically
from sealround.storage.journal import Checkpoint, Journal
from sealround.storage.privacy_budget import PrivacyBudget, PrivacyEntry, PrivacyLimit, budget_entries
from sealround.storage.round_record import DurableRecord
from sealround.storage.run_folder import RunFolder
from sealround.storage.updates import StoredUpdates

__all__ = [
    "AuditFolder",
    "Checkpoint",
    "DrillFolder",
    "DurableRecord",
    "Journal",
    "PrivacyBudget",
    "PrivacyEntry",
    "PrivacyLimit",
    "RunFolder",
    "StoredUpdates",
    "budget_entries",
    "file_name",
    "file_names",
    "write_atomically",
]
