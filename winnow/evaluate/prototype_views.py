"""The test images as prototypes are judged on them: still, with noise, and changed in four other ways.

Noise is that of Huang et al. (ICCV 2023). Brightness, a shift by a pixel and JPEG are the same for every network. What
an adversary adds is made for each: it draws the peak of each prototype elsewhere, within a bound that the eye misses.
Projected gradient descent: `winnow.models.adversarial`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from winnow.evaluate.prototype_judging import Changed, PrototypeNetwork
from winnow.evaluate.prototype_scores import moves, perturb
from winnow.models.adversarial import pgd

QUALITY = 75  # of JPEG, out of 100
RADIUS, STEPS = 0.05, 5  # of the adversary: a quarter of the noise's deviation in every pixel
ATTACKED = 10  # images of each class
BATCH = 40


class Views(NamedTuple):
    """still, noisy: float32[n, ...], as networks take them. others: by name."""

    still: Tensor
    noisy: Tensor
    others: dict[str, Changed]

    def after(self, layers: Callable[[Tensor], Tensor]) -> Views:
        """What layers put out on all of them."""
        others = {name: changed._replace(x=layers(changed.x)) for name, changed in self.others.items()}
        return Views(layers(self.still), layers(self.noisy), others)


def views(x: Tensor, pixels: np.ndarray, standardise: Callable[[np.ndarray], Tensor]) -> Views:
    """The views that no network has a part in: one set for all networks and seeds.

    x: float32[n, c, h, w], standardised. pixels: uint8[n, h, w, c], the same images. standardise: from these to x.
    """
    rows, nowhere = np.arange(len(x)), np.zeros((len(x), 2), int)
    others = {
        "brightness": Changed(perturb(x, "brightness"), rows, nowhere),
        "shift": Changed(perturb(x, "shift"), rows, moves(len(x))),
        "jpeg": Changed(standardise(as_jpeg(pixels)), rows, nowhere),
    }
    return Views(x, perturb(x), others)


def as_jpeg(pixels: np.ndarray, quality: int = QUALITY) -> np.ndarray:
    """Images as they come back from a JPEG file: uint8[n, h, w, c], c 1 or 3."""
    found = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(file)).reshape(image.shape))
    return np.stack(found)


class _OnImages(nn.Module):
    """The maps of a network behind layers that it shares with others."""

    def __init__(self, layers: Callable[[Tensor], Tensor], network: PrototypeNetwork) -> None:
        super().__init__()
        self.layers, self.network = layers, network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.maps(self.layers(x))


def attacked(network: PrototypeNetwork, layers: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> Changed:
    """The first images of each class with a change that draws the peaks of the class's prototypes elsewhere.

    network: takes what `layers` put out on images x float32[n, c, h, w]. At most RADIUS is added to any value.
    """
    rows = torch.cat([(labels == label).nonzero()[:ATTACKED, 0] for label in labels.unique()]).sort().values
    model, of = _OnImages(layers, network), network.class_of()
    found = []
    for batch in rows.split(BATCH):
        with torch.no_grad():
            peaks = model(x[batch]).flatten(2).argmax(2)
        peaks[labels[batch][:, None] != of] = -1
        delta = pgd(model, x[batch], peaks, RADIUS, norm="linf", steps=STEPS, box=None, loss=displacement)
        with torch.no_grad():
            found.append(layers(x[batch] + delta))
    return Changed(torch.cat(found), rows.numpy(), np.zeros((len(rows), 2), int))


def displacement(maps: Tensor, peaks: Tensor) -> Tensor:
    """How far maps are from peaking where they did, summed over prototypes: float[n], above 0 where all peak elsewhere.

    maps: float[n, J, h, w]; peaks: int64[n, J], a position in row-major order, or -1 for a map that does not count.
    The largest value elsewhere less that at the peak.
    """
    flat, places = maps.flatten(2), peaks.clamp_min(0)[..., None]
    elsewhere = flat.scatter(2, places, flat.detach().amin(2, keepdim=True)).amax(2)
    return ((elsewhere - flat.gather(2, places)[..., 0]) * (peaks >= 0)).sum(1)
