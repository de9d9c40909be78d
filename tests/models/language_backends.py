"""Small language models of every back end, whose weights are far from their start, where nothing is foreseen."""

import torch

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.models import build
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level

TEXTS = ["def add(a, b):\n    return a + b\n", "x = [1, 2, 3]\nprint(x)\n", "größer = 'Äpfel 🍏 und Birnen'\n"] * 20
VOCABULARY, CONTEXT = 300, 64


def net(name="llama", scale=1.5, **changes):
    """A model of the registry that prefers some tokens to others."""
    arguments = {"vocabulary": VOCABULARY, "width": 32, "layers": 2, "heads": 4, "seed": 0}
    arguments |= {"kv_heads": 2} if name == "llama" else {}
    model = build(name, **arguments | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale if parameter.ndim == 2 and name != "llama" else 1.5)
    return model


def small(name="llama", vocabulary=VOCABULARY, context=CONTEXT, **changes):
    """The language model of a fresh net with a tokenizer of its own."""
    tokenizer = byte_level(train_byte_pairs(TEXTS, vocabulary))
    return SmallLanguageModel(net(name, vocabulary=vocabulary, **changes), tokenizer, context)


def thin(**changes):
    """A net without the attention of its first block and the feed-forward layer of its second."""
    return net("thin_transformer", attention=[1, 2], mlp=[0, 2], layers=3, **changes)


def streamed(make, **changes):
    """A net that reads from compressed caches."""
    from winnow.compress.streamed import StreamedTransformer

    return StreamedTransformer(net("multi_query_transformer", **changes).eval(), make)


def caches_of_few_bits():
    from winnow.compress.staircase_kv import StaircaseCache

    return StaircaseCache((16, 4, 2), segment=4, group=4)


def exact_caches():
    from winnow.compress.staircase_kv import FullCache

    return FullCache(32)


def hooked(**changes):
    return net("hooked_transformer", scale=2, context=CONTEXT, **changes)


def counted(order=3):
    """Runs of tokens of some texts."""
    import numpy as np

    from winnow.train.ngram import fit_ngram
    from winnow.train.ngram_reader import NGramReader

    tokenizer = byte_level(train_byte_pairs(TEXTS, VOCABULARY))
    tokens = [np.append(tokenizer.encode(text), 0) for text in TEXTS]
    return NGramReader(fit_ngram(np.concatenate(tokens), order, VOCABULARY))


NETS = {
    "transformer": lambda: net("transformer"),
    "llama": net,
    "multi_query": lambda: net("multi_query_transformer"),
    "positions": lambda: net("positional_transformer", position="split", learned=True),
    "experts": lambda: net("moe_x_transformer", experts=4, hidden=16, router="learned"),
    "thin": thin,
    "hooked": hooked,
    "n-gram": counted,
    "exact_caches": lambda: streamed(exact_caches),
    "caches_of_few_bits": lambda: streamed(caches_of_few_bits),
}
"""Name -> a net of each kind that reads on."""


def of_net(make, vocabulary=None):
    vocabulary = vocabulary or byte_level(train_byte_pairs(TEXTS, VOCABULARY))
    return SmallLanguageModel(make(), vocabulary, CONTEXT)
