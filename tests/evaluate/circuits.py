"""Small transformers with random weights, biases and norms included, and a task for them."""

import torch

from winnow.evaluate.circuit_discovery import Task
from winnow.evaluate.contextual_decomposition import Node, reference_means
from winnow.models.hooked_transformer import HookedTransformer
from winnow.models.text_encoder import TextEncoder
from winnow.randomness import torch_generator

TOKENS = torch.tensor([[1, 4, 2, 7], [1, 5, 9, 2], [1, 3, 3, 8]])


def a_task(model):
    weights = torch.randn(3, 11, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return Task(TOKENS, weights, reference_means(model, TOKENS.flip(0, 1)[:, [3, 1, 0, 2]]))


def every(model):
    return [Node(layer, p, head) for layer in range(len(model.blocks)) for p in range(4) for head in range(2)]


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
