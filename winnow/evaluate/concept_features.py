"""What concept-based explanations read off a model: features of a layer, its maps, and gradients in them.

The features of a layer of maps are their means over places; moving them along a direction moves every place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.evaluate.concept_audit import split_probe
from winnow.evaluate.concept_probes import ProbeSet
from winnow.models.efficientnet_lite0 import published_state, with_imagenet_weights
from winnow.models.hooks import capture, rest_of, run_with
from winnow.workloads.parts import probe_arrays

BATCH = 128
LAST_BLOCK = 15


class DrawnProbe(NamedTuple):
    """A rendered probe set: its rows as a model sees them, images standardised and as they are, masks of concepts."""

    probe: ProbeSet
    images: Tensor
    pixels: np.ndarray
    masks: np.ndarray


def drawn_probe(
    workload: Any,
    model: nn.Module,
    layer: str,
    sizes: Sequence[int],
    seed: int,
    name: str,
    shift: float,
    masked: int = 0,
) -> DrawnProbe:
    """Images of a probe set with a model's features and predictions; sizes of train, valid, test. As `probe_arrays`."""
    pixels, concepts, masks = probe_arrays(name, sum(sizes), seed, workload.shape[1], shift, masked)
    images = workload.standardise(pixels)
    features = probe_features(model, images, layer).double().numpy()
    predicted = predictions(model, images).argmax(dim=1).numpy()
    return DrawnProbe(split_probe(features, concepts, predicted, sizes), images, pixels, masks)


@torch.no_grad()
def probe_features(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """float32[n, d]: the layer's output on images, the mean over places where it has any. The model is in eval mode."""
    model.eval()
    found = []
    for x in images.split(BATCH):
        rows = capture(model, x, layer)
        found.append(rows.unflatten(0, (len(x), -1)).mean(dim=1))
    return torch.cat(found)


@torch.no_grad()
def published_features(tensors: Mapping[str, Tensor], pixels: np.ndarray) -> Tensor:
    """float32[n, 320]: what the last block of EfficientNet-Lite0 puts out, the mean over places.

    tensors: the published state dict. pixels: uint8[n, h, w, 3]. Raises InputError for tensors that do not fit.
    """
    model = with_imagenet_weights(published_state(tensors))
    scaled = (torch.from_numpy(pixels).movedim(3, 1).float() - 127) / 128
    return torch.cat([model.features(x, LAST_BLOCK).mean((2, 3)) for x in scaled.split(BATCH)])


def seen_by_published(probe: ProbeSet, tensors: Mapping[str, Tensor], pixels: np.ndarray) -> ProbeSet:
    """A probe set with `published_features` of its images uint8[n, h, w, 3]: train first, then valid, then test."""
    features = published_features(tensors, pixels).double().numpy()
    parts = np.split(features, np.cumsum([len(part.predictions) for part in probe.values()])[:-1])
    return {split: part._replace(features=rows) for (split, part), rows in zip(probe.items(), parts, strict=True)}


@torch.no_grad()
def layer_maps(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """float32[n, d, h, w]: the output of a layer of maps."""
    model.eval()
    return torch.cat([rest_of(model, x, layer)[0] for x in images.split(BATCH)])


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor) -> Tensor:
    """float32[n, classes]: the model's logits."""
    model.eval()
    return torch.cat([model(x) for x in images.split(BATCH)])


def logit_gradients(model: nn.Module, images: Tensor, layer: str, target: int) -> Tensor:
    """float32[n, d]: how much the logit of class `target` rises as the layer's features rise, all places alike."""
    model.eval()
    found = []
    for x in images.split(BATCH):
        held: list[Tensor] = []

        def hold(rows: Tensor, held: list[Tensor] = held) -> Tensor:
            held.append(rows.detach().requires_grad_())
            return held[0]

        logits = run_with(model, x, layer, hold)
        (slopes,) = torch.autograd.grad(logits[:, target].sum(), held)
        found.append(slopes.unflatten(0, (len(x), -1)).sum(dim=1))
    return torch.cat(found)
