"""Nets that read on from what they have read, and which of the registry's models become one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models import build
from winnow.models.experts import MoEXTransformer, reading_on
from winnow.models.hooked_transformer import HookedTransformer
from winnow.models.llama import Cache

EMPTY_PLACE = -1e30
"""Score of a place that a token does not see; finite, so that a row of which nothing is seen yet has numbers too."""


class Read(Protocol):
    """What a net has read of several rows; never changed."""

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, int64[n]."""
        ...

    def select(self, rows: Tensor) -> Any:
        """The same of some rows int64[k], in that order, any of them several times."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A net that reads tokens int64[n, t] after what it has read, and scores what follows."""

    embedding: nn.Embedding

    def read(self, x: Tensor, cache: Any = None, blank: Tensor | None = None) -> tuple[Tensor, Any]:
        """Last hidden states float32[n, t, width] and the longer cache; `blank` tokens at the left fill a row up."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., vocabulary] of the next token."""
        ...


def readable(net: nn.Module) -> Any:
    """The model, as one that reads on; one of the registry gives its weights to such a one.

    Raises InputError for a kind that reads no texts.
    """
    if isinstance(net, Reader):
        return net
    if isinstance(net, HookedTransformer):
        return HookedReader(net)
    if isinstance(net, MoEXTransformer):
        return reading_on(net, [block.mlp for block in net.blocks])  # type: ignore[misc]
    more: dict[str, Any] = {"transformer": {}, "multi_query_transformer": {"kv_heads": 1}, "thin_transformer": {}}
    kind = getattr(net, "registry_name", None)
    if kind not in more:
        raise InputError(f"model: a {type(net).__name__} reads no texts; use a transformer or a llama")
    llama = build("llama", **{**net.arguments, **more[str(kind)]})  # type: ignore[dict-item]
    llama.load_state_dict(net.state_dict())
    return llama


class HookedReader(nn.Module):
    """A `HookedTransformer` that reads on, its hook points left aside."""

    def __init__(self, net: HookedTransformer) -> None:
        super().__init__()
        self.net, self.embedding = net, net.embed

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., vocabulary] of the next token."""
        found: Tensor = self.net.unembed(hidden)
        return found

    def read(self, x: Tensor, cache: Cache | None = None, blank: Tensor | None = None) -> tuple[Tensor, Cache]:
        """As `Llama.read`; raises InputError beyond the context."""
        blank = cache.blank if cache is not None else torch.zeros(len(x), dtype=torch.int64) if blank is None else blank
        before = cache.length if cache is not None else 0
        columns = torch.arange(before + x.shape[1])
        own = columns[before:]
        places = (own - blank[:, None]).clamp(min=0)
        if int(places.max()) >= self.net.context:
            told = f"{int(places.max()) + 1} in a row, the model's context is {self.net.context}"
            raise InputError(f"tokens: {told}; give fewer")
        seen = (columns <= own[:, None]) & (columns >= blank[:, None, None])
        stream, keys, values = self.embedding(x) + self.net.pos_embed(places), [], []
        blocks: Any = self.net.blocks
        for index, block in enumerate(blocks):
            normed, attention = block.ln1(stream, _plain, ""), block.attn
            query, key, value = (
                part(normed).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
                for part in (attention.query, attention.key, attention.value)
            )
            if cache is not None:
                key, value = torch.cat([cache.keys[index], key], 2), torch.cat([cache.values[index], value], 2)
            scores = query @ key.mT / attention.head_width**0.5
            pattern = scores.masked_fill(~seen[:, None], EMPTY_PLACE).softmax(-1)
            stream = stream + attention.output((pattern @ value).transpose(1, 2).flatten(-2))
            stream = stream + block.mlp(block.ln2(stream, _plain, ""), _plain, "")
            keys.append(key)
            values.append(value)
        hidden: Tensor = self.net.ln_final(stream, _plain, "")
        return hidden, Cache(tuple(keys), tuple(values), blank, len(columns))


def _plain(name: str, value: Tensor) -> Tensor:
    """A tap that neither reads nor replaces."""
    return value
