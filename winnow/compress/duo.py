"""Duo-LLM: a large and a small feed-forward layer in each block, routes through them, oracles and learned routers.

Alizadeh, Mirzadeh, Shahrokhi, Belenko, Sun, Cho, Sekhavat, Nabi, Farajtabar, "Duo-LLM: A Framework for Studying
Adaptive Computation in Large Language Models", arXiv 2410.10846, 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from winnow.errors import InputError
from winnow.models.rotary import rotated
from winnow.models.transformer import Attention, FeedForward, Transformer, first_spread, initialise

SMALL, BIG, SKIP = 0, 1, 2
"""What a route says for a layer: which feed-forward layer a token takes, or none."""
MOST_LAYERS = 12
"""Beyond so many, all routes are too many to try."""


class DuoFeedForward(nn.Module):
    """Two feed-forward layers, of which each token takes one, none, or a mixture."""

    def __init__(self, width: int, big: int, small: int) -> None:
        super().__init__()
        self.big, self.small = FeedForward(width, big), FeedForward(width, small)

    def forward(self, x: Tensor, choice: Tensor) -> Tensor:
        """What is added to tokens float[n, t, width]; choice: int[n, t], or float[n, t] as the share of big.

        Tokens are gathered by their layer, so that each layer computes for its own tokens alone.
        """
        if choice.is_floating_point():
            return torch.lerp(self.small(x), self.big(x), choice[..., None])
        out = torch.zeros_like(x)
        for which, layer in ((SMALL, self.small), (BIG, self.big)):
            taken = choice == which
            out[taken] = layer(x[taken])
        return out


class DuoTransformer(Transformer):
    """A `Transformer` with a small twin of each feed-forward layer; both are trained by drawing routes.

    big, small: their inner widths. Arguments and errors are otherwise those of `Transformer`.
    """

    blocks: Any

    def __init__(
        self, vocabulary: int, width: int = 64, layers: int = 6, heads: int = 4, big: int = 256, small: int = 16
    ) -> None:
        super().__init__(vocabulary, width, layers, heads, big)
        for block in self.blocks:
            mlp = DuoFeedForward(width, big, small)
            initialise(mlp, width)
            for part in (mlp.big, mlp.small):
                nn.init.normal_(part.down.weight, std=first_spread(width, layers))
            block.mlp = mlp

    def forward(self, x: Tensor, route: Tensor | None = None) -> Tensor:
        """Logits float32[n, t, vocabulary] of tokens int64[n, t].

        route: int[layers] for all tokens, int[layers, n, t], or float[layers, n, t] as shares of the big layers;
        without it all are big. Raises InputError for another shape or value.
        """
        layers = self.require_route(route, x)
        x = self.embedding(x)
        for block, choice in zip(self.blocks, layers, strict=True):
            x = x + block.attention(block.attention_norm(x))
            x = x + block.mlp(block.mlp_norm(x), choice)
        return linear(self.norm(x), self.embedding.weight)

    def require_route(self, route: Tensor | None, x: Tensor) -> Tensor:
        """The route as [layers, n, t]; raises InputError where it does not fit tokens int64[n, t]."""
        layers = len(self.blocks)
        if route is None:
            route = torch.full((layers,), BIG)
        if route.shape not in ((layers,), (layers, *x.shape)):
            raise InputError(f"route has shape {tuple(route.shape)}; give ({layers},) or ({layers}, {x.shape})")
        low, high = float(route.min()), float(route.max())
        most = 1 if route.is_floating_point() else SKIP
        if low < 0 or high > most:
            raise InputError(f"route has values from {low:g} to {high:g}; give 0 to {most}")
        return route if route.ndim == 3 else route[:, None, None].expand(layers, *x.shape)


def drawn_route(layers: int, shape: tuple[int, int], generator: torch.Generator, skip: float = 0.0) -> Tensor:
    """Small or big with equal chance for each layer and token, or with the chance `skip` none: int64[layers, n, t]."""
    route = torch.randint(0, 2, (layers, *shape), generator=generator)
    if not skip:
        return route
    return route.masked_fill(torch.rand(route.shape, generator=generator) < skip, SKIP)


def all_routes(layers: int, skip: bool = False) -> Tensor:
    """Every route int64[2^layers or 3^layers, layers], in the order of counting; raises InputError above 12 layers."""
    if not 1 <= layers <= MOST_LAYERS:
        raise InputError(f"layers is {layers}; all routes can be tried for 1 to {MOST_LAYERS}")
    return torch.tensor(list(product((SMALL, BIG, SKIP) if skip else (SMALL, BIG), repeat=layers)))


@torch.no_grad()
def oracle_table(model: DuoTransformer, x: Tensor, targets: Tensor, skip: bool = False) -> Tensor:
    """The loss float32[routes, targets, n, t] of each token under every route, in nats, routes as in `all_routes`.

    x: int64[n, t]. targets: int64[targets, n, t], several tokens whose loss is asked. Each token's route varies alone:
    those before it always take the big layers, so that their keys and values stay what they are.
    """
    all_routes(len(model.blocks))  # raises where they are too many
    known = keys_values(model, x)
    options = (SMALL, BIG, SKIP) if skip else (SMALL, BIG)
    asked, rows = targets.permute(1, 2, 0), []
    for end in _ends(model, known, model.embedding(x), 0, options):
        chances = linear(model.norm(end), model.embedding.weight).log_softmax(-1)
        rows.append(-chances.gather(-1, asked).permute(2, 0, 1))
    return torch.stack(rows)


KeysValues = list[tuple[Tensor, Tensor]]
"""Keys and values [n, heads, t, d] of each block where all tokens take the large layers."""


@torch.no_grad()
def routed_alone(
    model: DuoTransformer, x: Tensor, choose: Callable[[int, Tensor], Tensor], known: KeysValues | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Each token of int64[n, t] routed alone, as in `oracle_table`: those before it take the large layers.

    choose: a layer's number and what its feed-forward layers are given, float[n, t, width], to choices int64[n, t].
    known: what `keys_values` gives of the same tokens, for several routes of them. Returns logits [n, t, vocabulary],
    choices [layers, n, t], and what the layers were given [layers, n, t, width].
    """
    states, choices, given = model.embedding(x), [], []
    for number, (block, beside) in enumerate(zip(model.blocks, known or keys_values(model, x), strict=True)):
        states = states + _beside(block.attention, block.attention_norm(states), *beside)
        given.append(block.mlp_norm(states))
        choices.append(choose(number, given[-1]))
        states = states + block.mlp(given[-1], choices[-1])
    return linear(model.norm(states), model.embedding.weight), torch.stack(choices), torch.stack(given)


