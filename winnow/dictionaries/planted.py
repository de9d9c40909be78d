"""Activations whose true dictionary is known, to measure what a fitted one recovers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.metrics import absorption
from winnow.errors import InputError
from winnow.randomness import torch_generator


@dataclass(frozen=True)
class PlantedDictionary:
    """Unit atoms float32[m, d] and the probability float64[m] with which one draw hits each."""

    atoms: Tensor
    frequency: Tensor
    active: int

    def sample(self, rows: int, seed: int, noise: float = 0.0) -> Tensor:
        """float32[rows, d]: sums of `active` drawn atoms (a repeated draw counts once), values 1 +
        |normal|."""
        generator = torch_generator(seed, "planted", "rows")
        uniform = torch.rand(rows, self.active, generator=generator, dtype=torch.float64)
        edges = self.frequency.cumsum(0)
        drawn = torch.searchsorted(edges / edges[-1], uniform, right=True).sort(dim=1).values
        values = 1 + torch.randn(rows, self.active, generator=generator).abs()
        values[:, 1:] *= drawn[:, 1:] != drawn[:, :-1]
        out = torch.nn.functional.embedding_bag(drawn, self.atoms, per_sample_weights=values, mode="sum")
        return out + noise * torch.randn(out.shape, generator=generator) if noise else out


class PlantedHierarchy(NamedTuple):
    """Parents, of which each has children that are active only with it."""

    parents: Tensor
    """float32[p, d], orthonormal with the children."""
    children: Tensor
    """float32[p, c, d]."""


class HierarchyRows(NamedTuple):
    """Rows float32[n, d] with the truth: parent_active bool[n, p], child int64[n, p] (-1: none)."""

    rows: Tensor
    parent_active: Tensor
    child: Tensor


def planted_dictionary(
    features: int = 800, d: int = 128, active: int = 12, *, exponent: float = 1.0, seed: int = 0
) -> PlantedDictionary:
    """`features` random unit atoms in d dimensions; the j-th most frequent is drawn in proportion to
    j^-exponent."""
    if min(features, d, active) < 1:
        raise InputError(f"features, d, active: {features}, {d}, {active}; all must be at least 1")
    normal = torch.randn(features, d, generator=torch_generator(seed, "planted", "atoms"))
    rank = torch.arange(1, features + 1, dtype=torch.float64)
    frequency = rank**-exponent / (rank**-exponent).sum()
    return PlantedDictionary(torch.nn.functional.normalize(normal, dim=1), frequency, active)


def planted_hierarchy(parents: int = 8, children: int = 4, d: int = 64, *, seed: int = 0) -> PlantedHierarchy:
    """Orthonormal atoms for `parents` parents with `children` children each.

    Raises InputError if d is too small, and for no parents or no children.
    """
    total = parents * (1 + children)
    if min(parents, children) < 1:
        raise InputError(f"parents, children: {parents}, {children}; both must be at least 1")
    if total > d:
        raise InputError(f"d: {d} dimensions cannot hold {total} orthogonal atoms; raise d to at least {total}")
    normal = torch.randn(d, total, generator=torch_generator(seed, "hierarchy", "atoms"))
    basis = torch.linalg.qr(normal).Q.T.contiguous()
    return PlantedHierarchy(basis[:parents], basis[parents:].view(parents, children, d))


def sample_hierarchy(
    planted: PlantedHierarchy, rows: int, seed: int, *, parent_rate: float = 0.2, child_rate: float = 0.6
) -> HierarchyRows:
    """Each parent is active with `parent_rate`; an active one has one of its children with `child_rate`.

    Both have value 1: a dictionary that lets the child's latent carry the parent too saves one active latent.
    """
    generator = torch_generator(seed, "hierarchy", "rows")
    p, c, _ = planted.children.shape
    parent = torch.rand(rows, p, generator=generator) < parent_rate
    with_child = parent & (torch.rand(rows, p, generator=generator) < child_rate)
    child = torch.where(with_child, torch.randint(c, (rows, p), generator=generator), -1)
    chosen = torch.nn.functional.one_hot(child + 1, c + 1)[..., 1:].float()
    out = parent.float() @ planted.parents + torch.einsum("npc,pcd->nd", chosen, planted.children)
    return HierarchyRows(out, parent, child)


def recovery(decoder: Tensor, atoms: Tensor) -> float:
    """Mean over true atoms float[t, d] of the largest cosine with a row of decoder float[m, d]."""
    unit = torch.nn.functional.normalize
    return float((unit(atoms, dim=1) @ unit(decoder, dim=1).T).max(dim=1).values.mean())


def hierarchy_absorption(dictionary: Dictionary, sampled: HierarchyRows) -> float | None:
    """Mean absorption rate over the planted parents; probes are fitted on the first half of the rows.

    A parent whose rows the probe never gets right is left out; None where all are. Errors are those of
    `absorption`.
    """
    train = torch.arange(len(sampled.rows)) < len(sampled.rows) // 2
    rates = [absorption(dictionary, sampled.rows, active, train=train).rate for active in sampled.parent_active.T]
    known = [rate for rate in rates if rate is not None]
    return math.fsum(known) / len(known) if known else None
