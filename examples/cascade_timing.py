"""How much time a cascade saves beside its last exit alone: one example at a time, and 256 at once.

python examples/cascade_timing.py RUN    # the folder of a finished cascade; without one a small one is made
"""

import sys
import time
from statistics import median
from typing import Any

import torch

import neural_branching as nb

ROUNDS = 9

if len(sys.argv) > 1:
    run = sys.argv[1]
else:
    data = nb.sources.Glyphs(
        train_per_class=60, test_per_class=20, split={"train": 0.4, "validation": 0.2, "calibration": 0.4}
    )
    parent = nb.parents.ConvNet(width=8, fit={"epochs": 4, "precision": "32-true"})
    cascade = nb.Cascade("digits", ["block1", "block2", "block3"], promise=nb.promises.Consistent(0.1))
    run = nb.Experiment(data, parent, cascade).run("outputs").folder

cascade = nb.load(run)
*_, last = cascade.tree.nodes
alone = cascade.only(last)


def seconds(predictor: Any, batches: list[Any]) -> float:
    """Time of a pass over some batches."""
    start = time.perf_counter()
    for batch in batches:
        predictor.predict(batch)
    return time.perf_counter() - start


print(f"{torch.get_num_threads()} threads, exits {', '.join(cascade.tree.nodes)}")
few = cascade.examples[:: max(1, len(cascade.examples) // 16)]
for name, batches in (
    ("1 at a time", [few[i : i + 1] for i in range(len(few))]),
    ("all at once", [cascade.examples]),
):
    # In turn, so that what disturbs one disturbs the other alike.
    pairs = [(seconds(cascade, batches), seconds(alone, batches)) for _ in range(ROUNDS)]
    count = sum(map(len, batches))
    mine, theirs = (median(pair[index] for pair in pairs) / count * 1000 for index in (0, 1))
    ratio = median(other / one for one, other in pairs)
    print(f"{name} ({count}): cascade {mine:.2f} ms, last exit alone {theirs:.2f} ms, {ratio:.2f} × as fast")
