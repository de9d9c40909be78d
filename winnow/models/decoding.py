"""Samples of a decoder-only transformer, token by token, with keys and values kept from step to step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from winnow.errors import InputError
from winnow.models.rotary import rotated_at
from winnow.models.transformer import Attention, Block, Transformer


class Cache(NamedTuple):
    """Rotated keys and values float[n, heads, t, d] of each block."""

    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    @property
    def length(self) -> int:
        """Tokens that were seen."""
        return self.keys[0].shape[2] if self.keys else 0


@torch.no_grad()
def resume(model: Transformer, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
    """Logits float[n, t, vocabulary] of tokens int64[n, t] that follow those of the cache, and the longer cache.

    They are those of one forward over all tokens, but for rounding. Raises InputError for a model whose attention was
    put in another's place.
    """
    cache = cache or Cache()
    places = torch.arange(cache.length, cache.length + x.shape[1])
    # Of the new tokens, each sees all that came before and itself.
    visible = torch.arange(cache.length + x.shape[1]) <= places[:, None]
    stream, keys, values = model.embedding(x), [], []
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        attention = block.attention
        if type(attention) is not Attention:
            raise InputError(f"block {i}: has {type(attention).__name__}; decode models with attention of their own")
        normed = block.attention_norm(stream)
        query, key, value = (
            part(normed).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        query, key = rotated_at(query, places), rotated_at(key, places)
        if cache.keys:
            key, value = torch.cat([cache.keys[i], key], 2), torch.cat([cache.values[i], value], 2)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=visible)
        stream = stream + attention.output(mixed.transpose(1, 2).flatten(-2))
        stream = stream + block.mlp(block.mlp_norm(stream))
        keys.append(key)
        values.append(value)
    return linear(model.norm(stream), model.embedding.weight), Cache(tuple(keys), tuple(values))


def generate(
    model: Transformer,
    prompt: Tensor,
    count: int,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    cached: bool = True,
) -> Tensor:
    """int64[n, count]: tokens that follow a prompt int64[n, t], each drawn from the softmax of logits / temperature.

    temperature 0 takes the likeliest. cached False reads all tokens again at each step: slower, with the same result.
    Raises InputError for an empty prompt, a count below 1 and a temperature below 0.
    """
    if prompt.shape[1] < 1 or count < 1 or not temperature >= 0:
        told = f"{prompt.shape[1]} tokens, count {count}, temperature {temperature}"
        raise InputError(f"generate: {told}; give a prompt, 1 or more tokens and a temperature of 0 or more")
    x, latest, cache = prompt, prompt, None
    for _ in range(count):
        if cached:
            logits, cache = resume(model, latest, cache)
        else:
            with torch.no_grad():
                logits = model(x)
        last = logits[:, -1]
        if temperature == 0:
            latest = last.argmax(-1, keepdim=True)
        else:
            latest = torch.multinomial((last / temperature).softmax(-1), 1, generator=generator)
        x = torch.cat([x, latest], dim=1)
    return x[:, prompt.shape[1] :]
