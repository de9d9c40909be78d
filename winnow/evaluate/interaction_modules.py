"""Interactions between the directions of neighbouring layers, and the modules that they form.

Bushnaq, Mendel, Heimersheim, Braun, Goldowsky-Dill, Hänni, Wu, Hobbhahn, "Using Degeneracy in the Loss Landscape for
Mechanistic Interpretability", 2024. Modularity: Newman, "Modularity and community structure in networks", 2006; its
maximum is sought as by Blondel, Guillaume, Lambiotte, Lefebvre, "Fast unfolding of communities in large networks",
2008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.interaction_basis import Basis, Part
from winnow.errors import InputError
from winnow.randomness import numpy_generator, torch_generator

Rule = Literal["gradient", "trapezoid", "gauss"]


class Modules(NamedTuple):
    """Module of each node of each layer, int64[nodes] a layer, and how modular the graph is."""

    labels: list[np.ndarray]
    modularity: float


def integration(rule: Rule, points: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Places on the way from the mean (0) to the data (1), and their weights; gradient: the data alone."""
    if rule == "gradient":
        return np.ones(1), np.ones(1)
    if points < 2:
        raise InputError(f"points: {points} do not span an integral; take at least 2")
    if rule == "trapezoid":
        weights = np.full(points, 1 / (points - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, points), weights
    places, weights = np.polynomial.legendre.leggauss(points)
    return (places + 1) / 2, weights / 2


def edge_strengths(
    part: Part,
    values: Tensor,
    source: Basis,
    target: Basis,
    rule: Rule = "gradient",
    points: int = 8,
    sources: int = 0,
    seed: int = 0,
) -> Tensor:
    """float64[rank of source, rank of target]: mean squared share of each source direction in each target direction.

    E over rows of the sum over output positions of (sum over input positions of the integral of d target / d source
    along the way from the mean to the data, times source) squared. values: float64[n, ..., width] before the part.
    sources: random signs over output positions, whose mean is unbiased; 0 takes every position.
    """
    generator = torch_generator(seed, "edges", "sources")
    coordinates = source.coordinates(values.detach())
    places, weights = integration(rule, points)
    with torch.enable_grad():
        starts = [(float(place) * coordinates).requires_grad_() for place in places]
        outputs = [part(source.values(start)) for start in starts]
        shape = outputs[0].shape[1:-1]
        strengths = torch.zeros(len(source.eigenvalues), len(target.eigenvalues), dtype=torch.float64)
        for column, direction in enumerate(target.into.T):
            for signs in _signs((len(values), *shape), sources, generator):
                shares = torch.zeros_like(coordinates)
                for start, output, weight in zip(starts, outputs, weights, strict=True):
                    # One direction of the target's, without making the others.
                    told = signs[..., None] * direction
                    shares += float(weight) * torch.autograd.grad(output, start, told, retain_graph=True)[0]
                shares = (shares * coordinates).unflatten(0, (len(values), -1)).flatten(1, -2).sum(1)
                strengths[:, column] += shares.square().mean(0) / (sources or 1)
    return strengths


def functional_strengths(
    part: Part, values: Tensor, source: Basis, target: Basis, rule: Rule = "gauss", points: int = 8
) -> Tensor:
    """float64[rank of source, rank of target]: shares in what each target direction differs by from that at the mean.

    Minus the integral, along the way from the mean to the data, of the derivative of (target there - target at the
    data) squared with respect to source, times source; over rows, summed over positions of both. Shares of a target add
    up to its mean squared difference, and can be below 0.
    """
    coordinates = source.coordinates(values.detach())
    strengths = torch.zeros(len(source.eigenvalues), len(target.eigenvalues), dtype=torch.float64)
    with torch.enable_grad():
        made = target.coordinates(part(source.values(coordinates))).detach()
        for place, weight in zip(*integration(rule, points), strict=True):
            start = (float(place) * coordinates).requires_grad_()
            missed = (made - target.coordinates(part(source.values(start)))).square().flatten(0, -2).sum(0)
            for column, told in enumerate(missed):
                gradient = torch.autograd.grad(told, start, retain_graph=True)[0]
                strengths[:, column] -= float(weight) * (gradient * coordinates).flatten(0, -2).sum(0) / len(values)
    return strengths


def _signs(shape: tuple[int, ...], sources: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random signs of rows and positions, so many times, or each position in turn."""
    if sources:
        for _ in range(sources):
            yield torch.randint(2, shape, generator=generator).double() * 2 - 1
        return
    for position in np.ndindex(*shape[1:]):
        alone = torch.zeros(shape, dtype=torch.float64)
        alone[(slice(None), *position)] = 1
        yield alone


def smallest_needed(strengths: Sequence[Tensor], loss_without: Callable[[float], float], allowed: float) -> float:
    """The strength of the weakest edge that cannot be spared: bisection over the edges of all layers together.

    loss_without: threshold -> loss where all edges below it are ablated. allowed: rise of the loss.
    """
    every = torch.cat([strength.flatten() for strength in strengths]).sort().values
    every = every[every > 0]
    if not len(every):
        raise InputError("edges: none has any strength; take layers that depend on one another")
    limit = loss_without(0.0) + allowed
    low, high = 0, len(every) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if loss_without(float(every[middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    return float(every[low])


def layered_graph(strengths: Sequence[Tensor], threshold: float) -> np.ndarray:
    """Symmetric float64[nodes, nodes] of log10(strength / threshold) where it is above 0, layers one after another."""
    sizes = [strengths[0].shape[0], *(strength.shape[1] for strength in strengths)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    graph = np.zeros((starts[-1], starts[-1]))
    for layer, strength in enumerate(strengths):
        with np.errstate(divide="ignore"):
            weights = np.maximum(np.log10(strength.numpy() / threshold), 0)
        rows, columns = slice(starts[layer], starts[layer + 1]), slice(starts[layer + 1], starts[layer + 2])
        graph[rows, columns], graph[columns, rows] = weights, weights.T
    return graph


def modularity(graph: np.ndarray, labels: np.ndarray, gamma: float = 1.0) -> float:
    """Newman's Q of a partition of a symmetric weighted graph; 0 for one without edges."""
    total = graph.sum()
    if total == 0:
        return 0.0
    same = labels[:, None] == labels[None]
    degrees = graph.sum(0)
    return float(((graph - gamma * np.outer(degrees, degrees) / total) * same).sum() / total)


def louvain(graph: np.ndarray, gamma: float = 1.0, seed: int = 0, restarts: int = 5) -> np.ndarray:
    """int64[nodes]: modules of a symmetric weighted graph, numbered in the order of their first nodes.

    Of several searches, each visiting nodes in another order, the most modular; the first of those that are equal.
    """
    if not len(graph):
        return np.empty(0, int)
    generator = numpy_generator(seed, "louvain")
    found = [_searched(graph, gamma, generator) for _ in range(restarts)]
    return max(found, key=lambda labels: round(modularity(graph, labels, gamma), 12))


def _searched(graph: np.ndarray, gamma: float, generator: np.random.Generator) -> np.ndarray:
    """Single nodes, then whole modules are moved, in turn until neither gains."""
    labels = np.arange(len(graph))
    while True:
        before = labels
        labels = _moved(graph, gamma, generator.permutation(len(graph)), labels)
        member = np.eye(labels.max() + 1)[labels]
        modules = np.arange(member.shape[1])
        coarse = member.T @ graph @ member
        labels = _renumbered(_moved(coarse, gamma, generator.permutation(len(modules)), modules)[labels])
        if (labels == before).all():
            return labels


def _moved(graph: np.ndarray, gamma: float, order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Nodes moved to the module that gains most, until none gains."""
    labels, degrees, total = labels.copy(), graph.sum(0), graph.sum()
    weight = np.bincount(labels, weights=degrees, minlength=len(graph))  # of the edges of each module
    changed = total > 0
    while changed:
        changed = False
        for node in order:
            own = labels[node]
            weight[own] -= degrees[node]
            links = np.bincount(labels, weights=graph[node], minlength=len(graph))
            links[own] -= graph[node, node]
            gains = links - gamma * weight * degrees[node] / total
            best = int(gains.argmax())
            if gains[best] <= gains[own] + 1e-12 * total:
                best = own
            weight[best] += degrees[node]
            changed |= best != own
            labels[node] = best
    return _renumbered(labels)


def _renumbered(labels: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def modules(strengths: Sequence[Tensor], threshold: float, gamma: float = 1.0, seed: int = 0) -> Modules:
    """Modules of the layered graph of edges above a threshold, and its modularity; nodes without edges count not."""
    graph = layered_graph(strengths, threshold)
    linked = graph.sum(0) > 0
    labels = np.full(len(graph), -1)
    labels[linked] = louvain(graph[np.ix_(linked, linked)], gamma, seed)
    sizes = [strengths[0].shape[0], *(strength.shape[1] for strength in strengths)]
    return Modules(np.split(labels, np.cumsum(sizes)[:-1]), modularity(graph, labels, gamma))


def shuffled(strengths: Sequence[Tensor], seed: int) -> list[Tensor]:
    """The same strengths between other nodes: within each pair of layers, edges change places at random."""
    generator = numpy_generator(seed, "shuffled edges")
    return [strength.flatten()[generator.permutation(strength.numel())].view_as(strength) for strength in strengths]
