"""How many directions in parameter space change what a network does, where its Hessian is too large to be written down.

The Hessian of the behavioural loss (Bushnaq et al., "Using Degeneracy in the Loss Landscape for Mechanistic
Interpretability", 2024) is multiplied with vectors, and its eigenvalues are counted by Lanczos quadrature: Ubaru, Chen
and Saad, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature", SIAM J. Matrix Anal. Appl., 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp

from winnow.errors import InputError
from winnow.randomness import torch_generator

Product = Callable[[Tensor], Tensor]


class Spectrum(NamedTuple):
    """Eigenvalues of a symmetric matrix as Lanczos sees them, and how many lie above thresholds."""

    values: Tensor
    """float64[probes, steps]: Ritz values, rising."""
    weights: Tensor
    """float64[probes, steps]: how many eigenvalues each stands for; a row adds up to the size of the matrix."""
    counts: list[float]
    errors: list[float]
    """Standard error over probes, and how far off Gauss quadrature can be at the threshold."""


def behavioural_product(model: nn.Module, x: Tensor, output: Tensor | None = None) -> tuple[Product, int]:
    """Function of v float64[p] that gives the Hessian of E |f(x) - f*(x)|² times v, and the number p of parameters.

    x: float64[n, d]. output: directions float64[k, m] of the output that count, all by default. Raises InputError for a
    model that is not float64.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    if any(value.dtype != torch.float64 for value in parameters.values()):
        raise InputError("model: small eigenvalues need float64; call model.double() first")
    sizes = [value.numel() for value in parameters.values()]

    def run(values: dict[str, Tensor]) -> Tensor:
        made: Tensor = functional_call(model, values, (x,))
        return made if output is None else made @ output

    with torch.enable_grad():
        backward = vjp(run, parameters)[1]  # at the same parameters for every vector

    def product(vector: Tensor) -> Tensor:
        pieces = vector.split(sizes)
        moved = {n: piece.view_as(v) for (n, v), piece in zip(parameters.items(), pieces, strict=True)}
        with torch.enable_grad():
            back = backward(jvp(run, (parameters,), (moved,))[1])[0]
        return 2 / len(x) * torch.cat([back[name].flatten() for name in parameters])

    return product, sum(sizes)


def lanczos(product: Product, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Ritz values and squared first components float64[k <= steps] of a symmetric matrix, from a start of any length.

    Every vector is made orthogonal to all before it, twice, for rounding undoes it else; fewer than `steps` come where
    the start's Krylov space is exhausted.
    """
    basis = torch.empty(min(steps, len(start)), len(start), dtype=start.dtype)
    basis[0] = start / start.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(len(basis)):
        moved = product(basis[step])
        diagonal.append(float(moved @ basis[step]))
        known = basis[: step + 1]
        for _ in range(2):
            moved = moved - known.T @ (known @ moved)
        length = float(moved.norm())
        if step + 1 == len(basis) or length <= 1e-13 * max(map(abs, diagonal)):
            break
        beside.append(length)
        basis[step + 1] = moved / length
    matrix = torch.tensor(diagonal, dtype=torch.float64).diag()
    off = torch.tensor(beside, dtype=torch.float64)
    matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors[0].square()


def counted_above(
    product: Product,
    size: int,
    tolerances: Sequence[float],
    *,
    probes: int,
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Spectrum:
    """How many eigenvalues of a positive semi-definite float64[size, size] are above tolerances times the largest.

    probes: random sign vectors, whose mean is unbiased. steps: of Lanczos for each; by Chebyshev, Markov and Stieltjes
    a probe's count is off by no more than the larger weight of the two Ritz values around the threshold.
    """
    generator = torch_generator(seed, "spectrum", "probes")
    found = []
    for probe in range(probes):
        signs = torch.randint(2, (size,), generator=generator).double() * 2 - 1
        values, weights = lanczos(product, signs, steps)
        short = min(steps, size) - len(values)  # an exhausted space: the rest has no weight
        fill = torch.zeros(short, dtype=torch.float64)
        found.append((torch.cat([values, fill + values[-1]]), torch.cat([weights, fill]) * size))
        progress(probe + 1, probes)
    values, weights = (torch.stack(rows) for rows in zip(*found, strict=True))
    told = [counted(values, weights, tolerance * float(values.max())) for tolerance in tolerances]
    return Spectrum(values, weights, [count for count, _ in told], [error for _, error in told])


def counted(values: Tensor, weights: Tensor, threshold: float) -> tuple[float, float]:
    """How many eigenvalues are above a threshold of their own unit, and the error, as in `Spectrum`."""
    above = values > threshold
    each = (weights * above).sum(1)
    # A probe without a value above has its threshold beyond the last one.
    cut = torch.where(above.any(1), above.int().argmax(1), values.shape[1] - 1)[:, None]
    around = torch.maximum(weights.gather(1, cut), weights.gather(1, (cut - 1).clamp(min=0)))
    spread = float(each.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(each.mean()), spread + float(around.mean())
