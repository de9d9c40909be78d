"""One map of each method of attribution for the same images, to be looked at side by side.

The methods are those of `winnow.attribution`, and LIME on superpixels (`lime_images`). The predicted class is
explained. What hides a pixel, and where paths begin, is the mean input, which is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.attribution import gradients
from winnow.attribution.perturbation import c_lime, kernel_shap, occlusion, show, sliding_windows
from winnow.attribution.relevance import Rule, relevance
from winnow.attribution.rise import coarse_masks, rise
from winnow.evaluate.lime_images import RegionExplanation, explain
from winnow.evaluate.lime_study import predictor
from winnow.randomness import torch_generator

MEAN_INPUT = 0.0  # models see standardised inputs
WINDOWS = 7
"""Windows of occlusion, and cells of coarse masks, along the shorter side of an image."""
NOISE = 0.1
"""Standard deviation of the noise of C-LIME, as a share of a region's own contrast."""


class Scene(NamedTuple):
    """A model, the images that are explained, and what methods need beside them."""

    model: nn.Module
    x: Tensor
    """float32[n, c, h, w], standardised"""
    target: Tensor
    """int64[n]"""
    layer: str
    """A submodule that puts out maps."""
    bounds: tuple[Tensor, Tensor]
    """What a black and a white pixel of each channel are, [1, c, 1, 1]."""
    regions: list[np.ndarray]
    """int32[h, w] of each image: superpixels."""
    samples: int
    """Perturbed copies of each image."""
    seed: int


def choose(predicted: np.ndarray, labels: np.ndarray, count: int, wrong: int) -> np.ndarray:
    """Rows to show: `wrong` that are misclassified, if there are, and before them right ones, class by class.

    predicted, labels: int64[n]. The first right row of each class comes before the second of any.
    """
    missed = np.flatnonzero(predicted != labels)[:wrong]
    right = np.flatnonzero(predicted == labels)
    rank = np.zeros(len(right), int)
    for label in np.unique(labels[right]):
        rank[labels[right] == label] = np.arange((labels[right] == label).sum())
    order = np.lexsort((right, labels[right], rank))
    return np.concatenate([right[order][: count - len(missed)], missed])


def explanation_maps(scene: Scene) -> dict[str, Tensor]:
    """Method -> float32[n, h, w]: above 0 what speaks for the predicted class, below 0 what speaks against it.

    Maps of several channels are summed over them. Raises InputError for a model that a method has no rule for.
    """
    return {name: method(scene).detach().float() for name, method in METHODS.items()}


def lime_regions(scene: Scene) -> list[RegionExplanation]:
    """LIME's linear model over the superpixels of each image."""
    predict = predictor(scene.model)
    arrays = [image[0].numpy() if len(image) == 1 else image.movedim(0, -1).numpy() for image in scene.x]
    return [
        explain(predict, image, labels, int(target), samples=scene.samples, seed=scene.seed + i)
        for i, (image, labels, target) in enumerate(zip(arrays, scene.regions, scene.target, strict=True))
    ]


def _by_gradient(scene: Scene, method: Callable[..., Tensor]) -> Tensor:
    return method(scene.model, scene.x, scene.target).sum(dim=1)


def _by_layer(scene: Scene, method: Callable[..., Tensor]) -> Tensor:
    maps = method(scene.model, scene.x, scene.target, scene.layer)
    return gradients.upsampled(maps, *scene.x.shape[2:])


