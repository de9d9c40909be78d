"""A small transformer with random weights, biases and norms included."""

import torch

from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import torch_generator


def random_transformer(seed=0, vocabulary=11, layers=2, dtype=torch.float64, **arguments):
    model = HookedTransformer(vocabulary, 24, width=6, layers=layers, heads=2, hidden=10, **arguments)
    generator = torch_generator(seed, "test circuits")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return model.to(dtype).eval()
