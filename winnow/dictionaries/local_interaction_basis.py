"""The Local Interaction Basis: directions of each layer by what they do to the next one's, from the output backwards.

Bushnaq, Heimersheim, Goldowsky-Dill, Braun, Mendel, Hänni, Griffin, Stöhler, Wache, Hobbhahn, "The Local Interaction
Basis: Identifying Computationally-Relevant and Sparsely Interacting Features in Neural Networks", 2024. All of it in
float64; means are kept apart, so that the constant direction is never turned, dropped or ablated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from winnow.dictionaries.interaction_basis import (
    Basis,
    Part,
    basis_of,
    gradient_moment,
    layer_values,
    moments,
    principal,
)
from winnow.errors import InputError
from winnow.randomness import torch_generator

Kind = Literal["jacobian", "pca", "neuron", "random"]


def local_interaction_basis(
    parts: Sequence[Part],
    x: Tensor,
    output: Tensor,
    kind: Kind = "jacobian",
    tolerance: float = 1e-9,
    sources: int = 0,
    seed: int = 0,
    names: Sequence[str] = (),
) -> list[Basis]:
    """Bases of what stands before each part, and last of the final output.

    parts: functions float64[n, ..., width] -> float64[n, ..., width], one after another; all positions of a layer share
    its basis. output: projection float64[k, k] to what of the output counts, `logit_gauge` for logits. kind: jacobian
    is the Local Interaction Basis; pca, neuron and random (a rotation) are what it is compared with. tolerance: see
    `basis_of`, the same for all. sources: random ones a row for gradients; 0 takes all. Raises InputError for values or
    gradients that are not finite float64, and for a layer, named in `names`, that never varies; warns of too few rows.
    """
    if kind not in ("jacobian", "pca", "neuron", "random"):
        raise InputError(f"kind: {kind!r} is no basis; use jacobian, pca, neuron or random")
    values = layer_values(parts, x)
    bases = [output_basis(values[-1], output)]
    for number in reversed(range(len(parts))):
        name = names[number] if names else f"layer {number}"
        mean, covariance = moments(values[number], name)
        if kind == "jacobian":
            weights = bases[0].into
            gradients = gradient_moment(parts[number], values[number], weights, sources, seed)
            found = basis_of(mean, covariance, gradients, tolerance)
        else:
            found = rotated_basis(mean, covariance, kind, tolerance, seed, name)
        bases.insert(0, found)
    return bases


def output_basis(values: Tensor, output: Tensor) -> Basis:
    """The final output in its own coordinates, of which a projection float64[k, k] leaves what counts."""
    mean = values.flatten(0, -2).mean(0)
    return Basis(output, output, mean, ((values - mean) @ output).flatten(0, -2).square().mean(0))


def rotated_basis(mean: Tensor, covariance: Tensor, kind: Kind, tolerance: float, seed: int, name: str = "") -> Basis:
    """Principal directions, neurons as they are, or random orthogonal directions, whatever comes later.

    Eigenvalues are variances of the coordinates, which are in decreasing order for pca alone.
    """
    width = len(mean)
    if kind == "pca":
        variances, turn = principal(covariance, tolerance)
        return Basis(turn, turn.T, mean, variances)
    turn = torch.eye(width, dtype=torch.float64)
    if kind == "random":
        generator = torch_generator(seed, "random basis", name)
        turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
    return Basis(turn, turn.T, mean, (turn.T @ covariance @ turn).diagonal())
