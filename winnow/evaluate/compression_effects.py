"""What compression does to a model beside its accuracy: its calibration, and how well explanations describe it.

One set of measures for every model of images or tables, dense or compressed. DiffROAR: Shah, Jain and Netrapalli,
NeurIPS 2021. Deletion and insertion: Petsiuk, Das and Saenko, "RISE", BMVC 2018. Calibration error: Guo, Pleiss, Sun
and Weinberger, ICML 2017. Linear surrogate: Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016.

The explanation is that of integrated gradients from the mean input, which also takes the place of what is hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from winnow.attribution.gradients import integrated_gradients
from winnow.attribution.least_squares import weighted_least_squares
from winnow.attribution.perturbation import WIDTH, Function, evaluate, exponential_kernel, random_masks, show
from winnow.attribution.saliency_metrics import METRICS
from winnow.errors import InputError
from winnow.evaluate.diffroar import Split, diffroar, means, predicted
from winnow.evaluate.local_approximation_study import standardised_part
from winnow.evaluate.prototype_judging import judge
from winnow.evaluate.prototype_scores import perturb
from winnow.models import build
from winnow.models.adversarial import fit_robust
from winnow.randomness import torch_generator
from winnow.workloads.annotations import part_points

MEAN_INPUT = 0.0  # models see standardised inputs
FLAT = 1e-24
"""Spread of the logits over their squares below which they are constant but for rounding in float64."""


class Examined(NamedTuple):
    """A model as a function of maps, and maps with labels to examine it on."""

    model: nn.Module
    """float[n, c, h, w] -> logits [n, classes]"""
    train: Split
    test: Split


class OfRows(nn.Module):
    """A model of rows [n, d] as one of maps [n, 1, 1, d]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.flatten(1))
        return logits


def examined(model: nn.Module, workload: Any, limit: int) -> Examined:
    """A model and the first `limit` examples of train and test; a table's rows as encoded and standardised.

    Raises InputError for a regression, which has neither classes nor a calibration.
    """
    if workload.task != "classification":
        raise InputError(f"{workload.name}: predicts a number; effects of compression are measured on classes")
    splits = [tuple(part[:limit] for part in workload.arrays(split)) for split in ("train", "test")]
    if workload.kind != "table":
        return Examined(model, *splits)
    encoder, rest = standardised_part(model)
    with torch.no_grad():
        train, test = ((encoder(x.double())[:, None, None], y) for x, y in splits)
    return Examined(OfRows(rest), train, test)


