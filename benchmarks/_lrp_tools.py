"""Relevance of inputs by winnow, zennit and captum in one process on one thread; prints rows of a table as JSON.

Run by lrp.py in the environment of the peers. The tools must agree before they are timed.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch

for name in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
    # zennit names two classes of torchvision for its canonizers of those; without it, there are none of them.
    sys.modules[name] = types.ModuleType(name)
for name in ("Bottleneck", "BasicBlock"):
    setattr(sys.modules["torchvision.models.resnet"], name, type(name, (), {}))

# ruff: noqa: E402
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from torch import Tensor, nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite
from zennit.rules import Epsilon, Norm, Pass, ZPlus
from zennit.types import Activation, AvgPool, Convolution, Linear

from winnow.attribution.relevance import relevance
from winnow.models import build

BATCH = 128
EPSILON = 1e-6
AGREES = 1e-3  # of the largest relevance of an image, in double precision: captum stabilises z+ with 1e-9
MODELS: dict[str, dict[str, Any]] = {
    "small_cnn": {"channels": [24, 48, 48]},
    "depthwise_cnn": {},
}
Tool = Callable[[], Tensor]


def main(repeats: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name, arguments in MODELS.items():
        model = settled(build(name, seed=0, in_channels=1, height=28, width=28, classes=10, **arguments))
        # Not below 0: there captum's rule is another one.
        x = torch.rand(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        y = torch.arange(BATCH) % 10
        for rule in ("zplus", "epsilon"):
            labels = {"model": name, "rule": rule}
            exact = agreement(tools_for(copy.deepcopy(model).double(), x.double(), y, rule), labels)
            rows += timed(tools_for(model, x, y, rule), labels, exact, repeats)
    print(json.dumps(rows))


def tools_for(model: nn.Module, x: Tensor, y: Tensor, rule: str) -> dict[str, Tool]:
    found = {"winnow": ours(model, x, y, rule), "zennit": zennits(model, x, y, rule)}
    if not any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):  # captum folds no norms
        found["captum"] = captums(model, x, y, rule)
    return found


def settled(model: nn.Module) -> nn.Module:
    """With statistics that norms do not start with, and no bias: biases are part of zennit's epsilon and ours alike."""
    noise = torch.Generator().manual_seed(1)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.data = 0.5 + torch.rand(norm.num_features, generator=noise)
    for layer in (m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and m.bias is not None):
        nn.init.zeros_(layer.bias)
    return model.eval()


def ours(model: nn.Module, x: Tensor, y: Tensor, rule: Any) -> Tool:
    return lambda: relevance(model, x, y, rule=rule, epsilon=EPSILON).input


def zennits(model: nn.Module, x: Tensor, y: Tensor, rule: str) -> Tool:
    chosen = ZPlus(EPSILON, zero_params=["bias"]) if rule == "zplus" else Epsilon(EPSILON)
    kinds = [(Activation, Pass()), (AvgPool, Norm(EPSILON)), (Convolution, chosen), (Linear, chosen)]
    composite = LayerMapComposite(kinds, canonizers=[SequentialMergeBatchNorm()])
    start = nn.functional.one_hot(y, 10).to(x.dtype)

    def run() -> Tensor:
        given = x.clone().requires_grad_()
        with composite.context(model) as changed:
            (found,) = torch.autograd.grad(changed(given), given, start)
        return found

    return run


class Unflattened(nn.Module):
    """A chain of modules whose flattening is a function: captum has no rule for the module."""

    def __init__(self, chain: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(copy.deepcopy(part) for part in chain.children() if not isinstance(part, nn.Flatten))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x.flatten(1) if isinstance(part, nn.Linear) else x)
        return x


def captums(model: nn.Module, x: Tensor, y: Tensor, rule: str) -> Tool:
    theirs = Unflattened(model)
    for layer in theirs.parts:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.rule = Alpha1_Beta0_Rule() if rule == "zplus" else EpsilonRule(EPSILON)  # type: ignore[assignment]
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            layer.rule = EpsilonRule(EPSILON)  # type: ignore[assignment]
    method = LRP(theirs)
    with torch.no_grad():
        logits = model(x)[torch.arange(len(y)), y].view(-1, 1, 1, 1)  # where captum starts, and the others do not
    return lambda: method.attribute(x.clone(), y).detach() / logits


def agreement(tools: dict[str, Tool], labels: dict[str, Any]) -> dict[str, float]:
    """How far each tool's maps are from winnow's, of the largest relevance of an image; SystemExit where too far."""
    maps = {name: tool().flatten(1) for name, tool in tools.items()}
    largest = maps["winnow"].abs().amax(1, keepdim=True)
    apart = {name: float(((found - maps["winnow"]).abs() / largest).max()) for name, found in maps.items()}
    if max(apart.values()) > AGREES:
        raise SystemExit(f"{labels}: the tools do not agree, relative to winnow: {apart}")
    return apart


def timed(
    tools: dict[str, Tool], labels: dict[str, Any], apart: dict[str, float], repeats: int
) -> list[dict[str, Any]]:
    """Rows of the tools, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(repeats):
        for name, tool in tools.items():
            start = time.process_time()
            tool()
            times[name].append((time.process_time() - start) * 1e3 / BATCH)
    base = statistics.median(times["zennit"])
    return [
        {
            **labels,
            "tool": name,
            "milliseconds": statistics.median(found),
            "lowest": min(found),
            "highest": max(found),
            "times_zennit": statistics.median(found) / base,
            "apart": apart[name],
        }
        for name, found in times.items()
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]))
