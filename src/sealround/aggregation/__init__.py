"""From the updates of a round to one: rules that withstand sites that lie.

Array in, array out, and who was kept: no rule knows a study, a message or a clock. `admit` first; then `aggregate` by
the name of a rule, or a rule itself.
"""

from sealround.aggregation.adaptive import adaptive
from sealround.aggregation.admission import Admission, Limits, admit, refusal
from sealround.aggregation.averaging import centered_clipping, fltrust, foolsgold, mean, norm_clipping
from sealround.aggregation.conditions import RULES, RuleName, fewest_sites, most_byzantine, require
from sealround.aggregation.coordinates import coordinate_median, mean_near_median, trimmed_mean
from sealround.aggregation.memory import Remembered, remember
from sealround.aggregation.mixing import nearest_neighbor_mixing
from sealround.aggregation.outcome import Aggregate, Weighting
from sealround.aggregation.products import HISTORY, ORIGIN, ROOT, Gram, combine, gram
from sealround.aggregation.rules import COORDINATE_RULES, Known, Settings, aggregate, weigh
from sealround.aggregation.selection import dnc, flame, krum, multi_krum
from sealround.aggregation.shares import capped_shares
from sealround.aggregation.weiszfeld import geometric_median

__all__ = [
    "COORDINATE_RULES",
    "HISTORY",
    "ORIGIN",
    "ROOT",
    "RULES",
    "Admission",
    "Aggregate",
    "Gram",
    "Known",
    "Limits",
    "Remembered",
    "RuleName",
    "Settings",
    "Weighting",
    "adaptive",
    "admit",
    "aggregate",
    "capped_shares",
    "centered_clipping",
    "combine",
    "coordinate_median",
    "dnc",
    "fewest_sites",
    "flame",
    "fltrust",
    "foolsgold",
    "geometric_median",
    "gram",
    "krum",
    "mean",
    "mean_near_median",
    "most_byzantine",
    "multi_krum",
    "nearest_neighbor_mixing",
    "norm_clipping",
    "refusal",
    "remember",
    "require",
    "trimmed_mean",
    "weigh",
]
