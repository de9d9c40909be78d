"""DiffROAR: do the pixels that an attribution ranks first tell more about the class than those it ranks last?

Shah, Jain and Netrapalli, "Do Input Gradients Highlight Discriminative Features?", NeurIPS 2021. Remove and retrain:
Hooker, Erhan, Kindermans and Kim, "A Benchmark for Interpretability Methods in Deep Neural Networks", NeurIPS 2019.

Models are always trained anew on masked images and tested on masked images. A model that has seen whole images would
measure how far masked ones are from those (deletion), not what their pixels tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from winnow.attribution import gradients
from winnow.attribution.regions import energy_share, top_share
from winnow.attribution.saliency_metrics import pixel_order
from winnow.errors import InputError
from winnow.models.modes import evaluating
from winnow.randomness import torch_generator

Keep = Literal["top", "bottom"]
Target = Literal["predicted", "label"]
Split = tuple[Tensor, Tensor]
Attribute = Callable[[nn.Module, Tensor, Tensor], Tensor]
Fit = Callable[[Tensor, Tensor, int], nn.Module]
KEEPS: tuple[Keep, Keep] = ("top", "bottom")


def random_attribution(seed: int) -> Attribute:
    """The control: normal noise in place of an attribution; equal seeds give equal noise to equal numbers of images."""

    def attribute(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=torch_generator(seed, "random attribution", str(len(x))))

    return attribute


def schemes(seed: int, steps: int = 20, samples: int = 20, noise: float = 0.15) -> dict[str, Attribute]:
    """Attribution schemes by name, each (model, x, target) -> attribution of x's shape.

    steps: of integrated gradients, from an image of zeros. samples, noise: of SmoothGrad.
    """
    return {
        "logit_gradient": gradients.logit_gradient,
        "loss_gradient": gradients.loss_gradient,
        "gradient_times_input": gradients.gradient_times_input,
        "smooth_grad": lambda m, x, y: gradients.smooth_grad(m, x, y, noise, samples, seed),
        "integrated_gradients": lambda m, x, y: gradients.integrated_gradients(m, x, y, 0.0, steps),
        "random": random_attribution(seed),
    }


def predicted(model: nn.Module, x: Tensor) -> Tensor:
    """The class that the model in eval mode gives to each image: int64[n]."""
    with evaluating(model), torch.no_grad():
        return torch.cat([model(part).argmax(dim=1) for part in x.split(2048)])


def magnitudes(attribution: Tensor) -> Tensor:
    """|attribution| summed over channels: [n, c, h, w] -> [n, h, w]."""
    return attribution.abs().sum(dim=1)


def order(attribution: Tensor, x: Tensor, seed: int = 0) -> Tensor:
    """Pixels of every image from the largest magnitude to the smallest, ties in a seeded order: int32[n, h * w].

    Raises InputError for an attribution of another shape than x, or with a NaN, naming the image.
    """
    if attribution.shape != x.shape:
        first = 0 if attribution.shape[1:] != x.shape[1:] else min(len(x), len(attribution))
        shapes = f"{tuple(attribution.shape)} for images {tuple(x.shape)}"
        raise InputError(f"image {first}: the attribution has another shape ({shapes}); explain the same images")
    return pixel_order(magnitudes(attribution), seed).int()


def unmask(x: Tensor, order: Tensor, fraction: float, keep: Keep = "top", fill: Tensor | float = 0.0) -> Tensor:
    """x with the first (top) or last (bottom) share of the pixels of `order` left, and `fill` in place of the others.

    The top of a fraction and the bottom of 1 - fraction are disjoint and together the image. fill: a number or a tensor
    that broadcasts with x, such as a mean for each channel [c, 1, 1]. Raises InputError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction is {fraction}; it must be above 0 and at most 1")
    if keep not in KEEPS:
        raise InputError(f"keep is {keep!r}; use top or bottom")
    size = order.shape[1]
    share = fraction if keep == "top" else 1 - fraction
    first = round(round(share * size, 9))  # 1 - .975 is not quite .025, and half a pixel is a tie
    left = first if keep == "top" else size - first
    kept = order[:, :left] if keep == "top" else order[:, size - left :]
    mask = torch.zeros(order.shape, dtype=torch.bool).scatter_(1, kept.long(), True)
    return torch.where(mask.view(len(x), 1, *x.shape[2:]), x, torch.as_tensor(fill, dtype=x.dtype))


