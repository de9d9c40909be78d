"""Transcoders: sparse dictionaries that imitate a feed-forward layer, from what it reads to what it adds.

J. Dunefsky, P. Chlenski, N. Nanda, "Transcoders Find Interpretable LLM Feature Circuits", NeurIPS 2024. The code is
that of sparse autoencoders (sae.py) with a target: z = act((x - b_in) W_enc + b_enc), TC(x) = z W_dec + b_out, squared
error |y - TC(x)|^2. The input x is taken after LayerNorm, so that a latent's encoder row is what it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.dictionaries.activations import Reading
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.sae import Progress, SaeConfig, fit, fit_many
from winnow.dictionaries.store import Store
from winnow.dictionaries.trainer import History
from winnow.errors import InputError

Pairs = tuple[Any, Any] | Reading
"""x float[n, d_in] and y float[n, d_out] of the same rows, or a reading of both parts of a store of pairs."""


def fit_transcoder(pairs: Pairs, config: SaeConfig, **options: Any) -> tuple[Dictionary, History]:
    """A dictionary that reads x and decodes y, and its history; options are those of `sae.fit`.

    Raises InputError for parts of differing length, a reading of one part, and what `sae.fit` does.
    """
    store, inputs = _side_by_side(pairs)
    return fit(store, config, inputs=inputs, **options)


def fit_transcoders(
    pairs: Pairs, configs: Sequence[SaeConfig], *, progress: Progress | None = None
) -> list[tuple[Dictionary, History]]:
    """Several while the pairs are read once; each equals that of its own `fit_transcoder`."""
    store, inputs = _side_by_side(pairs)
    return fit_many(store, configs, inputs=inputs, progress=progress)


def _side_by_side(pairs: Pairs) -> tuple[Store, int]:
    """Rows with x and y in one, and the number of dimensions that are x."""
    if isinstance(pairs, Reading):
        if pairs.parts != ("x", "y"):
            raise InputError(f"activations: parts {', '.join(pairs.parts)} are read; a transcoder takes x, y")
        return pairs, int(pairs.store.meta["widths"][0])
    x, y = (part if isinstance(part, Tensor) else torch.as_tensor(part) for part in pairs)
    if len(x) != len(y):
        raise InputError(f"pairs: {len(x)} rows go in and {len(y)} come out; capture both in one run")
    return torch.cat([x, y], 1), x.shape[1]
