"""A linear layer pruned or rounded so that what it puts out changes least, by the second moments of its inputs.

Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", ICLR 2023; Frantar, Alistarh, "SparseGPT", ICML 2023; both after Hassibi,
Stork, "Optimal Brain Surgeon", NeurIPS 1992. Columns are settled one after another, and what each loses is made up for
by those that follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.models.packing import FewBits

DAMPING = 0.01
"""Added to the diagonal, as a share of its mean."""


def second_moment(inputs: Tensor) -> Tensor:
    """Twice the mean outer product float32[d, d] of the inputs float32[rows, d] of a layer: the Hessian of its error.

    Raises InputError for inputs that are not finite or none.
    """
    if not len(inputs) or not torch.isfinite(inputs).all():
        raise InputError(f"inputs: {len(inputs)} rows, or some that are not finite; give finite calibration data")
    return 2 * inputs.T @ inputs / len(inputs)


def output_error(weight: Tensor, changed: Tensor, hessian: Tensor) -> float:
    """The squared error of a layer's outputs, over the mean square of the outputs themselves."""
    lost = weight - changed
    size = float(((weight @ hessian) * weight).sum())
    return float(((lost @ hessian) * lost).sum()) / size if size else 0.0


def _inverse_factor(weight: Tensor, hessian: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """The weight without inputs that are always zero, and the upper Cholesky factor of the damped inverse."""
    if hessian.shape != (weight.shape[1], weight.shape[1]):
        raise InputError(
            f"hessian is {tuple(hessian.shape)}; the weight {tuple(weight.shape)} needs its inputs squared"
        )
    hessian, weight = hessian.double().clone(), weight.double().clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    weight[:, dead] = 0
    diagonal += damping * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return weight, torch.linalg.cholesky(inverse, upper=True)


def sparse_obs(weight: Tensor, hessian: Tensor, sparsity: float, damping: float = DAMPING) -> Tensor:
    """The weight float32[out, in] with exactly round(sparsity * out * in) entries zero, the others made up for it.

    The entries of the smallest w^2 / c^2 go, c being the diagonal of the inverse's Cholesky factor; they are chosen at
    once for the whole layer. Raises InputError for a sparsity outside [0, 1] or a Hessian of another size.
    """
    if not 0 <= sparsity <= 1:
        raise InputError(f"sparsity: is {sparsity}; give 0 to 1")
    left, factor = _inverse_factor(weight, hessian, damping)
    scores = (left / factor.diagonal()).square().flatten()
    gone = torch.zeros_like(scores, dtype=torch.bool)
    gone[scores.argsort(stable=True)[: round(sparsity * scores.numel())]] = True
    gone = gone.view_as(left)
    for column in range(left.shape[1]):
        error = torch.where(gone[:, column], left[:, column], 0.0) / factor[column, column]
        left[:, column:] -= error[:, None] * factor[column, column:]
    return left.masked_fill(gone, 0.0).float()


def gptq(weight: Tensor, hessian: Tensor, bits: int, group: int = 128, damping: float = DAMPING) -> FewBits:
    """The weight float32[out, in] in few bits, a scale and a zero point for each run of `group` inputs of an output.

    The grid of a run spans the smallest and largest of its weights, and zero, when its turn comes. Raises InputError
    for bits outside 1 to 8 or a Hessian of another size.
    """
    if not 1 <= bits <= 8 or group < 1:
        raise InputError(f"bits is {bits} and group {group}; give 1 to 8 bits and a group of at least 1")
    left, factor = _inverse_factor(weight, hessian, damping)
    columns, most = left.shape[1], 2**bits - 1
    codes, scales, zeros = torch.empty_like(left), [], []
    for column in range(columns):
        if column % group == 0:
            run = left[:, column : column + group]
            low, high = run.amin(1).clamp(max=0), run.amax(1).clamp(min=0)
            span = torch.where(high > low, high - low, 1.0)
            # The grid that is stored, so that errors are those of the stored weight.
            scale = (span / most).half().clamp(min=2**-24).double()
            zero = (-low / scale).round().clamp(0, most)
            scales.append(scale)
            zeros.append(zero)
        codes[:, column] = (left[:, column] / scales[-1] + zeros[-1]).round().clamp(0, most)
        error = (left[:, column] - scales[-1] * (codes[:, column] - zeros[-1])) / factor[column, column]
        left[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
    scale, zero = torch.stack(scales, 1).half(), torch.stack(zeros, 1).to(torch.uint8)
    return FewBits(codes.to(torch.uint8), scale, zero, bits, group)
