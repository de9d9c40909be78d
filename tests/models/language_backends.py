"""Small language models of every back end, whose weights are far from their start, where nothing is foreseen."""

import torch

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.models import build
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level

TEXTS = ["def add(a, b):\n    return a + b\n", "x = [1, 2, 3]\nprint(x)\n", "größer = 'Äpfel 🍏 und Birnen'\n"] * 20
VOCABULARY, CONTEXT = 300, 64


def net(name="llama", scale=6, **changes):
    """A model of the registry that prefers some tokens to others."""
    arguments = {"vocabulary": VOCABULARY, "width": 32, "layers": 2, "heads": 4, "seed": 0}
    arguments |= {"kv_heads": 2} if name == "llama" else {}
    model = build(name, **arguments | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale if parameter.ndim == 2 and name != "llama" else 1.5)
    return model


def small(name="llama", vocabulary=VOCABULARY, **changes):
    """The language model of a fresh net with a tokenizer of its own."""
    tokenizer = byte_level(train_byte_pairs(TEXTS, vocabulary))
    return SmallLanguageModel(net(name, vocabulary=vocabulary, **changes), tokenizer, CONTEXT)
