"""A small model with random weights, and transcoders of its layers."""

import torch
from torch.nn.functional import normalize

from winnow.dictionaries.dictionary import Dictionary
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import vocabulary

WIDTH, LAYERS, HEADS, LATENTS = 8, 3, 2, 20


def model_of(seed=0, normalization="ln", **arguments):
    """All biases and scales are drawn, so that one that is left out is seen."""
    torch.manual_seed(seed)
    model = HookedTransformer(
        len(vocabulary()), 32, width=WIDTH, layers=LAYERS, heads=HEADS, normalization=normalization, **arguments
    )
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "ln1.weight", "ln2.weight", "ln_final.weight")):
            torch.nn.init.normal_(parameter, mean=float("ln" in name and name.endswith("weight")), std=0.5)
    return model.eval()


def transcoder(seed, k=4, activation="topk", width=WIDTH, m=LATENTS):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    threshold = draw(m).abs() / 5 if activation == "jumprelu" else torch.zeros(m)
    decoder = normalize(draw(m, width), dim=1)
    return Dictionary(
        draw(width, m) / 2, draw(m) / 5, decoder, draw(width) / 3, draw(width) / 3, threshold, activation, activation, k
    )


def transcoders(layers=range(LAYERS), **settings):
    return {layer: transcoder(layer, **settings) for layer in layers}
