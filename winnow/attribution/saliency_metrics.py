"""How well a saliency map tells which pixels matter to a model.

- DEL and INS: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018
- POS and NEG: Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization", CVPR 2021
- ADP and PIC: Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++", WACV 2018
- AIC and SIC: Kapishnikov, Bolukbasi, Viegas and Terry, "XRAI: Better Attributions Through Regions", ICCV 2019
- energy inside a region: Wang et al., "Score-CAM", CVPR workshops 2020

Maps are float[n, h, w] over images x float[n, c, h, w]; of a map only its order counts, but for ADP and PIC, which take
values in [0, 1] as shares of a pixel that stay.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.modes import evaluating
from winnow.randomness import torch_generator

ENTRIES = 4096 * 784  # numbers in the images of one call of the model
REVEALED = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)
"""Shares of the pixels that are shown for AIC and SIC, the authors' own."""
BLUR = 0.5
"""Width of their blur over the longer side. It is wide, as drawings take fewer bytes than their own narrow blurs."""


def pixel_order(maps: Tensor, seed: int = 0) -> Tensor:
    """Pixels of each map from the largest value to the smallest: int64[n, p] into the flattened map.

    Ties stand in a random order that the seed decides, the same for all maps: by position they would favour one corner.
    maps: float[n, ...]. Raises InputError for a NaN, naming the first such map.
    """
    flat = maps.flatten(1)
    wrong = flat.isnan().any(dim=1)
    if wrong.any():
        raise InputError(f"map {int(wrong.nonzero()[0])} has a NaN; explain this image again or leave it out")
    shuffled = torch.randperm(flat.shape[1], generator=torch_generator(seed, "ties"))
    return shuffled[flat[:, shuffled].sort(dim=1, descending=True, stable=True).indices]


def pixel_ranks(maps: Tensor, seed: int = 0) -> Tensor:
    """Place of every pixel in `pixel_order`, 0 for the largest value: int64 of the maps' shape."""
    order = pixel_order(maps, seed)
    places = torch.arange(order.shape[1]).expand(order.shape)
    return torch.empty_like(order).scatter_(1, order, places).view(maps.shape)


def blurred(x: Tensor, sigma: Tensor | float) -> Tensor:
    """Maps [n, c, h, w] under a Gaussian blur of `sigma` pixels, one number or one for each example, float[n].

    Weights are cut off at the border and sum to 1 over what is left, so a constant stays what it is.
    """
    widths = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x))
    if not bool((widths > 0).all()):
        raise InputError("sigma of a blur must be above 0")

    def weights(size: int) -> Tensor:
        place = torch.arange(size, dtype=x.dtype)
        distance = (place[:, None] - place[None]) / widths[:, None, None]
        return (-(distance**2) / 2).softmax(dim=2)

    return torch.einsum("nij,ncjk,nlk->ncil", weights(x.shape[2]), x, weights(x.shape[3]))


@dataclass(frozen=True)
class Metric:
    """A metric of saliency maps: called with (model, x, target, maps), it gives a score for each image, float64[n].

    x: float[n, c, h, w]; target: int64[n], the class that the maps explain; maps: float[n, h, w]. steps: pieces of the
    curves of DEL, INS, POS and NEG. fill: what takes the place of a pixel that is removed, a number or a tensor that
    broadcasts with x. A score that is not defined is NaN. Raises InputError for maps of another shape or with a NaN.
    """

    name: str
    higher_is_better: bool
    of: Callable[[Looks, Tensor, int, int], Tensor]

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        maps: Tensor,
        *,
        steps: int = 10,
        fill: Tensor | float = 0.0,
        seed: int = 0,
    ) -> Tensor:
        if maps.shape != (len(x), *x.shape[2:]) or len(target) != len(x):
            raise InputError(
                f"maps are {tuple(maps.shape)} and targets {len(target)} for images {tuple(x.shape)}; give one an image"
            )
        return self.of(Looks(model, x, target, torch.as_tensor(fill, dtype=x.dtype)), maps, steps, seed)


