"""How many directions and edges networks need, in the Local Interaction Basis and in others.

Bushnaq, Heimersheim, Goldowsky-Dill, Braun, Mendel, Hänni, Griffin, Stöhler, Wache, Hobbhahn, "The Local Interaction
Basis: Identifying Computationally-Relevant and Sparsely Interacting Features in Neural Networks", 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from winnow.dictionaries.interaction_basis import Basis, layer_values
from winnow.evaluate.basis_ablation import continued, counts_to, direction_losses, edge_losses, greedy_order, smallest
from winnow.evaluate.fourier_labels import single_frequencies
from winnow.evaluate.interaction_modules import edge_strengths, functional_strengths
from winnow.evaluate.interaction_study import modular_graph
from winnow.evaluate.network_sections import Sections

Rows = list[dict[str, Any]]
STRONGEST = 100
"""Edges between two layers that are kept for the picture."""
LABELLED = 20
"""Directions of a layer, the first in its order, that frequencies are told of."""
CHOSEN_ON = 400
"""Places of rows on which directions are chosen greedily, and edges of modules."""
COMPARED = ("jacobian", "pca")
"""Bases whose edges by further formulas, and whose modules, are told."""
ALLOWED = 0.05
"""Nats by which the loss may rise without the edges that form no modules."""


def strengths_by(
    formula: str, sections: Sections, bases: Sequence[Basis], sources: int = 0, seed: int = 0
) -> dict[int, Tensor]:
    """Layer -> strengths of its edges to the next, on other rows than those judged, as many of them.

    formula: gradient, integrated or functional.
    """
    values, found = layer_values(sections.parts, sections.x[: len(sections.judged)]), {}
    for i in sections.edges:
        of = sections.parts[i], values[i], bases[i], bases[i + 1]
        if formula == "functional":
            found[i] = functional_strengths(*of)
        else:
            rule = "gradient" if formula == "gradient" else "gauss"
            found[i] = edge_strengths(*of, rule, sources=sources, seed=seed)  # type: ignore[arg-type]
    return found


def own_order(basis: Basis) -> Tensor:
    """int64[rank]: directions by falling eigenvalue, which is the variance of their coordinates."""
    return torch.sort(basis.eigenvalues, descending=True, stable=True).indices


def few(sections: Sections) -> Tensor:
    """The first rows of what bases are told by, on which choices that take many runs are made."""
    places = sections.x[0].numel() // sections.x.shape[-1]
    return sections.x[: max(1, CHOSEN_ON // places)]


class Ablations:
    """Counts and curves of one basis; progress is called after each layer and each pair of layers."""

    def __init__(self, sections: Sections, bases: Sequence[Basis], drops: Sequence[float]) -> None:
        self.sections, self.bases, self.drops = sections, bases, drops
        self.values = layer_values(sections.parts, sections.judged, sections.judged.dtype)
        self.others = layer_values(sections.parts, few(sections), sections.x.dtype)
        self.full = sections.loss(self.values[-1])

    def _told(self, what: str, at: Callable[[int], float], most: int) -> tuple[dict[str, float], list[tuple]]:
        """<what>_<drop> -> smallest count, and the curve over counts."""
        curve = [(count, at(count)) for count in counts_to(most)]
        needed = {}
        for drop in self.drops:
            # Between the first point of the curve that is good enough and the one before.
            enough = min((count for count, loss in curve if loss <= self.full + drop), default=most)
            least = max((count + 1 for count, _ in curve if count < enough), default=0)
            needed[f"{what}_{drop:g}"] = float(smallest(at, enough, self.full + drop, least))
        return needed, [(what, *point) for point in curve]

    def directions(self, layer: int) -> tuple[dict[str, float], list[tuple]]:
        """Directions that are needed, by falling eigenvalue and, as best_directions, in the best order that is found
        greedily on other rows than those judged."""
        rest, basis = self.sections.parts[layer:], self.bases[layer]
        rank = len(basis.eigenvalues)
        found, curves = {"rank": float(rank)}, list[tuple]()
        orders = {
            "directions": own_order(basis),
            "best_directions": greedy_order(rest, self.others[layer], basis, self.sections.told_loss),
        }
        for what, order in orders.items():
            at = direction_losses(rest, self.values[layer], basis, self.sections.loss, order)
            needed, curve = self._told(what, at, rank)
            found, curves = found | needed, curves + curve
        return found, curves

    def edges(self, layer: int, strengths: Mapping[str, Tensor]) -> tuple[dict[str, float], list[tuple]]:
        """Edges to the next layer that are needed, the strongest by each formula: <formula>_edges."""
        rest = self.sections.parts[layer:]
        found, curves = dict[str, float](), list[tuple]()
        for formula, strength in strengths.items():
            at = edge_losses(
                rest, self.values[layer], self.bases[layer], self.bases[layer + 1], strength, self.sections.loss
            )
            needed, curve = self._told(f"{formula}_edges", at, strength.numel())
            found, curves = found | needed | {"possible_edges": float(strength.numel())}, curves + curve
        return found, curves


def ablated(
    kind: str,
    sections: Sections,
    bases: Sequence[Basis],
    strengths: Mapping[str, Mapping[int, Tensor]],
    drops: Sequence[float],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[dict[str, dict[str, float]], Rows]:
    """Variant -> measures, and rows of curves (basis, layer, what, count, loss).

    strengths: formula -> layer -> float64. Variants: `<kind>-<layer>`, with its edges to the next; `kind` with edges
    and directions, which claims are about, at the first drop: edges between the layers that are compared, directions of
    all layers together.
    """
    work, measures, curves = Ablations(sections, bases, drops), {}, []
    layers = range(len(sections.parts))
    for layer in layers:
        name = sections.names[layer]
        found, points = work.directions(layer)
        if layer in sections.edges:
            asked = strengths if kind in COMPARED and layer == sections.compared else [next(iter(strengths))]
            more, further = work.edges(layer, {formula: strengths[formula][layer] for formula in asked})
            found, points = found | more, points + further
        measures[f"{kind}-{name}"] = found
        curves += [
            {"basis": kind, "layer": name, "what": what, "count": count, "loss": loss} for what, count, loss in points
        ]
        progress(layer + 1, len(layers))
    first, formula = f"{drops[0]:g}", next(iter(strengths))
    compared = measures[f"{kind}-{sections.names[sections.compared]}"]
    measures[kind] = {
        "edges": compared[f"{formula}_edges_{first}"],
        "directions": sum(measures[f"{kind}-{sections.names[layer]}"][f"directions_{first}"] for layer in layers),
        "loss": work.full,
    }
    return measures, curves


def modular(
    sections: Sections, bases: Sequence[Basis], strengths: Mapping[int, Tensor], seed: int
) -> tuple[dict[str, float], dict[int, np.ndarray]]:
    """Measures of the graph of edges that cannot be spared, as `modular_graph` has them, and layer -> modules of nodes.

    Of rows that are not judged, over all layers of which there are edges.
    """
    first, end = sections.edges.start, sections.edges.stop
    rows, parts = layer_values(sections.parts, few(sections), sections.x.dtype)[first], sections.parts[first:end]
    chain, allowed = [strengths[layer] for layer in sorted(strengths)], ALLOWED

    def loss(values: Tensor) -> float:
        return sections.told_loss(continued(sections.parts[end:], values))

    measures, labels, _ = modular_graph(parts, rows, bases[first : end + 1], chain, loss, allowed, seed)
    # How many edges are needed is told by other names, at other losses.
    kept = {name: measures[name] for name in ("modularity", "modularity_excess")}
    return kept | {"module_edges": measures["edges"]}, dict(enumerate(labels, first))


def labels_of(sections: Sections, bases: Sequence[Basis]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Layer -> frequency and its share of each direction, of the layers at the last position of a network that adds."""
    assert sections.everything is not None
    values = layer_values(sections.parts, sections.everything, sections.everything.dtype)
    return {
        layer: single_frequencies(bases[layer].coordinates(values[layer]).numpy())
        for layer in range(1, len(sections.parts))
    }


