"""Unsupervised dictionaries of a task's nodes, and the floors that stand beside them: one set of features a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import SaeConfig
from winnow.dictionaries.side_by_side import fit_side_by_side
from winnow.evaluate.dictionary_toys import closest_in_l0, penalised
from winnow.evaluate.supervised_dictionaries import Features, Node
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import torch_generator
from winnow.workloads.names_language import PAD

ARCHITECTURES = ("topk", "batchtopk", "relu_l1", "gated")
GENERAL_ROWS = 20_000


def of_dictionary(dictionary: Dictionary) -> Features:
    """A sparse autoencoder as features."""
    return Features(dictionary.dense, dictionary.W_dec, dictionary.b_dec_out)


def autoencoders(rows: Tensor, architecture: str, settings: Any, seed: int) -> list[Features]:
    """One sparse autoencoder for each node of rows float32[n, nodes, d]."""
    config = SaeConfig(
        architecture, m=settings.width, k=settings.k, steps=settings.steps, batch=settings.batch_size, seed=seed
    )
    fitted = [fit_side_by_side(rows, one) for one in penalised(config, settings.penalties)]
    return [
        of_dictionary(closest_in_l0(own, part, settings.k)) for *own, part in zip(*fitted, rows.unbind(1), strict=True)
    ]


@torch.no_grad()
def general_rows(model: HookedTransformer, tokens: Tensor, nodes: Sequence[Node], seed: int) -> Tensor:
    """float32[rows, nodes, d]: what the heads of the nodes hold at all positions of documents, some rows of them."""
    _, saved = model.run(tokens, save={node.hook for node in nodes})
    rows = torch.stack([saved[node.hook][:, :, node.head] for node in nodes], 2)[tokens != PAD]
    order = torch.randperm(len(rows), generator=torch_generator(seed, "general rows"))
    return rows[order[:GENERAL_ROWS]]


def random_features(rows: Tensor, width: int, k: int, seed: int) -> list[Features]:
    """A floor: random unit directions, of which the k with the largest products code a row, scaled to fit best."""
    made = []
    for i, part in enumerate(rows.unbind(1)):
        directions = torch.randn(width, part.shape[1], generator=torch_generator(seed, "random features", str(i)))
        directions, mean = torch.nn.functional.normalize(directions, dim=1), part.mean(0)
        shown = _top(part - mean, directions, k) @ directions
        length = float(((part - mean) * shown).sum() / shown.square().sum())
        made.append(Features(_coder(mean, directions, k, length), directions, mean))
    return made


def components(rows: Tensor, k: int) -> list[Features]:
    """Principal components, of which the k with the largest shares of either sign code a row."""
    made = []
    for part in rows.unbind(1):
        mean = part.mean(0)
        directions = torch.linalg.svd((part - mean).double(), full_matrices=False).Vh.float()
        made.append(Features(_coder(mean, directions, k, 1.0, signed=True), directions, mean))
    return made


def _top(x: Tensor, directions: Tensor, k: int, signed: bool = False) -> Tensor:
    products = x @ directions.T
    size = products.abs() if signed else products.clamp(min=0)
    top = size.topk(min(k, size.shape[1]), 1).indices
    kept = torch.zeros_like(products).scatter_(1, top, products.gather(1, top))
    return kept if signed else kept.clamp(min=0)


def _coder(mean: Tensor, directions: Tensor, k: int, length: float, signed: bool = False) -> Any:
    return lambda x: length * _top(x - mean, directions, k, signed)
