"""Small transformers with random weights, biases and norms included."""

import torch

from winnow.models.hooked_transformer import HookedTransformer
from winnow.models.text_encoder import TextEncoder
from winnow.randomness import torch_generator


def random_transformer(seed=0, vocabulary=11, layers=2, dtype=torch.float64, **arguments):
    model = HookedTransformer(vocabulary, 24, width=6, layers=layers, heads=2, hidden=10, **arguments)
    return randomised(model, seed, dtype)


def random_encoder(seed=0, layers=2, dtype=torch.float64):
    return randomised(TextEncoder(11, 8, 3, width=6, layers=layers, heads=2, hidden=10), seed, dtype)


def randomised(model, seed, dtype):
    generator = torch_generator(seed, "test circuits")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return model.to(dtype).eval()
