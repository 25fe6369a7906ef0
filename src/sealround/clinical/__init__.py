"""From the data of a study to the sites' cohorts, and from cohorts to model inputs."""

from sealround.clinical.builtin import BUILTIN, Builtin
from sealround.clinical.card import cohort_card
from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.clinical.cohorts import load_cohorts
from sealround.clinical.encoding import Encoded, Encoder
from sealround.clinical.places import Places, default_data_folder

__all__ = [
    "BUILTIN",
    "Builtin",
    "Encoded",
    "Encoder",
    "Outcome",
    "Places",
    "SiteCohort",
    "SplitName",
    "cohort_card",
    "default_data_folder",
    "load_cohorts",
]
