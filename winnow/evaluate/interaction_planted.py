"""The counts of degeneracy and the search for modules, held against networks of which everything is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.interaction_basis import behavioural_hessian
from winnow.evaluate.basis_ablation import continued
from winnow.evaluate.interaction_study import (
    BASES,
    KindOfBasis,
    Rows,
    agreement,
    all_strengths,
    bases_of,
    modular_graph,
)
from winnow.evaluate.planted_degeneracy import KINDS, counts, modular_parts, planted_network

SPARED = 0.001
"""Share of the outputs' variance that ablated edges may cost: some outputs have no more of it, and keep their edges."""


def planted_counts(cases: int, seed: int) -> Rows:
    """A row a layer of each planted network: what is predicted of it, and what of the network is counted."""
    rows = []
    for kind in KINDS:
        for case in range(cases):
            found = counts(planted_network(kind, seed * cases + case))
            told = {"kind": kind, "case": case, "network_predicted": found.predicted, "network_counted": found.counted}
            told["hessian_null"] = found.counted_in_hessian
            rows += [told | layer._asdict() | {"predicted_null": layer.predicted_null} for layer in found.layers]
    return rows


def counted_right(rows: Rows) -> dict[str, float]:
    """counts_right, the share of planted networks of which prediction, Jacobian and Hessian agree; cases, how many."""
    networks = {(row["kind"], row["case"]): row for row in rows}.values()
    right = [row["network_predicted"] == row["network_counted"] == row["hessian_null"] for row in networks]
    return {"counts_right": float(np.mean(right)), "cases": float(len(right))}


def found_modules(kind: KindOfBasis, modules: int, width: int, seed: int) -> float:
    """Adjusted Rand index of the modules found among the outputs of networks side by side, all layers turned.

    An output that has lost all its edges is a module of its own.
    """
    parts, x, truth = modular_parts(modules, width, seed)
    output = torch.eye(x.shape[1], dtype=torch.float64)
    bases, target = bases_of(kind, parts, x, output, seed=seed), continued(parts, x)
    scale = float(target.var(0).sum())

    def loss(made: Tensor) -> float:
        return float((made - target).square().sum(1).mean()) / scale

    labels = modular_graph(parts, x, bases, all_strengths(parts, x, bases), loss, SPARED, seed)[1][-1]
    alone = labels.max() + 1 + np.arange(len(labels))
    return agreement(np.where(labels < 0, alone, labels), truth.numpy())


def planted_modules(settings: Any, seed: int) -> dict[str, dict[str, float]]:
    """Variant "modules-<basis>" -> mean adjusted Rand index over planted networks."""
    drawn = [seed * settings.cases + case for case in range(settings.cases)]
    found = {
        kind: [found_modules(kind, settings.modules, settings.module_width, draw) for draw in drawn] for kind in BASES
    }
    return {f"modules-{kind}": {"adjusted_rand": float(np.mean(values))} for kind, values in found.items()}


def planted_spectra(seed: int) -> Rows:
    """Eigenvalues of the Hessians of a plain planted network and of one with every kind of degeneracy.

    A row each: value, over the largest; above, how many are as large; predicted, how many are not nil.
    """
    rows = []
    for kind in ("plain", "everything"):
        planted = planted_network(kind, seed)
        values = torch.linalg.eigvalsh(behavioural_hessian(planted.model, planted.x)).flip(0).clamp(min=0)
        predicted = len(values) - counts(planted).predicted
        rows += [
            {"what": f"planted: {kind}", "above": float(i + 1), "value": value, "predicted": predicted, "seed": seed}
            for i, value in enumerate((values / values[0]).tolist())
        ]
    return rows