@torch.no_grad()
def keys_values(model: DuoTransformer, x: Tensor) -> KeysValues:
    """Of tokens int64[n, t] that all take the large layers."""
    found, states = [], model.embedding(x)
    for block in model.blocks:
        query, key, value = _heads(block.attention, block.attention_norm(states))
        found.append((key, value))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + block.attention.output(mixed.transpose(1, 2).flatten(-2))
        states = states + block.mlp.big(block.mlp_norm(states))
    return found


def _ends(
    model: DuoTransformer,
    known: KeysValues,
    states: Tensor,
    layer: int,
    options: tuple[int, ...],
) -> Iterator[Tensor]:
    """The last states of all routes from a layer on; routes that begin alike share what they share."""
    if layer == len(model.blocks):
        yield states
        return
    block = model.blocks[layer]
    states = states + _beside(block.attention, block.attention_norm(states), *known[layer])
    inner = block.mlp_norm(states)
    added = {SMALL: block.mlp.small, BIG: block.mlp.big, SKIP: torch.zeros_like}
    for option in options:
        yield from _ends(model, known, states + added[option](inner), layer + 1, options)


def _beside(attention: Attention, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What attention adds to each token, with the keys and values [n, heads, t, d] of others and its own."""
    query, key, value = _heads(attention, x)
    scores = query @ keys.transpose(-1, -2)
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu()
    own = (query * key).sum(-1, keepdim=True)
    scores = torch.cat([scores.masked_fill(ahead, -torch.inf), own], dim=-1) / query.shape[-1] ** 0.5
    weights = scores.softmax(-1)
    mixed = weights[..., :-1] @ values + weights[..., -1:] * value
    return attention.output(mixed.transpose(1, 2).flatten(-2))


def _heads(attention: Attention, x: Tensor) -> list[Tensor]:
    parts = (attention.query, attention.key, attention.value)
    query, key, value = (part(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)
    return [rotated(query), rotated(key), value]


class Router(nn.Module):
    """The chance of the big layer float[n, t] of each block, from what its feed-forward layer is given."""

    def __init__(self, model: DuoTransformer) -> None:
        super().__init__()
        width = model.embedding.embedding_dim
        self.layers = nn.ModuleList(nn.Linear(width, 1) for _ in model.blocks)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def routed(
        self, model: DuoTransformer, x: Tensor, sharpness: float = 1.0, hard: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Logits [n, t, vocabulary] and shares of the big layers [layers, n, t] for tokens int64[n, t].

        Soft: both layers mixed by sigmoid(sharpness * score). Hard: big where the score is above 0, one layer a token.
        """
        states, shares = model.embedding(x), []
        for block, layer in zip(model.blocks, self.layers, strict=True):
            states = states + block.attention(block.attention_norm(states))
            inner = block.mlp_norm(states)
            choice = _picked(layer, inner) if hard else (sharpness * layer(inner)[..., 0]).sigmoid()
            states = states + block.mlp(inner, choice)
            shares.append(choice.to(states.dtype))
        return linear(model.norm(states), model.embedding.weight), torch.stack(shares)

    def choice(self, number: int, given: Tensor) -> Tensor:
        """What the router of one layer picks, int64[n, t], from what its feed-forward layers are given."""
        return _picked(self.layers[number], given)


def _picked(layer: nn.Module, given: Tensor) -> Tensor:
    chosen: Tensor = (layer(given)[..., 0] > 0).long()
    return chosen


def budget_loss(shares: Tensor, target: float, by_layer: bool = False) -> Tensor:
    """How far shares float[layers, n, t] are from a target: (their mean - target)^2, or the mean of it over layers."""
    means = shares.mean((1, 2)) if by_layer else shares.mean()
    return (means - target).square().mean()
