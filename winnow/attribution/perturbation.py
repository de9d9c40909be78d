"""Explanations by perturbing inputs: occlusion, LIME, KernelSHAP and C-LIME, for tables and images alike.

Occlusion: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. LIME: Ribeiro, Singh
and Guestrin, "Why Should I Trust You?", KDD 2016. KernelSHAP: Lundberg and Lee, "A Unified Approach to Interpreting
Model Predictions", NeurIPS 2017, with the paired sampling of Covert and Lee, "Improving KernelSHAP", AISTATS 2021.
C-LIME: Agarwal et al., "Towards the Unification and Robustness of Perturbation and Gradient Based Explanations", ICML
2021.

A *region* is what is hidden as one: by default each entry of the input, or the entries of equal number in `regions`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from torch import Tensor

from winnow.attribution.coalitions import coalitions
from winnow.attribution.least_squares import Fit, weighted_least_squares
from winnow.errors import InputError

Function = Callable[[Tensor], Tensor]
"""float[rows, ...] -> float[rows] or float[rows, outputs]."""
ENTRIES_PER_CALL = 1 << 15
"""Values that one call of a model gets at most: 256 KB of float64, so that what it makes of them stays in cache."""
FEWEST_ROWS, ROWS_PER_CALL = 16, 2048
"""Rows of a call at least, as each call costs something by itself, and at most, as layers make many values of few."""
WIDTH = 0.75
"""LIME's kernel width is this times the square root of the number of features, as in its package."""


def from_numpy(predict: Callable[[np.ndarray], np.ndarray]) -> Function:
    """A function of tensors from one of arrays, such as the `predict` of scikit-learn; it has no gradient."""
    return lambda rows: torch.from_numpy(np.asarray(predict(rows.detach().numpy())))


def chosen_output(outputs: Tensor, target: Tensor | None) -> Tensor:
    """float64[rows]: the only output of each row, or the one that target int64[rows] names."""
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        if target is None:
            raise InputError(f"target: the function has {outputs.shape[1]} outputs; name one for each row")
        outputs = outputs.gather(1, target[:, None])
    return outputs.reshape(len(outputs)).double()


def predicted_class(f: Function, x: Tensor) -> Tensor | None:
    """int64[n], the largest output of each row; None where there is one output."""
    with torch.no_grad():
        outputs = f(x)
    return outputs.argmax(dim=1) if outputs.ndim == 2 and outputs.shape[1] > 1 else None


