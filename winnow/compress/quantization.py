"""Weights of eight bits: integers from -127 to 127 and one scale for each output channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.compress._masking import prunable_weights

LARGEST = 127
"""Of -128 to 127 the smallest is left out, so that a weight and its negative round alike."""


@torch.no_grad()
def round_to_int8(model: nn.Module) -> dict[str, Tensor]:
    """Round the weights of linear and convolution layers to eight bits, in place; returns their scales.

    Symmetric, so zero stays zero and masks hold; the scale of an output channel, or of an expert, is its largest
    magnitude / 127.
    Activations, biases and normalisation keep single precision. Scales: parameter name -> float32[output channels].
    Raises InputError for a model without such layers.
    Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper", 2018.
    """
    scales: dict[str, Tensor] = {}
    for name, weight in prunable_weights(model).items():
        largest = weight.detach().flatten(1).abs().amax(1)
        scale = torch.where(largest > 0, largest / LARGEST, 1.0)
        steps = scale.view(-1, *[1] * (weight.ndim - 1))
        weight.copy_((weight / steps).round().clamp(-LARGEST, LARGEST) * steps)
        scales[name] = scale
    return scales