def diffroar(
    explained: Mapping[int, nn.Module],
    fit: Fit,
    attribute: Attribute,
    train: Split,
    test: Split,
    fractions: Sequence[float],
    seeds: Sequence[int],
    target: Target = "predicted",
    fill: Tensor | float | None = None,
) -> pa.Table:
    """Test accuracy of new models on what an attribution keeps of the images: one row a fraction, side and seed.

    explained: seed of a model -> the model whose attributions mask both splits. fit(x, y, seed) trains a new model.
    seeds: of the retraining. target: the class explained; explaining the true label of test images lets the masks tell
    it. fill: of masked pixels; left out, the mean of each channel over train.
    Columns: fraction, keep, model_seed, retrain_seed, accuracy.
    """
    if target not in ("predicted", "label"):
        raise InputError(f"target is {target!r}; use predicted or label")
    if fill is None:
        fill = train[0].mean(dim=(0, 2, 3)).view(-1, 1, 1)
    rows = []
    for model_seed, model in explained.items():
        orders = []
        for x, y in (train, test):
            of = predicted(model, x) if target == "predicted" else y
            orders.append(order(attribute(model, x, of), x, model_seed))
        for fraction in fractions:
            for keep in KEEPS:
                kept, shown = (
                    unmask(x, o, fraction, keep, fill) for (x, _), o in zip((train, test), orders, strict=True)
                )
                for seed in seeds:
                    right = predicted(fit(kept, train[1], seed), shown) == test[1]
                    rows.append((fraction, keep, model_seed, seed, float(right.double().mean())))
    columns = list(zip(*rows, strict=True))
    return pa.table(dict(zip(("fraction", "keep", "model_seed", "retrain_seed", "accuracy"), columns, strict=True)))


def differences(table: pa.Table) -> pa.Table:
    """DiffROAR, the accuracy on the top less that on the bottom, of each pair of models that `diffroar` trained.

    Columns: fraction, model_seed, retrain_seed, diffroar.
    """
    keys = ["fraction", "model_seed", "retrain_seed"]
    top, bottom = (
        table.filter(pc.field("keep") == keep).sort_by([(key, "ascending") for key in keys]) for keep in KEEPS
    )
    if not top.select(keys).equals(bottom.select(keys)):
        raise InputError("the table lacks the top or the bottom of a pair; make it with diffroar")
    return top.select(keys).append_column("diffroar", pc.subtract(top["accuracy"], bottom["accuracy"]))


def means(table: pa.Table) -> dict[float, dict[str, float]]:
    """Share of pixels kept -> diffroar, top_accuracy and bottom_accuracy: means over the seeds of `diffroar`."""
    differences(table)  # which refuses a table with a side missing
    found: dict[float, dict[str, float]] = {}
    for row in table.group_by(["fraction", "keep"]).aggregate([("accuracy", "mean")]).to_pylist():
        found.setdefault(row["fraction"], {})[f"{row['keep']}_accuracy"] = row["accuracy_mean"]
    return {
        fraction: {"diffroar": sides["top_accuracy"] - sides["bottom_accuracy"], **sides}
        for fraction, sides in sorted(found.items())
    }


def leakage(attribution: Tensor, images: Tensor, inside: np.ndarray, top: float = 0.05, seed: int = 0) -> pa.Table:
    """How much of each image's attribution lies in its signal block; one row an image.

    attribution, images: float[n, c, h, w]; inside: bool[n, h, w], the signal block. Columns: image_id; energy, the
    block's share of the squares; top_share, its share of the fraction `top` of pixels with the largest magnitudes;
    ink_energy, its share of the squares on pixels that are not 0, as blocks differ in how much is drawn on them.
    Chance is the block's share of the image.
    """
    region = torch.from_numpy(inside)
    maps = magnitudes(attribution)
    ink = (images != 0).any(dim=1)
    return pa.table(
        {
            "image_id": np.arange(len(maps), dtype=np.int32),
            "energy": energy_share(maps, region).numpy(),
            "top_share": top_share(maps, region, top, seed).numpy(),
            "ink_energy": energy_share(maps * ink, region).numpy(),
        }
    )
