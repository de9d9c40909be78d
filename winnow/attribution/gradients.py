"""Attributions from gradients: of the input, along paths, and at a layer.

- gradient: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014
- gradient x input: Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating Activation
  Differences", ICML 2017
- integrated gradients: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017
- SmoothGrad: Smilkov, Thorat, Kim, Viegas and Wattenberg, arXiv 1706.03825, 2017
- Grad-CAM: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
  2017
- LayerCAM: Jiang, Zhang, Hou, Cheng and Wei, "LayerCAM: Exploring Hierarchical Class Activation Maps for
  Localization", IEEE TIP 2021
- path integrals at a layer: Dhamdhere, Sundararajan and Yan, "How Important Is a Neuron?", ICLR 2019

Every function takes (model, x, target): x float[n, ...], target int64[n], the class that is explained, and looks at the
model in eval mode. Attributions are signed; take their magnitude where the method's use asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.models.hooks import rest_of
from winnow.models.modes import evaluating
from winnow.randomness import torch_generator

ENTRIES = 2048 * 784
"""Numbers in the inputs of one call of the model: its activations, kept for the gradient, are many times as many."""
Score = Callable[[Tensor, Tensor], Tensor]


def target_logit(logits: Tensor, target: Tensor) -> Tensor:
    """The logit of each example's target: [n]."""
    return logits.gather(1, target[:, None])[:, 0]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each example with its target: [n], in nats."""
    return functional.cross_entropy(logits, target, reduction="none")


def logit_gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """d logit of the target / d x, of x's shape."""
    return _gradient(_checked(model, x, target), x, target, target_logit)


def loss_gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """d cross-entropy with the target / d x, of x's shape."""
    return _gradient(_checked(model, x, target), x, target, cross_entropy)


