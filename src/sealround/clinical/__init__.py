"""From the data of a study to the sites' cohorts, and from cohorts to model inputs."""

from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.clinical.cohorts import load_cohorts
from sealround.clinical.encoding import Encoded, Encoder
from sealround.clinical.places import Places, default_data_folder

__all__ = [
    "Encoded",
    "Encoder",
    "Outcome",
    "Places",
    "SiteCohort",
    "SplitName",
    "default_data_folder",
    "load_cohorts",
]
