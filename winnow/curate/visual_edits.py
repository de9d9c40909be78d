"""Edits of images that change one characteristic each: hue, saturation, contrast, brightness, shape or texture.

Nauta, Jutte, Provoost and Seifert, "This Looks Like That, Because ... Explaining Prototypes for Interpretable Image
Recognition", XKDD workshop at ECML PKDD 2020. Texture is taken away by non-local means (Buades, Coll and Morel, "A
Non-Local Algorithm for Image Denoising", CVPR 2005), with patches of equal weight (Darbon et al., ISBI 2008).
Images are float32[n, 3, h, w], sRGB in [0, 1], before any standardisation; so are the results.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import InputError

LUMA = (0.299, 0.587, 0.114)
REFERENCE_SIDE = 224
WAVE = 0.05
"""Half periods of the warp in a pixel of an image of 224."""
FAR = 5.0
"""Patches whose squared distance exceeds this many times that of the filter have no weight."""
FEW = 8
"""Images whose texture is taken away at once, so that what is added up stays in the processor's cache."""


def luma(images: Tensor) -> Tensor:
    """Grey value float[n, 1, h, w] (ITU-R BT.601)."""
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def to_hsv(images: Tensor) -> Tensor:
    """Hue, saturation and value of RGB, each in [0, 1]; grey has hue 0 (Smith, SIGGRAPH 1978)."""
    value, which = images.max(dim=1)
    spread = value - images.min(dim=1).values
    red, green, blue = images.unbind(dim=1)
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    sectors = torch.stack([(green - blue) / safe, 2 + (blue - red) / safe, 4 + (red - green) / safe], dim=1)
    hue = sectors.gather(1, which[:, None])[:, 0] / 6 % 1
    saturation = spread / torch.where(value > 0, value, torch.ones_like(value))
    return torch.stack([torch.where(spread > 0, hue, torch.zeros_like(hue)), saturation, value], dim=1)


def from_hsv(images: Tensor) -> Tensor:
    """RGB of hue, saturation and value."""
    hue, saturation, value = images.unbind(dim=1)
    sector = (images.new_tensor([5.0, 3.0, 1.0])[:, None, None] + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(sector, 4 - sector).clamp(0, 1))


def hue(images: Tensor, shift: float, keep_luma: bool = False) -> Tensor:
    """Turn every hue by a share of the circle. keep_luma: turn about the grey axis instead, at equal luma.

    That second form turns the chroma plane of YIQ; colours that leave the cube are clipped, which may change luma.
    """
    if not keep_luma:
        hsv = to_hsv(images)
        return from_hsv(torch.cat([(hsv[:, :1] + shift) % 1, hsv[:, 1:]], dim=1))
    to_yiq = images.new_tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
    angle = torch.tensor(2 * torch.pi * shift, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64)
    turn[1:, 1:] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    matrix = (torch.linalg.inv(to_yiq) @ turn @ to_yiq).to(images.dtype)
    return torch.einsum("dc,nchw->ndhw", matrix, images)


def saturation(images: Tensor, factor: float) -> Tensor:
    """Mix with the image's grey values: factor 0 is grey, 1 the image."""
    return factor * images + (1 - factor) * luma(images)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Mix with the mean grey of each image: factor 0 is flat, 1 the image."""
    return factor * images + (1 - factor) * luma(images).mean(dim=(1, 2, 3), keepdim=True)


def brightness(images: Tensor, factor: float) -> Tensor:
    """Multiply all values."""
    return images * factor


def shape(images: Tensor, amplitude: float) -> Tensor:
    """Warp by waves: row i is rolled by int(A sin(pi i w)), then column j likewise; pixels only change place.

    amplitude: A in pixels of an image of 224; A and w are scaled to the image, so that the warp looks alike at each
    size. Since pixels move whole, an amplitude that scales to less than one pixel does nothing.
    """
    for dim in (2, 3):
        side = images.shape[dim]
        scale = side / REFERENCE_SIDE
        lines = torch.arange(side, dtype=torch.float64) / scale
        offsets = (amplitude * scale * (torch.pi * lines * WAVE).sin()).to(torch.int64)
        other = images.shape[5 - dim]
        source = (torch.arange(other)[None] - offsets[:, None]) % other
        index = source if dim == 2 else source.T
        images = images.gather(5 - dim, index.expand(*images.shape[:2], *index.shape))
    return images


def texture(images: Tensor, strength: float, patch: int = 7, search: int = 21) -> Tensor:
    """Non-local means: each pixel becomes the mean of those around it whose patches are like its own.

    strength: h, on the scale of 0 to 255. patch, search: odd sides of patches and of the window, in pixels.
    """
    if strength == 0:
        return images
    near, reach = patch // 2, search // 2
    if min(images.shape[2:]) <= near + reach:
        raise InputError(f"images of {tuple(images.shape[2:])} are too small for texture; it needs {near + reach + 1}")
    return torch.cat([_non_local_means(few, strength, patch, search) for few in images.split(FEW)])


def _non_local_means(images: Tensor, strength: float, patch: int, search: int) -> Tensor:
    """Patches are as far apart seen from either: each distance serves two places, in the order of all places."""
    near, reach = patch // 2, search // 2
    height, width = images.shape[2:]
    around = functional.pad(images, [near + reach] * 4, mode="reflect")
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    filtered = images.shape[1] * patch**2 * (strength / 255) ** 2
    opposite: list[Tensor] = []  # weights of places beyond the middle, the last place first
    for place in range(search**2):
        y, x = divmod(place, search)
        if place < search**2 // 2:
            down, right = reach - y, reach - x
            left = min(0, right)  # the region that the place and its opposite need together begins here
            rows, columns = height + down + 2 * near, width + abs(right) + 2 * near
            centre = around[:, :, reach : reach + rows, reach + left : reach + left + columns]
            weight = _likeness(centre, around[:, :, y : y + rows, x + left : x + left + columns], patch, filtered)
            opposite.append(weight[:, :, down:, right - left : right - left + width])
            weight = weight[:, :, :height, -left : width - left]
        elif place == search**2 // 2:
            weight = torch.ones_like(weights)
        else:
            weight = opposite.pop()
        total.addcmul_(weight, around[:, :, near + y : near + y + height, near + x : near + x + width])
        weights += weight
    return total / weights


def _likeness(one: Tensor, other: Tensor, patch: int, filtered: float) -> Tensor:
    """exp(-d) of the patches around each pixel, d their squared distance over the filter's; 0 where they are far."""
    apart = (one - other).square_()
    channels = apart[:, :1] + apart[:, 1:2] + apart[:, 2:3]
    distance = _sums(_sums(channels, 2, patch), 3, patch).div_(filtered)
    # Cut off before the exponential, which is slow where it underflows.
    return torch.where(distance <= FAR, distance.clamp(max=2 * FAR).neg_().exp_(), 0.0)


