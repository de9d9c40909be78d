"""The Interaction Basis put to the test: purity, invariance, modules and degeneracy, beside neurons and other bases.

Bushnaq, Mendel, Heimersheim, Braun, Goldowsky-Dill, Hänni, Wu, Hobbhahn, "Using Degeneracy in the Loss Landscape for
Mechanistic Interpretability", 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from winnow.dictionaries.interaction_basis import Basis, Part, interaction_basis, layer_values, moments
from winnow.dictionaries.local_interaction_basis import Kind, output_basis, rotated_basis
from winnow.evaluate.basis_ablation import Edges, continued
from winnow.evaluate.interaction_modules import edge_strengths, modules, shuffled, smallest_needed

Rows = list[dict[str, Any]]
KindOfBasis = Literal["ib"] | Kind
BASES: tuple[KindOfBasis, ...] = ("ib", "pca", "neuron", "random")
SHUFFLES = 5


def bases_of(
    kind: KindOfBasis, parts: Sequence[Part], x: Tensor, output: Tensor, tolerance: float = 1e-9, seed: int = 0
) -> list[Basis]:
    """Bases of what stands before each part, and last of the output; kind: ib, pca, neuron or random."""
    values = layer_values(parts, x)
    if kind == "ib":
        found = interaction_basis(parts, x, output, tolerance)
    else:
        found = [
            rotated_basis(*moments(before, f"layer {i}"), kind, tolerance, seed, f"layer {i}")
            for i, before in enumerate(values[:-1])
        ]
    return [*found, output_basis(values[-1], output)]


def attributions(
    parts: Sequence[Part], values: Tensor, basis: Basis, output: Basis, groups: Sequence[int]
) -> np.ndarray:
    """float64[rank, groups]: squared share of each direction in each group of outputs, summed over the group.

    parts: all that follow values float64[n, width]. groups: sizes of the groups, in order.
    """
    strengths = edge_strengths(lambda rows: continued(parts, rows), values, basis, output)
    return torch.stack([part.sum(1) for part in strengths.split(list(groups), dim=1)], dim=1).numpy()


def purity(attribution: np.ndarray) -> tuple[np.ndarray, float]:
    """Share of each direction that goes to its main group, NaN where it goes nowhere; and the share of all together."""
    total = attribution.sum(1)
    with np.errstate(invalid="ignore"):
        each = np.where(total > 0, attribution.max(1) / total, np.nan)
    return each, float(attribution.max(1).sum() / total.sum())


def all_strengths(parts: Sequence[Part], x: Tensor, bases: Sequence[Basis]) -> list[Tensor]:
    """Strengths of the edges between each two neighbouring layers, float64[rank, next rank]."""
    values = layer_values(parts, x)
    return [edge_strengths(part, values[i], bases[i], bases[i + 1]) for i, part in enumerate(parts)]


def loss_without_edges(
    parts: Sequence[Part],
    x: Tensor,
    bases: Sequence[Basis],
    strengths: Sequence[Tensor],
    loss: Callable[[Tensor], float],
) -> Callable[[float], float]:
    """Threshold -> loss of the output where every edge below it is ablated, in all layers at once."""

    first = Edges(parts[0], x, bases[0], bases[1])

    def at(threshold: float) -> float:
        made = first(strengths[0] >= threshold)
        for i, part in enumerate(parts[1:], 1):
            made = Edges(part, made, bases[i], bases[i + 1])(strengths[i] >= threshold)
        return loss(made)

    return at


def modular_graph(
    parts: Sequence[Part],
    x: Tensor,
    bases: Sequence[Basis],
    strengths: Sequence[Tensor],
    loss: Callable[[Tensor], float],
    allowed: float,
    seed: int,
) -> tuple[dict[str, float], list[np.ndarray], float]:
    """Measures of the graph of edges that cannot be spared, the module of each node of each layer, the threshold.

    Measures: modularity; modularity_excess over graphs of the same edges between other nodes; edges, how many are above
    the threshold; edge_share, their share of all.
    """
    threshold = smallest_needed(strengths, loss_without_edges(parts, x, bases, strengths, loss), allowed)
    found = modules(strengths, threshold, seed=seed)
    chance = [
        modules(shuffled(strengths, seed * SHUFFLES + i), threshold, seed=seed).modularity for i in range(SHUFFLES)
    ]
    edges = sum(int((strength > threshold).sum()) for strength in strengths)
    measures = {
        "modularity": found.modularity,
        "modularity_excess": found.modularity - float(np.mean(chance)),
        "edges": float(edges),
        "edge_share": edges / sum(strength.numel() for strength in strengths),
    }
    return measures, found.labels, threshold


def agreement(labels: np.ndarray, truth: np.ndarray) -> float:
    """Adjusted Rand index of modules and of what is known, over nodes that have both (neither is -1).

    0 where fewer than two have.
    """
    both = (labels >= 0) & (truth >= 0)
    return float(adjusted_rand_score(truth[both], labels[both])) if both.sum() > 1 else 0.0


def same_directions(own: Basis, other: Basis, a: Tensor, b: Tensor, least_gap: float = 1e-3) -> np.ndarray:
    """|correlation| of each direction of one basis with that of the same rank in another, 0 where there is none.

    a, b: float64[n, width] of the two. Left out are directions whose eigenvalue is nearer to a neighbour's than
    `least_gap` times its own: inside such a space directions are arbitrary.
    """
    eigenvalues = own.eigenvalues.numpy()
    gaps = np.abs(np.diff(eigenvalues))
    alone = np.minimum(np.r_[np.inf, gaps], np.r_[gaps, np.inf]) > least_gap * eigenvalues
    first, second = own.coordinates(a).numpy(), other.coordinates(b).numpy()
    shared = min(first.shape[1], second.shape[1])
    found = np.zeros(first.shape[1])
    found[:shared] = [abs(np.corrcoef(first[:, i], second[:, i])[0, 1]) for i in range(shared)]
    return found[alone]


def invariance(parts: Sequence[Part], disguise: Sequence[Part], x: Tensor, output: Tensor, kind: KindOfBasis) -> dict:
    """smallest and mean |correlation| of the directions between, before and after a disguise; compared: how many."""
    plain, other = (bases_of(kind, chain, x, output) for chain in (parts, disguise))
    a, b = (layer_values(chain, x) for chain in (parts, disguise))
    found = np.concatenate([same_directions(plain[i], other[i], a[i], b[i]) for i in range(1, len(parts))])
    return {
        "smallest_correlation": float(found.min()),
        "mean_correlation": float(found.mean()),
        "compared": float(len(found)),
    }


def final_losses(history: pa.Table) -> dict[str, float]:
    """Variant -> the last loss of its training, of rows of metrics with steps."""
    rows = [row for row in history.to_pylist() if row["metric"] == "loss"]
    return {row["variant"]: row["value"] for row in sorted(rows, key=lambda row: row["step"])}


def edge_rows(kind: KindOfBasis, strengths: Sequence[Tensor], first: int = 0) -> Rows:
    """A row an edge: basis, layer (from `first` on) and node that it comes from, node of the next layer, strength."""
    return [
        {"basis": kind, "layer": layer, "from": source, "to": target, "strength": value}
        for layer, strength in enumerate(strengths, first)
        for source, row in enumerate(strength.tolist())
        for target, value in enumerate(row)
    ]


def strengths_of(table: pa.Table, kind: KindOfBasis, formula: str | None = None) -> list[Tensor]:
    """The strengths that rows of `edge_rows` tell of one basis; by one formula where rows have several."""
    found = table.filter(pc.field("basis") == kind)
    if formula is not None:
        found = found.filter(pc.field("formula") == formula)
    layers = found["layer"].to_numpy()
    strengths = []
    for layer in np.unique(layers):
        mine = found.filter(pc.field("layer") == layer)
        source, target = mine["from"].to_numpy(), mine["to"].to_numpy()
        strength = np.zeros((source.max() + 1, target.max() + 1))
        strength[source, target] = mine["strength"].to_numpy()
        strengths.append(torch.from_numpy(strength))
    return strengths
