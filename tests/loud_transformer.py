"""A small transformer whose weights are far from their start, so that what is left out of it shows."""

import torch

from winnow.models import build


def loud_transformer(layers, vocabulary=40, scale=1.5):
    """Width 16, two heads, always the same, in eval mode; its weights are `scale` times those it starts from."""
    net = build("transformer", vocabulary=vocabulary, width=16, layers=layers, heads=2, seed=1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(scale)
    return net.eval()