def _sums(values: Tensor, dim: int, count: int) -> Tensor:
    """Sums of `count` neighbours along a dimension, by doubling: 4 additions of whole tensors for 7 neighbours."""
    length = values.shape[dim] - count + 1
    sums, at, size, found = values, 0, 1, None
    while at < count:
        if count & size:
            piece = sums.narrow(dim, at, length)
            found = piece if found is None else found + piece
            at += size
        if at < count:
            kept = sums.shape[dim] - size
            sums = sums.narrow(dim, 0, kept) + sums.narrow(dim, size, kept)
            size *= 2
    assert found is not None
    return found


EDITS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "hue": hue,
    "saturation": saturation,
    "contrast": contrast,
    "brightness": brightness,
    "shape": shape,
    "texture": texture,
}
STRENGTHS = {"hue": 0.1, "saturation": 0.7, "contrast": 0.45, "brightness": 0.8, "shape": 4.0, "texture": 4.0}
"""The paper's, and for brightness a mild one."""
IDENTITY = {"hue": 0.0, "saturation": 1.0, "contrast": 1.0, "brightness": 1.0, "shape": 0.0, "texture": 0.0}
"""Strengths that change nothing."""
STRONGEST = {"hue": 0.5, "saturation": 0.0, "contrast": 0.0, "brightness": 0.0, "shape": 40.0, "texture": 60.0}


def edit(images: Tensor, kind: str, strength: float | None = None) -> Tensor:
    """Images with one characteristic changed, clipped to [0, 1]; strength None takes the usual one.

    Raises InputError for an unknown kind, another shape, or values outside [0, 1].
    """
    if kind not in EDITS:
        raise InputError(f"edit {kind!r} is unknown; use one of {', '.join(EDITS)}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images have shape {tuple(images.shape)}; edits take [n, 3, height, width]")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise InputError("images have values outside 0 to 1; edit them before they are standardised")
    chosen = STRENGTHS[kind] if strength is None else strength
    if chosen == IDENTITY[kind]:
        return images.clone()
    return EDITS[kind](images, chosen).clamp(0, 1)


def grey(images: Tensor) -> Tensor:
    """bool[n]: images without colour, whose hue and saturation an edit cannot change."""
    return (images.amax(dim=1) == images.amin(dim=1)).flatten(1).all(dim=1)


def calibrate(images: Tensor, distance: float, steps: int = 12) -> dict[str, float]:
    """Strengths at which every edit moves images equally far: root mean square change of pixels, by bisection.

    distance: in (0, 1). An edit that cannot move images so far takes its strongest form. The warp moves whole pixels,
    so it only comes near. Raises InputError for a distance that is not above 0.
    """
    if distance <= 0:
        raise InputError(f"distance is {distance}; it must be above 0")
    found = {}
    for kind in EDITS:
        low, high = 0.0, 1.0
        for _ in range(steps):
            middle = (low + high) / 2
            strength = IDENTITY[kind] + middle * (STRONGEST[kind] - IDENTITY[kind])
            moved = float((edit(images, kind, strength) - images).square().mean().sqrt())
            low, high = (middle, high) if moved < distance else (low, middle)
        found[kind] = IDENTITY[kind] + high * (STRONGEST[kind] - IDENTITY[kind])
    return found