def _layer_path(scene: Scene) -> Tensor:
    maps = gradients.layer_path_integral(scene.model, scene.x, scene.target, scene.layer).sum(dim=1, keepdim=True)
    # Enlarged linearly: a signed map must keep its 0, which `upsampled` moves.
    return functional.interpolate(maps, size=scene.x.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _by_relevance(scene: Scene, rule: Rule, bounded: bool = False) -> Tensor:
    bounds = scene.bounds if bounded else None
    maps = relevance(scene.model, scene.x, scene.target, rule=rule, bounds=bounds).input.sum(dim=1)
    if rule == "epsilon":  # it shares the logit out, and a share of a negative logit speaks against the class
        with torch.no_grad():
            maps = maps * gradients.target_logit(scene.model(scene.x), scene.target)[:, None, None]
    return maps


def _probabilities(model: nn.Module, x: Tensor) -> Tensor:
    shares: Tensor = model(x).softmax(1)
    return shares


def _occlusion(scene: Scene) -> Tensor:
    shape = tuple(scene.x.shape[1:])
    side = max(1, min(shape[1:]) // WINDOWS)
    step = max(1, side // 2)
    hidden = sliding_windows(shape, (shape[0], side, side), (shape[0], step, step))
    return occlusion(scene.model, scene.x, baseline=MEAN_INPUT, hidden=hidden, target=scene.target)[:, 0]


def _rise(scene: Scene) -> Tensor:
    height, width = scene.x.shape[2:]
    masks = coarse_masks(scene.samples, height, width, cells=min(WINDOWS, height, width), seed=scene.seed)
    shares = partial(_probabilities, scene.model)
    found = rise(shares, scene.x, masks, 0.5, baseline=MEAN_INPUT, target=scene.target)
    # What is kept, on average, where a pixel is visible; more than over the whole image speaks for the class.
    found = found * 0.5 / masks.mean(dim=0)
    return found - found.mean(dim=(1, 2), keepdim=True)


def _lime(scene: Scene) -> Tensor:
    found = lime_regions(scene)
    pairs = zip(found, scene.regions, strict=True)
    return torch.stack([torch.from_numpy(one.weight)[torch.from_numpy(labels).long()] for one, labels in pairs])


def _by_region(scene: Scene, method: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]) -> Tensor:
    """Maps of a method that gives each region of one image a number: (x, regions, target, generator) -> [1, d]."""
    maps = []
    for i, labels in enumerate(scene.regions):
        regions = torch.from_numpy(labels).long()
        generator = torch_generator(scene.seed, f"gallery {i}")
        own = regions.expand(scene.x.shape[1:])
        maps.append(method(scene.x[i : i + 1], own, scene.target[i : i + 1], generator)[0][regions])
    return torch.stack(maps)


def _kernel_shap(scene: Scene) -> Tensor:
    def values(x: Tensor, regions: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        return kernel_shap(
            scene.model, x, samples=scene.samples, baseline=MEAN_INPUT, regions=regions, target=target,
            generator=generator,
        ).coefficients  # fmt: skip

    return _by_region(scene, values)


def _c_lime(scene: Scene) -> Tensor:
    def values(x: Tensor, regions: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        def contrast(amounts: Tensor) -> Tensor:
            logits: Tensor = scene.model(show(x, amounts, MEAN_INPUT, regions))
            return logits

        whole = torch.ones(1, int(regions.max()) + 1, dtype=torch.float64)
        fit = c_lime(contrast, whole, scale=NOISE, samples=scene.samples, target=target, generator=generator)
        return fit.coefficients

    return _by_region(scene, values)


METHODS: dict[str, Callable[[Scene], Tensor]] = {
    "gradient": partial(_by_gradient, method=gradients.logit_gradient),
    "gradient x input": partial(_by_gradient, method=gradients.gradient_times_input),
    "integrated gradients": partial(_by_gradient, method=gradients.integrated_gradients),
    "SmoothGrad": partial(_by_gradient, method=gradients.smooth_grad),
    "Grad-CAM": partial(_by_layer, method=gradients.grad_cam),
    "LayerCAM": partial(_by_layer, method=gradients.layer_cam),
    "path at a layer": _layer_path,
    "LRP epsilon": partial(_by_relevance, rule="epsilon"),
    "LRP z+": partial(_by_relevance, rule="zplus"),
    "LRP z+, z^B": partial(_by_relevance, rule="zplus", bounded=True),
    "occlusion": _occlusion,
    "RISE": _rise,
    "LIME": _lime,
    "KernelSHAP": _kernel_shap,
    "C-LIME": _c_lime,
}
"""Methods by the names they are shown by."""
