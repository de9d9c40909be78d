"""Degeneracy of a network's loss landscape, and the Interaction Basis, which most of it leaves unchanged.

Bushnaq, Mendel, Heimersheim, Braun, Goldowsky-Dill, Hänni, Wu, Hobbhahn, "Using Degeneracy in the Loss Landscape for
Mechanistic Interpretability", 2024. All of it in float64: small eigenvalues decide what is kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from winnow.errors import InputError
from winnow.randomness import torch_generator

Part = Callable[[Tensor], Tensor]
LARGEST_HESSIAN = 4000


class Basis(NamedTuple):
    """Coordinates (a - mean) @ into of a layer, and back: mean + coordinates @ back. All float64.

    into: [width, rank]. back: [rank, width]. mean: [width]; the constant direction is kept apart, and never rotated.
    eigenvalues: [rank], largest first.
    """

    into: Tensor
    back: Tensor
    mean: Tensor
    eigenvalues: Tensor

    def coordinates(self, values: Tensor) -> Tensor:
        """float64[..., rank] of values float64[..., width]."""
        return (values - self.mean) @ self.into

    def values(self, coordinates: Tensor) -> Tensor:
        """float64[..., width] of coordinates float64[..., rank]."""
        return self.mean + coordinates @ self.back


class LayerDegeneracy(NamedTuple):
    """What the data leave free in a layer's matrix, biases included, and in the mixing of what it makes."""

    layer: str
    inputs: int
    outputs: int
    rank_activations: int
    rank_jacobian: int
    sync_blocks: int
    """Blocks of two or more units that fire on the same rows."""
    mixing: int
    """Directions that mix or scale the units of each block, and undo it in the next matrix."""

    @property
    def predicted_null(self) -> int:
        """Free directions, those of mixing among them."""
        return self.inputs * self.outputs - self.rank_activations * self.rank_jacobian + self.mixing


