"""torchrun with two processes, each with half of every batch, trains as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = '''
import json, os, sys
import torch
from torch import distributed, nn
from winnow.models import build
from winnow.train.adamw import fit_adamw

class Halves:
    """Windows of drawn tokens, of which each process takes its share of every batch."""

    def __init__(self, rank, processes):
        self.rank, self.processes = rank, processes
        self.x = torch.randint(11, (32, 9), generator=torch.Generator().manual_seed(0))

    def batches(self, split, size, seed=None, epoch=0):
        for batch in self.x.split(size):
            mine = batch[self.rank :: self.processes]
            yield mine[:, :-1], mine[:, 1:]

    def loss(self, model, batch, label_smoothing=0.0):
        return nn.functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())

    def metrics(self, model, split):
        return {}

torch.set_num_threads(1)
rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
model = build("transformer", vocabulary=11, width=16, layers=1, heads=2, seed=1)
if processes > 1:
    distributed.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(model)
history = fit_adamw(model, Halves(rank, processes), epochs=2, batch_size=8, learning_rate=1e-2, weight_decay=0.01,
                    warmup=0.1, label_smoothing=0.0, seed=0)
losses = torch.tensor([value for metric, value, _ in history if metric == "loss"], dtype=torch.float64)
if processes > 1:
    distributed.all_reduce(losses)
    distributed.destroy_process_group()
if rank == 0:
    with open(sys.argv[1], "w") as file:
        json.dump((losses / processes).tolist(), file)
'''


def test_the_loss_curve_is_that_of_one_process(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    curves = []
    for launch in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]):
        out = tmp_path / f"curve{len(curves)}.json"
        command = [sys.executable, *launch, str(script), str(out)]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        curves.append(json.loads(out.read_text()))
    one, two = curves
    assert len(one) == 8 and one[-1] < one[0] - 0.05
    # Sums of half batches round otherwise; AdamW divides by small second moments.
    assert two == pytest.approx(one, abs=1e-4)


def _environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