def blocks(height: int, width: int, side: int) -> Tensor:
    """Numbers of the squares that an image is cut into, int64[height, width]: `side` by `side`, or fewer if smaller.

    A single row is cut into its entries, the features of a table.
    """
    if height == 1:
        return torch.arange(width)[None]
    rows, columns = (torch.arange(size) * min(side, size) // size for size in (height, width))
    return rows[:, None] * min(side, width) + columns


def surrogate_fit(f: Function, x: Tensor, target: Tensor, regions: Tensor, samples: int, seed: int) -> float | None:
    """R^2 on new masks of the linear surrogates that LIME fits to the target's logit, one an example.

    f: float[n, c, h, w] -> logits. target: int64[n]. regions: int64[h, w], hidden as one. samples: masks to fit on, and
    as many to judge on. Squared errors of all examples are pooled before they are divided, so that an example on which
    f is flat adds nothing; None where f is flat on all. Raises InputError for fewer masks than coefficients.
    """
    count = int(regions.max()) + 1
    if samples <= count:
        raise InputError(f"samples is {samples} for {count} regions; draw more masks than there are regions")
    masks = random_masks((len(x), 2 * samples, count), torch_generator(seed, "surrogate masks"))
    own = regions.expand(x.shape[1:])
    values = evaluate(f, x, masks, lambda rows, z: show(rows, z, MEAN_INPUT, own), target)
    weights = exponential_kernel(torch.ones(len(x), count, dtype=torch.float64), masks, WIDTH * count**0.5)
    fit = weighted_least_squares(masks[:, :samples], values[:, :samples], weights[:, :samples])
    new, truth, weight = masks[:, samples:], values[:, samples:], weights[:, samples:]
    error = truth - fit.bias[:, None] - (new @ fit.coefficients[..., None])[..., 0]
    spread = truth - ((weight * truth).sum(1) / weight.sum(1))[:, None]
    total = float((weight * spread**2).sum())
    flat = total <= FLAT * float((weight * truth**2).sum())
    return None if flat else 1 - float((weight * error**2).sum()) / total


class Retrained(NamedTuple):
    """How DiffROAR trains anew, the same network whatever is explained: a perceptron, SGD with momentum .9."""

    classes: int
    hidden: list[int]
    epochs: int
    learning_rate: float
    batch_size: int

    def fit(self, x: Tensor, y: Tensor, seed: int) -> nn.Module:
        """A new model of maps; the seed decides start and order."""
        rows = x.flatten(1).float()
        net: Any = build(
            "table_mlp", seed=seed, levels=[0] * rows.shape[1], outputs=self.classes, hidden=list(self.hidden)
        )
        net.fit_scaler(rows, y)
        fit_robust(
            net,
            rows,
            y,
            0.0,
            box=None,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=lambda p: torch.optim.SGD(p, lr=self.learning_rate, momentum=0.9),
            seed=seed,
        )
        return OfRows(net.to(x.dtype))


def prototype_effects(model: Any, workload: Any, half: float, threshold: float, seed: int) -> dict[str, float]:
    """Consistency and stability_hits of a network's prototypes on annotated test images, in percent; empty without any.

    Stability is over images with a hit: prototypes that hit nothing would be perfectly stable.
    half: of the window around a part, a share of the image's longer side. threshold: share of the images in which a
    consistent prototype hits its part. See `prototype_judging`.
    """
    if not hasattr(model, "class_of"):
        return {}
    x, labels = workload.arrays("test")
    points = part_points(workload.annotations("test"))
    height, width = x.shape[2:]
    pixels = round(half * max(height, width))
    options: dict[str, Any] = {"half": pixels, "halves": [pixels], "threshold": threshold, "seed": seed}
    judged = judge(model, x, perturb(x), labels, points, size=(height, width), **options)
    return {name: judged.metrics[name] for name in ("consistency", "stability_hits")}


def effects(of: Examined, retrained: Retrained, settings: Any, seed: int) -> dict[str, float | None]:
    """Measures of one model's explanations.

    deletion, insertion: areas under the probability of the predicted class, means over test, and of a random order
    beside them. diffroar: accuracy on the share `fraction` of inputs that count most less that on the least. surrogate:
    see `surrogate_fit`, on the first `points` examples.
    settings: points, steps, curve_steps, fraction, blocks, samples.
    """

    def attribute(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return integrated_gradients(model, x, target, MEAN_INPUT, settings.steps)

    x, _ = of.test
    target = predicted(of.model, x)
    chance = torch.rand(x[:, 0].shape, generator=torch_generator(seed, "random order"))
    orders = {"": attribute(of.model, x, target).sum(dim=1), "random_": chance}
    found: dict[str, float | None] = {
        f"{kind}{name}": float(
            METRICS[key](of.model, x, target, maps, steps=settings.curve_steps, fill=MEAN_INPUT, seed=seed).mean()
        )
        for kind, maps in orders.items()
        for name, key in {"deletion": "DEL", "insertion": "INS"}.items()
    }
    table = diffroar(
        {seed: of.model}, retrained.fit, attribute, of.train, of.test, [settings.fraction], [1000 + seed],
        fill=MEAN_INPUT,
    )  # fmt: skip
    found["diffroar"] = means(table)[settings.fraction]["diffroar"]
    some, first = x[: settings.points], target[: settings.points]
    height, width = x.shape[2:]
    regions = blocks(height, width, settings.blocks)
    found["surrogate"] = surrogate_fit(of.model, some, first, regions, settings.samples, seed)
    return found