def layer_values(parts: Sequence[Part], x: Tensor, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """What stands before each part and after the last, [n, ..., width]; InputError where it is not finite."""
    values = [x.detach().to(dtype)]
    for number, part in enumerate(parts):
        values.append(part(values[-1]).detach())
        if values[-1].dtype != dtype or not torch.isfinite(values[-1]).all():
            name = str(dtype).removeprefix("torch.")
            raise InputError(f"part {number}: gives values that are not finite {name}; give a finite model in {name}")
    return values


def moments(values: Tensor, name: str = "layer") -> tuple[Tensor, Tensor]:
    """Mean float64[width] and covariance float64[width, width] over rows and positions of float64[n, ..., width].

    Warns of fewer rows than the width, which bound every rank. Raises InputError for a layer that never varies.
    """
    rows = values.flatten(0, -2)
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / len(rows)
    if float(covariance.diagonal().max()) <= 1e-24 * float(mean.square().max() + 1):
        raise InputError(f"{name}: is the same in all {len(rows)} rows; give rows that differ, or leave the layer out")
    if len(rows) < values.shape[-1]:
        warnings.warn(f"{name}: {len(rows)} rows bound the rank of {values.shape[-1]} dimensions", stacklevel=2)
    return mean, covariance


def gradient_moment(part: Part, values: Tensor, weights: Tensor, sources: int = 0, seed: int = 0) -> Tensor:
    """E[sum over positions of JᵀWWᵀJ] float64[width, width], J the Jacobian of the part, a row an average of inputs.

    values: float64[n, ..., width]. weights: W float64[width of the output, k]. sources: random signs over output
    positions and columns of W, drawn anew for each row, whose mean is unbiased (Hutchinson); 0 takes every one of them.
    """
    with torch.enable_grad():
        start = values.detach().requires_grad_()
        outputs = part(start) @ weights
        places = outputs[0].numel()
        total = torch.zeros(values.shape[-1], values.shape[-1], dtype=torch.float64)
        generator = torch_generator(seed, "interaction basis", "sources")
        for number in range(sources or places):
            if sources:
                chosen = torch.randint(2, outputs.shape, generator=generator).double() * 2 - 1
            else:
                chosen = torch.zeros(places, dtype=torch.float64)
                chosen[number] = 1
                chosen = chosen.view(outputs.shape[1:]).expand_as(outputs)
            gradient = torch.autograd.grad(outputs, start, chosen, retain_graph=True)[0].flatten(0, -2)
            total += gradient.T @ gradient
    if not torch.isfinite(total).all():
        raise InputError("Jacobian: a gradient is not finite; leave out the rows at which the model has none")
    return total / values.flatten(0, -2).shape[0] / (sources or 1)


def basis_of(mean: Tensor, covariance: Tensor, gradients: Tensor, tolerance: float = 1e-9) -> Basis:
    """Directions that are uncorrelated and whose gradients are orthonormal; what is dead in either is left out.

    tolerance: eigenvalues below it, times the largest, are dropped, of the covariance and then of the whitened
    gradients. An eigenvalue kept is the variance of its coordinate. Signs make each direction's largest entry positive.
    """
    variances, vectors = principal(covariance, tolerance)  # D, U
    scale = variances.sqrt()
    half = vectors * scale  # U D^1/2
    eigenvalues, turned = principal(half.T @ gradients @ half, tolerance)  # Λ, V
    into = vectors / scale @ turned * eigenvalues.sqrt()
    back = (half @ turned / eigenvalues.sqrt()).T
    largest = into.gather(0, into.abs().argmax(0, keepdim=True))[0]
    signs = torch.where(largest < 0, -1.0, 1.0).double()
    return Basis(into * signs, back * signs[:, None], mean, eigenvalues)


def principal(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues float64[rank] above a tolerance, relative to the largest, in falling order; vectors [width, rank]."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    keep = (values > tolerance * values[0].clamp(min=0)) & (values > 0)
    if not keep.any():
        raise InputError("basis: no direction of the layer changes the output; take an earlier output or another layer")
    return values[keep], vectors[:, keep]


def logit_gauge(groups: Sequence[int]) -> Tensor:
    """float64[k, k] that subtracts from each logit the mean of its softmax group; groups: their sizes, in order."""
    return torch.block_diag(*(torch.eye(size).double() - 1 / size for size in groups))


def interaction_basis(
    parts: Sequence[Part], x: Tensor, output: Tensor, tolerance: float = 1e-9, names: Sequence[str] = ()
) -> list[Basis]:
    """The Interaction Basis of what stands before each part: Jacobians are those of the final output.

    parts: functions float64[n, ..., width] -> float64[n, ..., width], one after another. output: float64[k, m],
    directions of the final output that matter, `logit_gauge` for logits. Raises InputError as `moments` does.
    """
    found = []
    for number, values in enumerate(layer_values(parts, x)[:-1]):
        name = names[number] if names else f"layer {number}"
        mean, covariance = moments(values, name)
        found.append(basis_of(mean, covariance, gradient_moment(_chain(parts[number:]), values, output), tolerance))
    return found


def _chain(parts: Sequence[Part]) -> Part:
    def run(values: Tensor) -> Tensor:
        for part in parts:
            values = part(values)
        return values

    return run


def behavioural_jacobian(model: nn.Module, x: Tensor, names: Sequence[str] = (), block: int = 256) -> Tensor:
    """float64[n * outputs, parameters]: how each output of each row x float64[n, d] moves with the named parameters."""
    every = {name: value.detach() for name, value in model.named_parameters()}
    chosen = {name: every[name] for name in names or every}
    rest = {name: value for name, value in every.items() if name not in chosen}

    def output(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        result: Tensor = functional_call(model, {**rest, **parameters}, (row[None],))
        return result.flatten()

    found = []
    for rows in x.split(block):
        jacobian: Any = vmap(jacrev(output), in_dims=(None, 0))(chosen, rows)
        found.append(torch.cat([jacobian[name].flatten(2) for name in chosen], dim=2).flatten(0, 1))
    return torch.cat(found)


def behavioural_hessian(model: nn.Module, x: Tensor, names: Sequence[str] = (), output: Tensor | None = None) -> Tensor:
    """float64[p, p]: Hessian of E |f(x) - f*(x)|² at f = f*, exactly 2 E[JᵀJ], over the named parameters or all.

    x: float64[n, d]. output: directions of the output that count, all by default. Raises InputError for a model that is
    not float64 and for more than 4,000 parameters.
    """
    parameters = dict(model.named_parameters())
    chosen = [parameters[name] for name in names or parameters]
    if any(parameter.dtype != torch.float64 for parameter in parameters.values()):
        raise InputError("model: small eigenvalues need float64; call model.double() first")
    size = sum(parameter.numel() for parameter in chosen)
    if size > LARGEST_HESSIAN:
        raise InputError(f"Hessian: {size} parameters are more than {LARGEST_HESSIAN}; name fewer of them")
    total = torch.zeros(size, size, dtype=torch.float64)
    for rows in x.double().split(64):
        jacobian = behavioural_jacobian(model, rows, names)
        if output is not None:
            jacobian = (output.T @ jacobian.unflatten(0, (len(rows), -1))).flatten(0, 1)
        total += jacobian.T @ jacobian
    return 2 * total / len(x)


def effective_parameters(eigenvalues: Tensor, tolerance: float) -> int:
    """Eigenvalues of a Hessian that are above a tolerance, relative to the largest."""
    return int((eigenvalues > tolerance * eigenvalues.max()).sum())


def degeneracy_report(model: nn.Sequential, x: Tensor, tolerance: float = 1e-10) -> list[LayerDegeneracy]:
    """Degeneracy of each linear layer of a network of linear layers and ReLUs in turn, told without a Hessian.

    x: float64[n, d]. tolerance: eigenvalues of E[aaᵀ] and of E[BᵀB] below it, relative to the largest, are nil. A unit
    that always fires is in one block with the constant that biases multiply. Where units of a layer are silent wherever
    others of the layer before fire, still more is free than is told.
    """
    linears = [(name, module) for name, module in model.named_children() if isinstance(module, nn.Linear)]
    if any(not isinstance(module, nn.Linear | nn.ReLU | nn.Flatten) for module in model.children()):
        raise InputError("model: is no chain of linear layers and ReLUs; give one")
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}
    with torch.enable_grad():
        value = x.double()
        for name, module in model.named_children():
            if isinstance(module, nn.Linear):
                before[name] = torch.cat([value, value.new_ones(len(value), 1)], dim=1)
                after[name] = value = module(value).requires_grad_()
            else:
                value = module(value)
        outputs = value
        ways = [torch.autograd.grad(outputs[:, k].sum(), list(after.values()), retain_graph=True)
                for k in range(outputs.shape[1])]  # fmt: skip
    jacobians = {name: torch.cat([way[i] for way in ways]) for i, name in enumerate(after)}
    found = []
    for (name, module), following in zip(linears, [*linears[1:], None], strict=True):
        blocks, mixing = [], 0
        if following:
            blocks = synchronised(after[name].detach() > 0)
            activations = before[following[0]].detach()
            for units, joined in blocks:
                mixing += _rank(activations[:, joined], tolerance) * _rank(jacobians[name][:, units], tolerance)
        found.append(
            LayerDegeneracy(
                name,
                module.in_features + 1,
                module.out_features,
                _rank(before[name].detach(), tolerance),
                _rank(jacobians[name], tolerance),
                sum(len(units) > 1 for units, _ in blocks),
                mixing,
            )
        )
    return found


def synchronised(fires: Tensor) -> list[tuple[list[int], list[int]]]:
    """Blocks of units that fire on the same rows of fires bool[n, units], in the order of their first units.

    Each block twice: its units, and with the constant (numbered after the last unit) where it always fires. A unit that
    never fires is in none.
    """
    blocks: dict[bytes, list[int]] = {}
    for unit, column in enumerate(fires.T):
        if column.any():
            blocks.setdefault(column.numpy().tobytes(), []).append(unit)
    always = [fires.shape[1]]
    return [(units, units + (always if bool(fires[:, units[0]].all()) else [])) for units in blocks.values()]


def _rank(rows: Tensor, tolerance: float) -> int:
    """Rank of E[rowᵀrow]; the tolerance is of its eigenvalues, so its root is of singular values."""
    singular = torch.linalg.svdvals(rows)
    return int((singular > tolerance**0.5 * singular.max().clamp(min=1e-300)).sum())