def gradient_times_input(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient of the target's logit times x, of x's shape."""
    return x * logit_gradient(model, x, target)


def integrated_gradients(
    model: nn.Module, x: Tensor, target: Tensor, baseline: Tensor | float = 0.0, steps: int = 50
) -> Tensor:
    """The logit's gradient averaged over the straight path from the baseline to x, times (x - baseline).

    baseline: a number or a tensor that broadcasts with x. The mean runs over the middles of `steps` equal pieces. The
    attributions of an example sum to the difference of its logit from the baseline's, but for the error of the mean.
    """
    start = _like(baseline, x)
    return _path_integral(_checked(model, x, target), start, x, target, _positions(steps) - 0.5 / steps)


def smooth_grad(
    model: nn.Module, x: Tensor, target: Tensor, noise: float = 0.15, samples: int = 50, seed: int = 0
) -> Tensor:
    """The logit's gradient averaged over `samples` noisy copies of x, of x's shape.

    noise: standard deviation of the Gaussian noise as a share of each example's range of values; the authors advise .1
    to .2. Equal seeds give equal noise.
    """
    if samples < 1 or noise < 0:
        raise InputError(f"samples is {samples} and noise {noise}; give at least 1 sample, and noise of 0 or more")
    flat = x.flatten(1)
    deviation = noise * (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (x.ndim - 1))
    generator = torch_generator(seed, "smooth grad")
    run, total = _checked(model, x, target), torch.zeros_like(x)
    for _ in range(samples):
        copy = x + deviation * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        total += _gradient(run, copy, target, target_logit)
    return total / samples


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str) -> Tensor:
    """relu(sum_c w_c a_c) at a layer that puts out maps a: float[n, h, w]; w_c is the mean gradient over positions."""
    activation, gradient = _at_layer(model, x, target, layer)
    return (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu()


def layer_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str) -> Tensor:
    """relu(sum_c relu(g_c) a_c) at a layer that puts out maps a with gradients g: float[n, h, w]."""
    activation, gradient = _at_layer(model, x, target, layer)
    return (gradient.relu() * activation).sum(dim=1).relu()


def layer_path_integral(
    model: nn.Module, x: Tensor, target: Tensor, layer: str, baseline: Tensor | float = 0.0, steps: int = 10
) -> Tensor:
    """Integrated gradients of what a layer puts out: of the activation's shape.

    baseline: a number or a tensor that broadcasts with the activation. The mean runs over the points
    b + k / n (a - b), k = 1 ... n.
    """
    with evaluating(model):
        activation, rest = rest_of(model, x, layer)
        return path_integral(rest, activation, target, baseline, steps)


def path_integral(
    run: Callable[[Tensor], Tensor], end: Tensor, target: Tensor, baseline: Tensor | float = 0.0, steps: int = 10
) -> Tensor:
    """The same for many baselines of one layer: run and end are the rest of the model and the activation, `rest_of`."""
    return _path_integral(run, _like(baseline, end), end, target, _positions(steps))


def upsampled(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps [n, h, w] brought to a size by bicubic interpolation, and each to the range from 0 to 1; a flat one is 0."""
    large = functional.interpolate(maps[:, None], size=(height, width), mode="bicubic", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    # A constant comes out of the interpolation with rounding errors, which must not be blown up to a map.
    flat = high - low <= 1e-6 * torch.maximum(high.abs(), low.abs())
    return torch.where(flat, 0, (large - low) / torch.where(flat, 1, high - low))


def _checked(model: nn.Module, x: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
    """The model in eval mode as a function, after a look at what it is to explain."""
    if len(x) != len(target):
        raise InputError(f"x has {len(x)} examples and target {len(target)}; give one class an example")

    def run(batch: Tensor) -> Tensor:
        with evaluating(model):
            logits: Tensor = model(batch)
        return logits

    return run


def _gradient(run: Callable[[Tensor], Tensor], x: Tensor, target: Tensor, score: Score) -> Tensor:
    """d score / d x of each example; examples do not see one another in eval mode, so one sum serves them all."""
    parts = []
    size = max(1, ENTRIES // max(1, x[:1].numel()))
    for rows, classes in zip(x.detach().split(size), target.split(size), strict=True):
        with torch.enable_grad():
            leaf = rows.clone().requires_grad_(True)
            parts.append(torch.autograd.grad(score(run(leaf), classes).sum(), leaf)[0])
    return torch.cat(parts) if parts else torch.zeros_like(x)


def _positions(steps: int) -> Tensor:
    """k / n for k = 1 ... n."""
    if steps < 1:
        raise InputError(f"steps is {steps}; a path needs at least 1")
    return torch.arange(1, steps + 1, dtype=torch.float64) / steps


def _path_integral(
    run: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, target: Tensor, positions: Tensor
) -> Tensor:
    """The mean gradient over the path's points times (end - start); all points of some examples in one call."""
    total = torch.zeros_like(end)
    group = max(1, ENTRIES // max(1, end.numel()))
    for shares in positions.to(end.dtype).split(group):
        along = shares.view(-1, *[1] * end.ndim)
        points = start + along * (end - start)
        gradient = _gradient(run, points.flatten(0, 1), target.repeat(len(shares)), target_logit)
        total += gradient.view(points.shape).sum(dim=0)
    return total / len(positions) * (end - start)


def _at_layer(model: nn.Module, x: Tensor, target: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """A layer's maps on x and the gradient of the target's logit with regard to them, [n, c, h, w] each."""
    with evaluating(model):
        activation, rest = rest_of(model, x, layer)
        if activation.ndim != 4:
            shape = tuple(activation.shape)
            raise InputError(f"layer {layer!r} puts out {shape}, which has no height and width; name a layer of maps")
        return activation, _gradient(rest, activation, target, target_logit)


def _like(baseline: Tensor | float, x: Tensor) -> Tensor:
    try:
        return torch.as_tensor(baseline, dtype=x.dtype).expand(x.shape)
    except RuntimeError as error:
        raise InputError(
            f"a baseline of shape {tuple(torch.as_tensor(baseline).shape)} fits no x of {tuple(x.shape)}"
        ) from error