def evaluate(
    f: Function, x: Tensor, z: Tensor, apply: Callable[[Tensor, Tensor], Tensor], target: Tensor | None = None
) -> Tensor:
    """float64[n, m]: f at apply(x_i, z_ij), in calls of many rows.

    x: [n, ...]. z: [n or 1, m, d], one row of d numbers for each perturbation. apply: (x[rows, ...], z[rows, d]) ->
    inputs [rows, ...]. target: int64[n], the output that is explained. Raises InputError where f is not finite.
    """
    n, m = len(x), z.shape[1]
    rows = max(FEWEST_ROWS, min(ROWS_PER_CALL, ENTRIES_PER_CALL // max(prod(x.shape[1:]), z.shape[2])))
    points = max(1, rows // m)
    found = torch.empty(n, m, dtype=torch.float64)
    with torch.no_grad():
        for here in (slice(first, first + points) for first in range(0, n, points)):
            for there in (slice(first, first + rows) for first in range(0, m, rows)):
                point, drawn = x[here], (z if len(z) == 1 else z[here])[:, there]
                shape = (len(point), drawn.shape[1])
                # Of a single point these are views: its entries are not copied for each row.
                inputs = apply(
                    point[:, None].expand(*shape, *x.shape[1:]).flatten(0, 1),
                    drawn.expand(*shape, -1).flatten(0, 1),
                )
                chosen = None if target is None else target[here].repeat_interleave(shape[1])
                found[here, there] = chosen_output(f(inputs), chosen).view(shape)
    if not torch.isfinite(found).all():
        raise InputError("the function is NaN or infinite at a perturbed input; check it, or perturb less")
    return found


def show(x: Tensor, masks: Tensor, baseline: Tensor | float = 0.0, regions: Tensor | None = None) -> Tensor:
    """Inputs whose regions are x where the mask is 1 and the baseline where it is 0; exact at both ends.

    x: [rows, ...]. masks: [rows, d], between 0 and 1. baseline: a number, or a tensor that broadcasts to x. regions:
    int64 of one row's shape, 0 to d - 1.
    """
    flat = masks if regions is None else masks[:, regions.flatten()]
    shown = flat.view(len(flat), *x.shape[1:]).to(x.dtype)
    if isinstance(baseline, float) and baseline == 0:
        return x * shown
    return x * shown + baseline * (1 - shown)


def every_mask(features: int) -> Tensor:
    """float64[2^d, d]: all subsets in the order of binary numbers; the last one is the whole."""
    if features > 15:
        raise InputError(f"{features} features have 2^{features} subsets; sample them above 15")
    return (torch.arange(2**features)[:, None] >> torch.arange(features - 1, -1, -1) & 1).double()


def random_masks(shape: tuple[int, ...], generator: torch.Generator, share: float = 0.5) -> Tensor:
    """float64 zeros and ones of the shape; each is 1 with probability `share`."""
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < share).double()


def exponential_kernel(x: Tensor, inputs: Tensor, width: float) -> Tensor:
    """exp(-|x - input|^2 / width^2), float64[n, m]; x: [n, d], inputs: [n, m, d]."""
    return torch.exp(-((x[:, None] - inputs) ** 2).sum(-1) / width**2)


def occlusion(
    f: Function,
    x: Tensor,
    *,
    baseline: Tensor | float = 0.0,
    hidden: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """float64 of x's shape: what f loses, on average over the masks that hide an entry.

    x: [n, ...]. hidden: bool[m, ...], the entries that each mask hides; by default one entry each. An entry that no
    mask hides gets 0. target: int64[n].
    """
    size = prod(x.shape[1:])
    away = torch.eye(size, dtype=torch.float64) if hidden is None else hidden.reshape(len(hidden), size).double()
    z = torch.cat([torch.ones(1, size, dtype=torch.float64), 1 - away])[None]
    values = evaluate(f, x, z, lambda rows, masks: show(rows, masks, baseline), target)
    lost = values[:, :1] - values[:, 1:]
    return (lost @ away / away.sum(0).clamp_min(1)).view(x.shape)


def sliding_windows(shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """bool[m, *shape]: boxes that start at every multiple of the stride until the last one reaches the far edge."""
    for size, side, step in zip(shape, window, stride, strict=True):
        if not 1 <= side <= size or not 1 <= step <= side:
            raise InputError(f"window {side}, stride {step}, input {size}: need 1 <= stride <= window <= input")
    starts = [
        torch.arange(0, -(-(size - side) // step) * step + 1, step)
        for size, side, step in zip(shape, window, stride, strict=True)
    ]
    grid = torch.cartesian_prod(*starts).view(-1, len(shape))
    inside = torch.ones(len(grid), *shape, dtype=torch.bool)
    for axis, (size, side) in enumerate(zip(shape, window, strict=True)):
        place = torch.arange(size).view([-1 if a == axis else 1 for a in range(len(shape))])
        first = grid[:, axis].view(-1, *[1] * len(shape))
        inside &= (place >= first) & (place < first + side)
    return inside


def lime(
    f: Function,
    x: Tensor,
    *,
    samples: int = 1000,
    width: float | None = None,
    baseline: Tensor | float = 0.0,
    target: Tensor | None = None,
    generator: torch.Generator,
) -> Fit:
    """LIME for tables: a linear fit to f at random masks of each x, near ones weighing most.

    x: float64[n, d]. The first mask of every x shows all. width: of the exponential kernel over the distance in the
    input; None is .75 sqrt(d). Coefficients are what showing a feature adds: of the scale weight x input.
    """
    n, d = x.shape
    masks = random_masks((n, samples, d), generator)
    masks[:, 0] = 1
    values = _of_distinct_masks(f, x, masks, baseline, target)
    # |x - input|^2 is the sum of (x - baseline)^2 over what is hidden.
    distance = ((1 - masks) @ ((x - baseline) ** 2).expand_as(x)[..., None]).squeeze(-1)
    weights = torch.exp(-distance / (WIDTH * d**0.5 if width is None else width) ** 2)
    return weighted_least_squares(masks, values, weights)


def _of_distinct_masks(
    f: Function, x: Tensor, masks: Tensor, baseline: Tensor | float, target: Tensor | None
) -> Tensor:
    """float64[n, m]: f where masks of zeros and ones [n, m, d] show x; once for each mask that a row has."""
    n, m, d = masks.shape
    if d > 15 or 2**d > 2 * m:  # few masks come twice
        return evaluate(f, x, masks, lambda rows, z: show(rows, z, baseline), target)
    every = every_mask(d)
    place = (masks @ 2.0 ** torch.arange(d - 1, -1, -1, dtype=torch.float64)).long() + torch.arange(n)[:, None] * 2**d
    values = torch.zeros(n * 2**d, dtype=torch.float64)
    values[place.flatten()] = 1
    drawn = values.nonzero().squeeze(1)
    point, mask = drawn // 2**d, every[drawn % 2**d]
    chosen = None if target is None else target[point]
    values[drawn] = evaluate(f, x[point], mask[:, None], lambda rows, z: show(rows, z, baseline), chosen)[:, 0]
    return values[place]


def kernel_shap(
    f: Function,
    x: Tensor,
    *,
    samples: int = 1000,
    baseline: Tensor | float = 0.0,
    regions: Tensor | None = None,
    target: Tensor | None = None,
    generator: torch.Generator,
) -> Fit:
    """Shapley values of regions; they sum to f(x) - f(baseline) exactly.

    x: [n, ...]. Exact where samples >= 2^d - 2, and then errors are 0. All rows share their masks. bias is
    f(baseline). regions: see the module.
    """
    d = prod(x.shape[1:]) if regions is None else int(regions.max()) + 1
    masks, weights, draws = coalitions(d, samples, generator)
    ends = torch.stack([torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64)])
    z = torch.cat([ends, masks])[None]
    values = evaluate(f, x, z, lambda rows, m: show(rows, m, baseline, regions), target)
    empty, full = values[:, 0], values[:, 1]
    whole = (torch.ones(1, d, dtype=torch.float64), (full - empty)[:, None])
    fit = weighted_least_squares(
        masks[None], values[:, 2:] - empty[:, None], weights[None], bias=False, draws=draws, constraint=whole
    )
    return fit._replace(bias=empty)


def c_lime(
    f: Function,
    x: Tensor,
    *,
    scale: float,
    samples: int = 1000,
    target: Tensor | None = None,
    generator: torch.Generator,
) -> Fit:
    """C-LIME by Stein's identity: E[f(x + xi) xi] / s^2 for xi ~ N(0, s^2), from pairs xi and -xi.

    x: float64[n, d]. samples: model rows for each x, two a pair. bias is E[f(x + xi)], loss the mean squared residual.
    """
    if samples < 4 or scale <= 0:
        raise InputError(f"C-LIME: samples {samples}, scale {scale}; give at least 4 and more than 0")
    half = torch.randn(len(x), samples // 2, x.shape[1], generator=generator, dtype=torch.float64) * scale
    z = torch.cat([half, -half], dim=1)
    values = evaluate(f, x, z, lambda rows, noise: rows + noise, target)
    above, below = values.chunk(2, dim=1)
    terms = ((above - below) / 2)[..., None] * half / scale**2
    weights, bias = terms.mean(1), values.mean(1)
    residuals = values - bias[:, None] - (z @ weights[..., None])[..., 0]
    pairs = terms.shape[1]
    return Fit(
        weights,
        bias,
        terms.std(1) / pairs**0.5,
        (residuals**2).mean(1),
        torch.full((len(x),), float(2 * pairs), dtype=torch.float64),
    )