@dataclass(frozen=True)
class Looks:
    """A model that looks at partly hidden images."""

    model: nn.Module
    x: Tensor
    target: Tensor
    fill: Tensor

    def probabilities(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of images [k, n, c, h, w]: the target's probability, float64[k, n], and whether it wins, bool[k, n]."""
        flat = images.flatten(0, 1)
        with evaluating(self.model), torch.no_grad():
            parts = flat.split(max(1, ENTRIES // max(1, flat[:1].numel())))
            logits = torch.cat([self.model(part) for part in parts]).view(*images.shape[:2], -1).double()
        target = self.target.expand(images.shape[:2])
        shares = logits.softmax(dim=2).gather(2, target[..., None])[..., 0]
        return shares, logits.argmax(dim=2) == target

    def shown(self, keep: Tensor) -> Tensor:
        """Images [k, n, c, h, w] in which the share `keep`, float or bool[k, n, h, w], of each pixel is left."""
        share = keep[:, :, None].to(self.x.dtype)
        return share * self.x + (1 - share) * self.fill


def _removal(
    looks: Looks, maps: Tensor, steps: int, seed: int, *, wins: bool, last_first: bool, reveal: bool
) -> Tensor:
    """Area under the target's probability, or its winning, over the share of pixels removed or shown."""
    ranks = pixel_ranks(maps, seed)
    size = ranks[0].numel()
    if last_first:
        ranks = size - 1 - ranks
    count = (torch.arange(steps + 1) * size / steps).round()[:, None, None, None]
    first = ranks < count
    probability, won = looks.probabilities(looks.shown(first if reveal else ~first))
    curve = won.double() if wins else probability
    return (curve[1:] + curve[:-1]).sum(dim=0) / (2 * steps)


def _deletion(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    return _removal(looks, maps, steps, seed, wins=False, last_first=False, reveal=False)


def _insertion(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    return _removal(looks, maps, steps, seed, wins=False, last_first=False, reveal=True)


def _positive(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    return _removal(looks, maps, steps, seed, wins=True, last_first=False, reveal=False)


def _negative(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    return _removal(looks, maps, steps, seed, wins=True, last_first=True, reveal=False)


def _masked(looks: Looks, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The target's probability on the whole images and under the maps as masks, float64[n] each."""
    if bool((maps < 0).any()) or bool((maps > 1).any()):
        raise InputError("a map leaves the range from 0 to 1, so it is no mask; bring it there first")
    both = torch.stack([torch.ones_like(maps), maps])
    whole, masked = looks.probabilities(looks.shown(both))[0]
    return whole, masked


def _drop(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    whole, masked = _masked(looks, maps)
    return (whole - masked).clamp(min=0) / whole.clamp(min=torch.finfo(torch.float64).tiny)


def _increase(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    whole, masked = _masked(looks, maps)
    return (masked > whole).double()


def compressed_sizes(images: Tensor) -> Tensor:
    """Bytes that each image [..., c, h, w] takes as 8-bit pixels after lossless compression (zlib): float64[...].

    Images must lie in [0, 1].
    """
    pixels = (images * 255).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).contiguous()
    flat = pixels.view(-1, pixels.shape[-3] * pixels.shape[-2] * pixels.shape[-1]).numpy()
    sizes = [len(zlib.compress(row.tobytes(), 9)) for row in flat]
    return torch.from_numpy(np.array(sizes, dtype=np.float64)).view(images.shape[:-3])


def _information(looks: Looks, maps: Tensor, seed: int, *, wins: bool) -> Tensor:
    """Area under the curve of score over information, while the sharp pixels return to the blurred image.

    Both axes run from the blurred image (0) to the whole one (1), and scores never fall, as the authors have it. NaN
    where the blurred image scores no less than the whole one, or takes no fewer bytes.
    """
    x = looks.x
    blur = Looks(looks.model, x, looks.target, blurred(x, BLUR * max(x.shape[2:])))
    ranks = pixel_ranks(maps, seed)
    count = (torch.tensor([0.0, *REVEALED, 1.0]) * ranks[0].numel()).round()[:, None, None, None]
    images = blur.shown(ranks < count)
    low, high = x.flatten(1).amin(1).view(-1, 1, 1, 1), x.flatten(1).amax(1).view(-1, 1, 1, 1)
    sizes = compressed_sizes((images - low) / torch.where(high > low, high - low, 1))
    probability, won = blur.probabilities(images)
    score = won.double() if wins else probability
    defined = (score[0] < score[-1]) & (sizes[0] < sizes[-1])
    span = torch.where(defined, score[-1] - score[0], 1), torch.where(defined, sizes[-1] - sizes[0], 1)
    height = ((score - score[0]) / span[0]).clamp(0, 1).cummax(dim=0).values
    place, order = ((sizes - sizes[0]) / span[1]).clamp(0, 1).sort(dim=0, stable=True)
    height = height.gather(0, order)
    area = ((height[1:] + height[:-1]) / 2 * place.diff(dim=0)).sum(dim=0)
    return torch.where(defined, area, torch.nan)


def _accuracy_information(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    return _information(looks, maps, seed, wins=True)


def _softmax_information(looks: Looks, maps: Tensor, steps: int, seed: int) -> Tensor:
    return _information(looks, maps, seed, wins=False)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("DEL", False, _deletion),
        Metric("INS", True, _insertion),
        Metric("POS", False, _positive),
        Metric("NEG", True, _negative),
        Metric("ADP", False, _drop),
        Metric("PIC", True, _increase),
        Metric("AIC", True, _accuracy_information),
        Metric("SIC", True, _softmax_information),
    )
}
"""DEL, INS: the target's probability while the pixels that count most are removed, or shown on the fill. POS, NEG: the
share of the way over which the target still wins while pixels are removed from the most, or the least, important on.
ADP: relative drop of the probability under the map as a mask; PIC: whether it rises. AIC, SIC: whether the target wins,
and its probability, over the information shown by a blurred image with sharp pixels."""
