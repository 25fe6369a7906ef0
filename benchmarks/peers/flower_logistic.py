"""The peer of `round_overhead.py`: the same job under Flower's simulation, in an environment that has flwr 1.41.

    python benchmarks/peers/flower_logistic.py ARRAYS.npz ROUNDS STEPS BATCH LEARNING_RATE

Prints one JSON line: seconds of the whole call (Ray's start included, as a user waits for it).
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

ARRAYS, ROUNDS, STEPS, BATCH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
LEARNING_RATE = float(sys.argv[5])

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """STEPS of SGD on this site's rows."""
    torch.set_num_threads(1)
    site = int(context.node_config["partition-id"])
    with np.load(ARRAYS) as arrays:
        x, y = torch.from_numpy(arrays[f"x{site}"]), torch.from_numpy(arrays[f"y{site}"])
    model = torch.nn.Linear(x.shape[1], 1)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    rows = torch.randperm(len(x))
    for step in range(STEPS):
        batch = rows[(step * BATCH) % len(x) :][:BATCH]
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x[batch]).squeeze(1), y[batch])
        loss.backward()
        optimizer.step()
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(x)})})
    return Message(content=content, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """FedAvg over every site."""
    del context
    with np.load(ARRAYS) as arrays:
        features = arrays["x0"].shape[1]
    model = torch.nn.Linear(features, 1)
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0)
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=ROUNDS)


if __name__ == "__main__":
    with np.load(ARRAYS) as arrays_:
        sites = sum(name.startswith("x") for name in arrays_)
    start = time.perf_counter()
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=sites,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    print(json.dumps({"seconds": time.perf_counter() - start, "sites": sites}))
