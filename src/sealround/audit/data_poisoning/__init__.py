"""What sites that lie can do to their own records: attacks on labels, and backdoors, played on a study's cohorts.

In short::

    found = DATA_ATTACKS["badnets"]
    conspiracy = Conspiracy(study, cohorts_of_the_liars, generator, members)
    if (why := found.why_not(conspiracy)) is None:
        campaign = found.plan(conspiracy)

Liars train on ``campaign.poisoned``, and send what `deliver` makes of their updates. ``campaign.trial`` of an honest
site's cohort gives the patients on whom `count_successes` counts.
"""

from sealround.audit.data_poisoning.attacks import DATA_ATTACKS, DOSE, Dose
from sealround.audit.data_poisoning.campaign import (
    Campaign,
    Conspiracy,
    DataAttack,
    DataAttackName,
    Delivery,
    Trial,
    count_successes,
    deliver,
)

__all__ = [
    "DATA_ATTACKS",
    "DOSE",
    "Campaign",
    "Conspiracy",
    "DataAttack",
    "DataAttackName",
    "Delivery",
    "Dose",
    "Trial",
    "count_successes",
    "deliver",
]
