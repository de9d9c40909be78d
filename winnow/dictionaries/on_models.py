"""Dictionaries fitted on a model's hook point, and what the model makes of their reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.metrics import ce_recovered, evaluate
from winnow.dictionaries.sae import SaeConfig
from winnow.models.hooks import capture_split, run_with

BATCH = 512


def sae_config(architecture: str, sparsity: float, settings: Any, *, seed: int, threads: int = 1) -> SaeConfig:
    """The configuration of one architecture at one sparsity, in the terms each of them has for it.

    sparsity: k for topk and batchtopk, the L0 aimed at for jumprelu, the penalty's weight for relu_l1 and gated.
    settings: width, steps, batch_size and learning_rate, as sections of params.yaml have them.
    """
    name = {"topk": "k", "batchtopk": "k", "jumprelu": "target_l0"}.get(architecture, "l1")
    aim: dict[str, Any] = {name: int(sparsity) if name == "k" else float(sparsity)}
    return SaeConfig(
        architecture,
        **aim,
        m=settings.width,
        steps=settings.steps,
        batch=settings.batch_size,
        lr=settings.learning_rate,
        seed=seed,
        threads=threads,
    )


def evaluate_dictionary(
    dictionary: Dictionary, model: nn.Module, workload: Any, split: str, hook: str
) -> dict[str, float | None]:
    """Metrics of a dictionary on a split: those of its rows, and the share of the loss that it recovers.

    Losses are the model's mean cross-entropy with the hook point's rows left alone, replaced by their
    reconstructions, set to zero, and set to their mean.
    """
    rows = capture_split(model, workload, split, hook)
    mean = rows.mean(dim=0)

    def loss(edit: Callable[[Tensor], Tensor]) -> float:
        return _loss(model, workload, split, hook, edit)

    clean, reconstructed = loss(lambda x: x), loss(dictionary.reconstruct)
    recovered = ce_recovered(
        zero=loss(torch.zeros_like), mean=loss(lambda x: mean.expand_as(x)), sae=reconstructed, clean=clean
    )
    losses = {"ce_clean": clean, "ce_reconstructed": reconstructed}
    return {**evaluate(dictionary, rows).metrics, **losses, **recovered}


@torch.no_grad()
def _loss(model: nn.Module, workload: Any, split: str, hook: str, edit: Callable[[Tensor], Tensor]) -> float:
    """Mean loss over a split with a hook point's rows edited."""
    total = count = 0.0
    for x, y in workload.batches(split, BATCH):
        total += float(workload.loss(lambda x: run_with(model, x, hook, edit), (x, y)).double()) * len(y)
        count += len(y)
    return total / count
