"""What sites that lie can send: the published attacks on updates and labels, each with its source and threat model.

Every attack is a function: it takes what its threat model knows, and returns what malicious sites send. `ATTACKS` has
those on updates under a name; `play` makes one's lie of a `Scene`. None knows a study, a message or a clock, and what
is random comes from a generator that is passed in.
"""

from sealround.audit.poisoning.about import ABOUT, About, knowledge_of
from sealround.audit.poisoning.attacks import ATTACKS, Aim, Attack, AttackName, Knowledge, Lie, Scene, play
from sealround.audit.poisoning.durable import neurotoxin
from sealround.audit.poisoning.fang import fang_krum, fang_trimmed_mean
from sealround.audit.poisoning.labels import flip_labels, relabel_group
from sealround.audit.poisoning.mimicry import Mimicry, mimic, watch
from sealround.audit.poisoning.plain import (
    free_rider,
    gaussian,
    inflated_examples,
    inner_product_manipulation,
    model_replacement,
    not_finite,
    sign_flip,
)
from sealround.audit.poisoning.search import harm, line_search, optimal_alie, optimal_inner_product_manipulation
from sealround.audit.poisoning.spread import PERTURBATIONS, Perturbation, alie, alie_factor, min_max, min_sum

__all__ = [
    "ABOUT",
    "ATTACKS",
    "PERTURBATIONS",
    "About",
    "Aim",
    "Attack",
    "AttackName",
    "Knowledge",
    "Lie",
    "Mimicry",
    "Perturbation",
    "Scene",
    "alie",
    "alie_factor",
    "fang_krum",
    "fang_trimmed_mean",
    "flip_labels",
    "free_rider",
    "gaussian",
    "harm",
    "inflated_examples",
    "inner_product_manipulation",
    "knowledge_of",
    "line_search",
    "mimic",
    "min_max",
    "min_sum",
    "model_replacement",
    "neurotoxin",
    "not_finite",
    "optimal_alie",
    "optimal_inner_product_manipulation",
    "play",
    "relabel_group",
    "sign_flip",
    "watch",
]
