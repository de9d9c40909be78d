"""What concept-based explanations read off a model: features of a layer, its maps, and gradients in them.

The features of a layer of maps are their means over places; moving them along a direction moves every place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.models.hooks import capture, rest_of, run_with

BATCH = 128


@torch.no_grad()
def probe_features(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """float32[n, d]: the layer's output on images, the mean over places where it has any. The model is in eval mode."""
    model.eval()
    found = []
    for x in images.split(BATCH):
        rows = capture(model, x, layer)
        found.append(rows.reshape(len(x), -1, rows.shape[-1]).mean(dim=1))
    return torch.cat(found)


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
        width = capture(model, x[:1], layer).shape[-1]
        shift = torch.zeros(len(x), 1, width, requires_grad=True)

        def moved(rows: Tensor, shift: Tensor = shift) -> Tensor:
            return (rows.reshape(len(shift), -1, rows.shape[-1]) + shift).reshape(rows.shape)

        logits = run_with(model, x, layer, moved)
        found.append(torch.autograd.grad(logits[:, target].sum(), shift)[0][:, 0])
    return torch.cat(found)
