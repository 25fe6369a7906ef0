"""Model inconsistency: every site but one is sent a model it can learn nothing at, and the sum is that one's update.

Secure aggregation hides whose update is whose in a sum. If all but one are nothing, that is no secret.

Sources: D. Pasquini, D. Francati, G. Ateniese, "Eluding Secure Aggregation in Federated Learning via Model
Inconsistency", CCS 2022, section 4 ("gradient suppression"). LOKI (J. C. Zhao, A. Sharma, A. R. Elkordy, Y. H.
Ezzeldin, S. Avestimehr, S. Bagchi, "Loki: Large-Scale Data Reconstruction Attack against Federated Learning through
Model Manipulation", S&P 2024, section 4) sends each site convolutions of its own, and so tells all of them apart.
Differences: LOKI adds a layer; here each site could at most be given planted rows of its own in the same layer.

Sealed sums refuse this before any update is made: the hash of the request, model included, is in the round's manifest,
which every site's masks or shares hang on (`sealround.federation.contributions.order_hash`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.malicious.layers import dense_layers, rows_of

if TYPE_CHECKING:
    from sealround.learning.models import Network
    from sealround.vocabulary import Update

__all__ = ["plant_silence"]


def plant_silence(network: Network, reference: Update, depth: float = 1e4) -> Update:
    """Let a network's gradient be nothing, but for the head's bias.

    The head's weights are 0, so nothing flows below it; the neurons of the last hidden linear layer never fire, so the
    head's weights themselves have no gradient and stay 0 in later steps. A network without a hidden linear layer keeps
    the gradient of its head, in the first step only that; a linear model cannot be silenced.

    Args:
        network: The study's model.
        reference: The model to plant into, float32 ``(d,)``; it is not changed.
        depth: How far below 0 the last hidden layer is.

    Returns:
        What is sent to those who shall not be heard, float32 ``(d,)``.
    """
    *hidden, head = dense_layers(network)
    vector = np.array(reference, dtype=np.float32)
    _, bias = rows_of(vector, head)
    head.put(vector, np.zeros((head.outputs, head.inputs)), bias if head.has_bias else None)
    if hidden:
        vector[hidden[-1].bias] = -depth
    return vector
