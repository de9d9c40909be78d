"""Bi-level pruning beside its rivals, each at a budget that is counted in examples.

The comparison of Zhang et al., "Advancing Model Pruning via Bi-level Optimization", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from winnow.compress import GROUPED, compress, early_network
from winnow.compress._masking import LABEL_SMOOTHING, Masks
from winnow.compress._rivals import hydra, imp
from winnow.compress._slimming import slim
from winnow.compress._trained_masks import PruneResult
from winnow.compress.bilevel import bip
from winnow.compress.onnx import OnnxModel, export_onnx, quantize_int8
from winnow.models.fitting import History

SCORES = ("snip", "grasp", "synflow", "relevance", "random")


class Pruned(NamedTuple):
    """What an arm made: the model, the masks of its weights, its history, and examples put forward and back."""

    model: nn.Module
    masks: Masks
    history: History
    examples: int


Arm = Callable[[float], Pruned]


def arms(model: nn.Module, workload: Any, group: str, settings: Any, seed: int) -> dict[str, Arm]:
    """Name -> function of the share kept that prunes a copy of the model.

    bilevel and hydra put 2 * epochs times the split through; magnitude half of that, magnitude_twice and the other
    scores as much; imp `epochs` in each round, and one for the network it rewinds to. settings: epochs,
    learning_rate, mask_learning_rate, ablated, batch_size.
    """
    rows = len(workload.arrays("train")[1])
    shared = {"seed": seed, "group": group, "batch_size": settings.batch_size, "lr": settings.learning_rate}
    masks = {"mask_lr": settings.mask_learning_rate}
    twice = 2 * settings.epochs

    def once(method: str, epochs: int) -> Arm:
        return lambda keep: Pruned(
            *compress(method, model, workload, sparsity=1 - keep, epochs=epochs, **shared), epochs * rows
        )

    def levels(inv_gamma: float) -> Arm:
        more = {"epochs": twice, "inv_gamma": inv_gamma, "label_smoothing": LABEL_SMOOTHING}
        return lambda keep: _of(bip(model, workload, keep, **shared, **masks, **more))

    def scores_first(keep: float) -> Pruned:
        halves = {"epochs": settings.epochs, "finetune_epochs": settings.epochs}
        return _of(hydra(model, workload, keep, **shared, **masks, **halves))

    def rounds(keep: float) -> Pruned:
        early = early_network(model, workload, settings.learning_rate, seed, settings.batch_size)
        found = _of(imp(model, workload, keep, early=early, epochs=settings.epochs, **shared))
        return found._replace(examples=found.examples + rows)

    found = {"bilevel": levels(1.0), "hydra": scores_first, "imp": rounds}
    found |= {"magnitude": once("global_magnitude", settings.epochs)}
    found |= {"magnitude_twice": once("global_magnitude", twice)}
    found |= {method: once(method, twice) for method in SCORES if group == "weight" or method in GROUPED}
    return found | {f"bilevel_inv_gamma_{value:g}": levels(value) for value in settings.ablated}


def _of(result: PruneResult) -> Pruned:
    return Pruned(result.model, result.masks, result.history, result.examples)


class Delivered(NamedTuple):
    """A model in the forms in which it is run: slim, as ONNX, with weights of eight bits, and sizes of those."""

    slim: nn.Module
    onnx: nn.Module
    int8: nn.Module
    sizes: dict[str, float]


def delivered(model: nn.Module, workload: Any, folder: Path) -> Delivered:
    """A pruned model without dead units, written as ONNX into a scratch folder, and there in eight bits.

    sizes: slim_parameters [weights], onnx_bytes, int8_bytes.
    """
    small = slim(model, None, workload.example_inputs())
    whole, eight = folder / "model.onnx", folder / "int8.onnx"
    export_onnx(small, whole, workload.example_inputs())
    quantize_int8(whole, eight)
    sizes = {
        "slim_parameters": float(sum(p.numel() for p in small.parameters())),
        "onnx_bytes": float(whole.stat().st_size),
        "int8_bytes": float(eight.stat().st_size),
    }
    return Delivered(small, OnnxModel(whole), OnnxModel(eight), sizes)