def direction_rows(
    kind: str,
    sections: Sections,
    bases: Sequence[Basis],
    labels: Mapping[int, tuple[np.ndarray, np.ndarray]],
    modules: Mapping[int, np.ndarray],
) -> Rows:
    """A row a direction: basis, layer, node, eigenvalue; frequency with its share, and module, where they are told."""
    rows, last = [], len(sections.names) - 1
    for layer, name in enumerate(sections.names if last in modules else sections.names[:-1]):
        # Of the output modules are told, and nothing else.
        eigenvalues = bases[layer].eigenvalues.tolist() if layer < last else [None] * len(bases[layer].eigenvalues)
        frequencies, shares = labels.get(layer, (None, None))
        rows += [
            {"basis": kind, "layer": name, "node": node, "eigenvalue": value}
            | {
                "frequency": None if frequencies is None else int(frequencies[node]),
                "share": None if shares is None else float(shares[node]),
                "module": int(modules[layer][node]) if layer in modules else None,
            }
            for node, value in enumerate(eigenvalues)
        ]
    return rows


def mean_shares(
    kind: str, sections: Sections, bases: Sequence[Basis], labels: Mapping[int, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Variant `<kind>-<layer>` -> single_frequency, the mean share of one frequency in its first 20 directions."""
    return {
        f"{kind}-{sections.names[layer]}": {
            "single_frequency": float(np.mean(shares[own_order(bases[layer]).numpy()[:LABELLED]]))
        }
        for layer, (_, shares) in labels.items()
    }


def merged(
    first: Mapping[str, dict[str, float]], second: Mapping[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Measures of both, variant by variant."""
    return {variant: values | second.get(variant, {}) for variant, values in first.items()}


def strongest_edges(table: pa.Table, names: Sequence[str], formula: str, count: int = STRONGEST) -> Rows:
    """The strongest edges by one formula between the layers of each basis, with the names of the layers they join."""
    rows: Rows = []
    found = table.filter(pc.field("formula") == formula).to_pylist()
    groups: dict[tuple[str, int], Rows] = {}
    for row in found:
        groups.setdefault((row["basis"], row["layer"]), []).append(row)
    for (_, layer), mine in groups.items():
        order = sorted(mine, key=lambda row: (-row["strength"], row["from"], row["to"]))[:count]
        rows += [row | {"layer": names[layer], "next": names[layer + 1]} for row in order if row["strength"] > 0]
    return rows
