"""A small model with random weights, transcoders of its layers, and how both tell later years."""

from types import SimpleNamespace

import torch
from torch.nn.functional import normalize

from winnow.dictionaries.dictionary import Dictionary
from winnow.evaluate.transcoder_latents import scene_of
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import vocabulary

WIDTH, LAYERS, HEADS, LATENTS = 8, 3, 2, 20
SETTINGS = SimpleNamespace(
    prompts=30,
    patched=4,
    references=6,
    latents=5,
    area_to=3,
    sizes=[8],
    depth=2,
    branches=5,
    coverage=0.9,
    documents=5,
    cap=False,
    firing=3,
)


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


def years_scene():
    """How the model tells later years, with transcoders of all its layers."""
    return scene_of(model_of(4), transcoders(k=8), SETTINGS, 0)
