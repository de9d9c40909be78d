"""Rotary positions with a bias that falls with distance, put together in several ways.

Li, "The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI",
arXiv:2410.18441, 2024, joins both "with a harmonic series"; which way is open, and each reading is a mode here.
Su et al., "RoFormer", Neurocomputing, 2024 (rotation); Press, Smith and Lewis, "Train Short, Test Long: Attention with
Linear Biases Enables Input Length Extrapolation", ICLR 2022 (bias).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, softplus

from winnow.errors import InputError
from winnow.models.llama import Cache
from winnow.models.rotary import rotated
from winnow.models.transformer import Block, Transformer

Mode = Literal["additive_harmonic", "harmonic_number", "factored", "geometric", "split", "rope", "alibi", "none"]
MODES: tuple[Mode, ...] = get_args(Mode)
BIASED = frozenset({"additive_harmonic", "harmonic_number", "factored", "geometric", "split", "alibi"})
ROTATED = frozenset({"additive_harmonic", "harmonic_number", "factored", "geometric", "split", "rope"})
HARMONIC_STRENGTH = 0.25
"""Of slopes 1, 1/2, 1/3, ..., which are far steeper than the geometric ones."""
UNSEEN = -1e30
"""Score of a place that only fills a row up; finite, so that a query there has numbers too."""


class Past(NamedTuple):
    """Rotated keys and values float[n, heads, t, d] of the latest tokens, and how many tokens were seen in all."""

    keys: Tensor
    values: Tensor
    seen: int

    def latest(self, count: int) -> Past:
        """What is left when all but the latest tokens are dropped; positions go on as before."""
        return Past(self.keys[:, :, -count:], self.values[:, :, -count:], self.seen)


def slopes(heads: int, kind: Literal["geometric", "harmonic"] = "geometric") -> Tensor:
    """float64[heads]: harmonic 1/h; or 2^(-8h/heads), between whose powers other numbers of heads take every second.

    Raises InputError for fewer than one head.
    """
    if heads < 1:
        raise InputError(f"heads: is {heads}; give at least 1")
    if kind == "harmonic":
        return 1 / torch.arange(1, heads + 1, dtype=torch.float64)
    whole = 2 ** int(math.log2(heads))
    found = [2 ** (-8 * h / whole) for h in range(1, whole + 1)]
    # Press et al., appendix A: the odd ones of the slopes of twice as many heads.
    found += [2 ** (-4 * h / whole) for h in range(1, 2 * (heads - whole), 2)]
    return torch.tensor(found, dtype=torch.float64)


def harmonic_numbers(most: int) -> Tensor:
    """float64[most + 1]: the sums of 1/i for i up to 0, 1, ..., most."""
    terms = 1 / torch.arange(1, most + 1, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), terms.cumsum(0)])


def by_distance(mode: Mode, heads: int, most: int, strength: float | None = None) -> Tensor:
    """float64[heads, most + 1]: at each distance, what is added to a score, or for `factored` its multiplier.

    additive_harmonic: -strength / h * distance; harmonic_number: -strength * slope_h * H(distance), which falls as a
    logarithm; factored: 1 / (1 + strength * slope_h * distance); geometric, alibi: -strength * slope_h * distance;
    split: as alibi on the second half of the heads; rope, none: 0. slope_h is geometric. strength None is .25 for
    additive_harmonic, and 1. Raises InputError for an unknown mode, a strength below 0 and fewer than one head.
    """
    if mode not in MODES:
        raise InputError(f"position: unknown name {mode!r}; use one of {', '.join(MODES)}")
    strength = (HARMONIC_STRENGTH if mode == "additive_harmonic" else 1.0) if strength is None else strength
    if not strength >= 0:
        raise InputError(f"strength: is {strength}; give 0 or more")
    falls = slopes(heads, "harmonic" if mode == "additive_harmonic" else "geometric") * strength
    if mode in ("rope", "none"):
        falls = torch.zeros_like(falls)
    elif mode == "split":
        alone = heads - heads // 2
        falls = torch.cat([torch.zeros(heads // 2, dtype=torch.float64), slopes(alone) * strength])
    distance = harmonic_numbers(most) if mode == "harmonic_number" else torch.arange(most + 1, dtype=torch.float64)
    product = falls[:, None] * distance
    return 1 / (1 + product) if mode == "factored" else -product


def position_bias(
    mode: Mode, heads: int, queries: Tensor, keys: Tensor, strength: float | None = None, causal: bool = True
) -> Tensor:
    """float32[heads, queries, keys] from positions int64: `by_distance` of query less key, and -inf where it is < 0.

    Without `causal`, and always for `factored`, which multiplies, a key that comes later counts as at distance 0.
    """
    distance = queries[:, None] - keys
    most = max(int(distance.max()), 0)
    bias = by_distance(mode, heads, most, strength).float()[:, distance.clamp(min=0)]
    return bias.masked_fill(distance < 0, -torch.inf) if causal and mode != "factored" else bias


class PositionalAttention(nn.Module):
    """Causal self-attention without biases, float[n, t, width] -> the same, with positions in one of the modes.

    learned: a strength of each head is trained, from the given one on, kept positive by softplus.
    """

    def __init__(
        self, width: int, heads: int, mode: Mode, strength: float | None = None, learned: bool = False
    ) -> None:
        super().__init__()
        if heads < 1 or width % (2 * heads):
            raise InputError(f"width: is {width}, no multiple of twice the {heads} heads; change one of them")
        by_distance(mode, heads, 0, strength)
        self.heads, self.mode, self.strength = heads, mode, strength
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.raw = nn.Parameter(torch.full((heads, 1, 1), math.log(math.e - 1))) if learned else None
        self._kept: tuple[int, Tensor] = (0, torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, past: Past | None, blank: Tensor | None = None) -> tuple[Tensor, Past]:
        """Output for the next tokens after those of `past`, and what to give with the tokens after these.

        blank: int64[n], how many of the oldest tokens that are kept fill a row up, and are seen by none after them.
        """
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = past.seen if past else 0
        here = torch.arange(seen, seen + x.shape[1]) if past else None  # from the first on they are kept
        query, key = self._rotated(query, here), self._rotated(key, here)
        if past:
            key, value = torch.cat([past.keys, key], 2), torch.cat([past.values, value], 2)
        empty = None if blank is None else torch.arange(key.shape[2]) < blank[:, None, None, None]
        mixed = self._mixed(query, key, value, empty)
        return self.output(mixed.transpose(1, 2).flatten(-2)), Past(key, value, seen + x.shape[1])

    def _rotated(self, x: Tensor, positions: Tensor | None) -> Tensor:
        if self.mode == "split":
            half = self.heads // 2
            return torch.cat([rotated(x[:, :half], positions), x[:, half:]], dim=1)
        return rotated(x, positions) if self.mode in ROTATED else x

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, empty: Tensor | None) -> Tensor:
        new, all_keys = query.shape[2], key.shape[2]
        bias = self._bias(new, all_keys)
        if self.raw is not None and self.mode != "factored":
            gain = softplus(self.raw)
            bias = torch.where(torch.isinf(bias), bias, gain * bias.clamp(min=-1e30))
        if self.mode != "factored":
            bias = bias.to(query.dtype)[None]
            # Later tokens stay at -inf, so that a query with none but empty places before it takes those.
            bias = bias if empty is None else torch.where(empty, bias.clamp(max=UNSEEN), bias)
            return scaled_dot_product_attention(query, key, value, attn_mask=bias)
        if self.raw is not None:
            bias = 1 / (1 + softplus(self.raw) * (1 / bias - 1))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 * bias.to(query.dtype)
        scores = scores if empty is None else scores.masked_fill(empty, UNSEEN)
        later = torch.ones(new, all_keys, dtype=torch.bool).triu(all_keys - new + 1)
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ value

    def _bias(self, new: int, all_keys: int) -> Tensor:
        """The bias of the latest `new` of `all_keys` tokens: it depends on distances alone, whatever was dropped."""
        length, kept = self._kept
        if length != all_keys or kept.shape[1] < new:
            places = torch.arange(all_keys)
            kept = position_bias(self.mode, self.heads, places[-new:], places, self.strength)
            self._kept = (all_keys, kept)
        return kept[:, kept.shape[1] - new :]


def with_positions(model: Transformer, mode: Mode, strength: float | None = None, learned: bool = False) -> Transformer:
    """Put this attention, with the same weights, into each block of a decoder-only model, in place; returns it."""
    for block in model.blocks:
        assert isinstance(block, Block)
        before = block.attention
        after = PositionalAttention(before.query.in_features, before.heads, mode, strength, learned)
        after.load_state_dict(before.state_dict(), strict=False)
        block.attention = after  # type: ignore[assignment]
    return model


class PositionalTransformer(Transformer):
    """A `Transformer` with positions in one of the modes, which reads on from what it has read.

    position, strength, learned: mode, strength and `learned` of each layer's `PositionalAttention`, and its errors.
    """

    blocks: Any

    def __init__(
        self,
        vocabulary: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 0,
        position: Mode = "additive_harmonic",
        strength: float | None = None,
        learned: bool = False,
    ) -> None:
        super().__init__(vocabulary, width, layers, heads, hidden)
        with_positions(self, position, strength, learned)

    def read(self, x: Tensor, cache: Cache | None = None, blank: Tensor | None = None) -> tuple[Tensor, Cache]:
        """As `Llama.read`."""
        blank = cache.blank if cache is not None else torch.zeros(len(x), dtype=torch.int64) if blank is None else blank
        before = cache.length if cache is not None else 0
        stream, pasts = self.embedding(x), []
        for index, block in enumerate(self.blocks):
            past = Past(cache.keys[index], cache.values[index], before) if cache is not None else None
            mixed, now = block.attention.resume(block.attention_norm(stream), past, blank)
            stream = stream + mixed
            stream = stream + block.mlp(block.mlp_norm(stream))
            pasts.append(now)
        keys, values = tuple(past.keys for past in pasts), tuple(past.values for past in pasts)
        return self.norm(stream), Cache(keys, values, blank, before + x.shape[1])
