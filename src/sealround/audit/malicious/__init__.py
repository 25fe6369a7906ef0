"""A malicious coordinator: models whose updates give records away, and the formulas that read them.

Each attack is a pair: `plant_...` returns parameters to send, `extract_...` returns records from the update that came
back. The architecture, the loss and the plan of training are in the study file, whose digest all sites agreed to: a
coordinator sets values and nothing else. Against all of this stands a site's check of what it is sent
(`sealround.learning.incoming`).
"""

from sealround.audit.malicious.fishing import Sweep, extract_sweep, plant_class, plant_sweep
from sealround.audit.malicious.imprint import Candidates, Imprint, ImprintOptions, extract_imprint, plant_imprint
from sealround.audit.malicious.inconsistent import plant_silence
from sealround.audit.malicious.thumbnails import plant_copies, thumbnails
from sealround.audit.malicious.traps import Traps, agreeing, extract_rows, extract_traps, plant_traps

__all__ = [
    "Candidates",
    "Imprint",
    "ImprintOptions",
    "Sweep",
    "Traps",
    "agreeing",
    "extract_imprint",
    "extract_rows",
    "extract_sweep",
    "extract_traps",
    "plant_class",
    "plant_copies",
    "plant_imprint",
    "plant_silence",
    "plant_sweep",
    "plant_traps",
    "thumbnails",
]
