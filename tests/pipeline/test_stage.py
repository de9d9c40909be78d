"""What a stage's process is like before its function runs."""

import subprocess
import sys

OPTIMIZERS = """
import sys
from winnow.pipeline.stage import prepare_torch
if sys.argv[1] == "prepared":
    prepare_torch(seed=0, threads=1)
import torch
torch.manual_seed(0)
layer = torch.nn.Linear(3, 3)
optimizers = [torch.optim.AdamW(layer.parameters(), lr=0.1), torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)]
for _ in range(3):
    for optimizer in optimizers:
        optimizer.zero_grad()
        layer(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
    optimizers[0].load_state_dict(optimizers[0].state_dict())
print(layer.weight.tolist(), "torch._dynamo.symbolic_convert" in sys.modules)
"""

COMPILER = """
import sys
from winnow.pipeline.stage import prepare_torch
prepare_torch(seed=0, threads=1)
import torch
assert torch.are_deterministic_algorithms_enabled()
import torch._dynamo.config as config
assert config is torch._dynamo.config
print(torch.compile(lambda x: 2 * x + 1, backend="eager")(torch.ones(2)).tolist())
print("torch._dynamo.symbolic_convert" in sys.modules)
"""


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_optimizers_of_a_stage_do_not_load_the_compiler_and_step_as_ever():
    weights = run(OPTIMIZERS, "plain").rsplit(" ", 1)[0]
    assert run(OPTIMIZERS, "prepared").strip() == f"{weights} False"


MEMORY = """
from winnow.pipeline.stage import prepare_torch
prepare_torch(seed=0, threads=1)
import torch
assert torch.are_deterministic_algorithms_enabled()
a = torch.full((1000,), 7.0)
del a  # where nothing is written before it is asked for, the next tensor of this size holds what was here
print(torch.empty(1000).isnan().all().item())
"""


def test_memory_is_not_written_before_it_is_used():
    assert run(MEMORY).strip() == "False"


def test_the_compiler_is_there_for_who_calls_it():
    assert run(COMPILER).split("\n")[:2] == ["[3.0, 3.0]", "True"]
