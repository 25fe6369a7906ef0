"""Re-identification, linkage and properties of a cohort: what a reconstruction or an update says of whom.

`gallery` looks a rebuilt image up among many patients', `linkage` a rebuilt record in a list of people, `anonymity`
counts who shares what, and `property` reads a trait of all patients of a site off its update.
"""

from sealround.audit.identity.anonymity import CLASSES, Anonymity, anonymity
from sealround.audit.identity.gallery import Gallery, gallery_distances, pixels, relative_data_leakage, retrieve
from sealround.audit.identity.linkage import (
    CellErrors,
    LinkageResult,
    blind_posterior,
    blind_records,
    fitted_cell_errors,
    gower_distances,
    judge_linkage,
    link,
)
from sealround.audit.identity.property import (
    PropertyResult,
    cohort_with_share,
    infer_share,
    judge_presence,
    judge_share,
    presence_scores,
)
from sealround.audit.identity.ranking import Ranking, rank_people
from sealround.audit.identity.ridges import DEFAULT_SCALES, edge_map, vessel_map
from sealround.audit.identity.sketch import CountSketch, count_sketch

__all__ = [
    "CLASSES",
    "DEFAULT_SCALES",
    "Anonymity",
    "CellErrors",
    "CountSketch",
    "Gallery",
    "LinkageResult",
    "PropertyResult",
    "Ranking",
    "anonymity",
    "blind_posterior",
    "blind_records",
    "cohort_with_share",
    "count_sketch",
    "edge_map",
    "fitted_cell_errors",
    "gallery_distances",
    "gower_distances",
    "infer_share",
    "judge_linkage",
    "judge_presence",
    "judge_share",
    "link",
    "pixels",
    "presence_scores",
    "rank_people",
    "relative_data_leakage",
    "retrieve",
    "vessel_map",
]
