"""A decoder-only transformer of which every intermediate tensor can be read and replaced by name.

LayerNorm before each part, learned absolute positions, biases and a feed-forward layer of two matrices, as in Radford
et al., "Language Models are Unsupervised Multitask Learners", 2019. The names of the hook points are those of
TransformerLens (Nanda and Bloom, 2022), so that code can be carried over; normalised activations are taken after
scale and shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, relu, scaled_dot_product_attention

from winnow.errors import InputError

Patch = Mapping[str, Callable[[Tensor], Tensor]]
Tap = Callable[[str, Tensor], Tensor]
KeysValues = tuple[Tensor, Tensor]
"""Keys and values float[1, t, head, width of a head] of tokens that stand before."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "relu": relu}
NO_PATCH: Patch = MappingProxyType({})
SCORES = ("attn.hook_attn_scores", "attn.hook_pattern")
"""Points of a block that exist only where attention is computed step by step."""
SCALE = "hook_scale"
"""The point of a LayerNorm that exists only where it is computed step by step."""


class Kernels(NamedTuple):
    """Whether attention and LayerNorm are one kernel each, which rounds otherwise than their steps."""

    attention: bool = False
    norms: bool = False


STEPS = Kernels()


def as_it_is(name: str, value: Tensor) -> Tensor:
    """The tap that reads and replaces nothing."""
    return value


def _is_hooked(point: nn.Module) -> bool:
    """Whether one of torch's own hooks stands there."""
    return bool(point._forward_hooks or point._forward_pre_hooks)


class Normalisation(nn.Module):
    """LayerNorm whose scale, the standard deviation of each position, is a hook point as well.

    kernel: one kernel does it, without the scale, as with the tap `as_it_is`; it rounds otherwise.
    """

    def __init__(self, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.epsilon = (
            nn.Parameter(torch.ones(width)),
            nn.Parameter(torch.zeros(width)),
            epsilon,
        )
        self.hook_scale, self.hook_normalized = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, tap: Tap, name: str, kernel: bool = False) -> Tensor:
        if kernel or tap is as_it_is:
            normalised = layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)
        else:
            centred = x - x.mean(-1, keepdim=True)
            scale = (centred.square().mean(-1, keepdim=True) + self.epsilon).sqrt()
            normalised = centred / tap(f"{name}.{SCALE}", self.hook_scale(scale)) * self.weight + self.bias
        return tap(f"{name}.hook_normalized", self.hook_normalized(normalised))


class Unnormalised(nn.Module):
    """What stands in the place of LayerNorm in a model without it."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_normalized = nn.Identity()

    def forward(self, x: Tensor, tap: Tap, name: str, kernel: bool = False) -> Tensor:
        return tap(f"{name}.hook_normalized", self.hook_normalized(x))


class Attention(nn.Module):
    """Causal self-attention with biases; queries, keys, values and outputs of heads are float[n, t, head, width].

    fused: one kernel does it, without scores and patterns, where nothing stands before.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = (nn.Identity() for _ in range(4))
        self.hook_attn_scores, self.hook_pattern = nn.Identity(), nn.Identity()

    def forward(
        self, x: Tensor, tap: Tap, name: str, past: KeysValues | None = None, fused: bool = False, last: bool = False
    ) -> Tensor:
        query, key, value = self.parts(x, tap, name)
        if past is not None:
            earlier_keys, earlier_values = (old.expand(len(x), -1, -1, -1) for old in past)
            key, value = torch.cat([earlier_keys, key], 1), torch.cat([earlier_values, value], 1)
        if fused:
            query, key, value = (part.transpose(1, 2) for part in (query, key, value))
            mixed = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
            return self.joined(mixed, tap, name, last)
        later = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool, device=key.device)
        later = later.triu(1 + key.shape[1] - query.shape[1])
        return self.joined(self.mixed(query, key, value, later, tap, name), tap, name, last)

    def parts(self, x: Tensor, tap: Tap, name: str, asking: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The queries, keys and values of x, float[n, t, width]; asking: what the queries are of in its place."""

        def heads(letter: str, x: Tensor, layer: nn.Linear, point: nn.Module) -> Tensor:
            return tap(f"{name}.hook_{letter}", point(layer(x).unflatten(-1, (self.heads, self.head_width))))

        query = heads("q", x if asking is None else asking, self.query, self.hook_q)
        return query, heads("k", x, self.key, self.hook_k), heads("v", x, self.value, self.hook_v)

    def mixed(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, tap: Tap, name: str) -> Tensor:
        """float[n, q, head, width]: values weighed by a softmax; hidden, bool to [n, head, q, k], is left out."""
        scores = torch.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(self.head_width)
        scores = self.hook_attn_scores(scores.masked_fill(hidden, float("-inf")))
        pattern = self.hook_pattern(tap(f"{name}.hook_attn_scores", scores).softmax(-1))
        return torch.einsum("nhqk,nkhd->nqhd", tap(f"{name}.hook_pattern", pattern), value)

    def joined(self, mixed: Tensor, tap: Tap, name: str, last: bool = False) -> Tensor:
        """float[n, t, width]: what the heads write together; of the last place alone, if that is asked for."""
        mixed = tap(f"{name}.hook_z", self.hook_z(mixed))
        return self.output((mixed[:, -1:] if last else mixed).flatten(-2))

    def value_weights(self) -> Tensor:
        """float[head, width of the stream, width of a head]: what each head reads as values."""
        return self.value.weight.unflatten(0, (self.heads, self.head_width)).mT

    def output_weights(self) -> Tensor:
        """float[head, width of a head, width of the stream]: what each head writes."""
        return self.output.weight.T.unflatten(0, (self.heads, self.head_width))


class FeedForward(nn.Module):
    """Two matrices with an activation between."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.up, self.down, self.activation = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
            ACTIVATIONS[activation],
        )
        self.hook_pre, self.hook_post = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, tap: Tap, name: str) -> Tensor:
        pre = tap(f"{name}.hook_pre", self.hook_pre(self.up(x)))
        return self.down(tap(f"{name}.hook_post", self.hook_post(self.activation(pre))))


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream.

    last: only the last place is gone on with after the outputs of heads, which is all that its logits need.
    """

    def __init__(self, width: int, heads: int, hidden: int, activation: str, normalised: bool) -> None:
        super().__init__()
        self.ln1, self.ln2 = (Normalisation(width) if normalised else Unnormalised() for _ in range(2))
        self.attn, self.mlp = Attention(width, heads), FeedForward(width, hidden, activation)
        self.hook_resid_pre, self.hook_attn_out, self.hook_resid_mid = (nn.Identity() for _ in range(3))
        self.hook_mlp_out, self.hook_resid_post = nn.Identity(), nn.Identity()

    def forward(
        self,
        x: Tensor,
        tap: Tap,
        name: str,
        past: KeysValues | None = None,
        kernels: Kernels = STEPS,
        last: bool = False,
    ) -> Tensor:
        x = tap(f"{name}.hook_resid_pre", self.hook_resid_pre(x))
        read = self.ln1(x, tap, f"{name}.ln1", kernels.norms)
        mixed = self.attn(read, tap, f"{name}.attn", past, kernels.attention, last)
        return self.rest(x[:, -1:] if last else x, mixed, tap, name, kernels.norms)

    def rest(self, x: Tensor, mixed: Tensor, tap: Tap, name: str, kernel: bool = False) -> Tensor:
        """The stream after the block: before it x float[n, t, width], to which attention adds `mixed`."""
        x = x + tap(f"{name}.hook_attn_out", self.hook_attn_out(mixed))
        x = tap(f"{name}.hook_resid_mid", self.hook_resid_mid(x))
        added = self.mlp(self.ln2(x, tap, f"{name}.ln2", kernel), tap, f"{name}.mlp")
        x = x + tap(f"{name}.hook_mlp_out", self.hook_mlp_out(added))
        return tap(f"{name}.hook_resid_post", self.hook_resid_post(x))


class HookedTransformer(nn.Module):
    """Tokens int64[n, t <= context] -> logits float32[n, t, vocabulary] of the token that follows each.

    hidden: width of the feed-forward layers; 0 is four times the width. activation: gelu or relu. normalization: ln or
    none. tied: the output layer is the embedding. Hook points are submodules too, so that what reads and replaces the
    outputs of submodules works on them.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        hidden: int = 0,
        activation: str = "gelu",
        normalization: str = "ln",
        tied: bool = False,
    ) -> None:
        if width % heads:
            raise ValueError(f"width {width} is no multiple of the {heads} heads")
        if activation not in ACTIVATIONS or normalization not in ("ln", "none"):
            raise ValueError(
                f"activation {activation!r}, normalization {normalization!r}; use gelu or relu, ln or none"
            )
        super().__init__()
        normalised = normalization == "ln"
        self.embed, self.pos_embed = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.hook_embed, self.hook_pos_embed = nn.Identity(), nn.Identity()
        made = (Block(width, heads, hidden or 4 * width, activation, normalised) for _ in range(layers))
        self.blocks = nn.ModuleList(made)
        self.ln_final = Normalisation(width) if normalised else Unnormalised()
        self.unembed = nn.Linear(width, vocabulary, bias=False)
        self.context = context
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.8 / math.sqrt(width))
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if tied:
            self.unembed.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(
        self,
        x: Tensor,
        *,
        patch: Patch = NO_PATCH,
        save: Collection[str] = (),
        stop_at: int | None = None,
        past: Sequence[KeysValues] = (),
        start_at: int | None = None,
        last: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits and the tensors of the hook points in `save`; patches are applied before a tensor is saved.

        x: tokens int64[n, t], or float[n, t, width] in the place of their embeddings. patch: hook point -> function of
        its tensor. stop_at: number of blocks after which the residual stream is given in the place of the logits.
        past: keys and values of each block that runs, of one sequence that stands before every row. start_at: number of
        blocks that lie behind x already, which then is the residual stream float[n, t, width] after them.
        last: logits or the stream of the last place alone are asked for, float[n, 1, ...]; all that follows the outputs
        of heads in the last block that runs is then of that place, for patches and what is saved as well.
        Shapes: [n, t, width], of heads [n, t, head, width of a head], of patterns [n, head, query, key]. Neither
        patches nor saving touch the module, so threads may share it. Saving changes no bit of the logits, except that
        scores and patterns, once asked for, take attention from one kernel to steps that round otherwise, and scales
        all LayerNorms. Raises
        InputError for a hook point that does not exist, lies before `start_at` or beyond `stop_at`, one of these that
        is no number of blocks, sequences longer than the context and a tensor of another shape in the place of one.
        """
        asked = [*patch, *save]
        self._check_points(asked, start_at, stop_at)
        before = past[0][0].shape[1] if past else 0
        if before + x.shape[1] > self.context:
            raise InputError(
                f"tokens: {before + x.shape[1]} in a row, the model's context is {self.context}; give fewer"
            )
        saved: dict[str, Tensor] = {}

        def tap(name: str, value: Tensor) -> Tensor:
            if name in patch:
                replaced = patch[name](value)
                if replaced.shape != value.shape:
                    shapes = f"{tuple(replaced.shape)} in the place of {tuple(value.shape)}"
                    raise InputError(f"hook {name!r}: the patch gives {shapes}; keep the shape")
                value = replaced
            if name in save:
                saved[name] = value
            return value

        stream = x if x.is_floating_point() else self.embed(x)
        if start_at is None:
            places = self.pos_embed.weight[before : before + x.shape[1]].expand(len(x), -1, -1)
            stream = tap("hook_embed", self.hook_embed(stream)) + tap("hook_pos_embed", self.hook_pos_embed(places))
        kernels = Kernels(
            attention=not past and not any(name.endswith(SCORES) for name in asked) and not self._scores_are_hooked(),
            norms=not any(name.endswith(SCALE) for name in asked) and not self._scales_are_hooked(),
        )
        for i, block in islice(enumerate(self.blocks), start_at or 0, stop_at):
            ends = last and i == (len(self.blocks) if stop_at is None else stop_at) - 1
            stream = block(stream, tap, f"blocks.{i}", past[i] if past else None, kernels, ends)
        if stop_at is not None:
            return stream, saved
        return self.unembed(self.ln_final(stream, tap, "ln_final", kernels.norms)), saved

    def foretold(self, stream: Tensor) -> Tensor:
        """The logits float[..., vocabulary] of what the last block leaves in the stream float[..., width]."""
        return self.unembed(self.ln_final(stream, as_it_is, "ln_final"))

    def _check_points(self, asked: Sequence[str], start_at: int | None, stop_at: int | None) -> None:
        count = len(self.blocks)
        if start_at is not None and not 0 <= start_at <= count:
            raise InputError(f"start_at: {start_at}, of a model of {count} blocks; give a number from 0 to {count}")
        if stop_at is not None and not 0 <= stop_at <= count:
            raise InputError(f"stop_at: {stop_at}, of a model of {count} blocks; give a number from 0 to {count}")
        for name in asked:
            if not self._has_point(name):
                known = self.all_hook_points()
                near = ", ".join(get_close_matches(name, known, n=3)) or ", ".join(sorted(known))
                raise InputError(f"hook {name!r}: the model has no such point; near are {near}")
            block = int(name.split(".")[1]) if name.startswith("blocks.") else count * name.startswith("ln_final")
            if start_at is not None and (block < start_at or name.startswith(("hook_embed", "hook_pos_embed"))):
                raise InputError(f"hook {name!r}: lies before start_at {start_at}; lower start_at or leave it out")
            if stop_at is not None and block >= stop_at and not name.startswith(("hook_embed", "hook_pos_embed")):
                raise InputError(f"hook {name!r}: lies beyond stop_at {stop_at}; raise stop_at or leave it out")

    def _has_point(self, name: str) -> bool:
        """Whether `all_hook_points` has a name, without making the list of them for every run."""
        if not name.rpartition(".")[2].startswith("hook_"):
            return False
        try:
            self.get_submodule(name)
        except AttributeError:
            return False
        return True

    def _scores_are_hooked(self) -> bool:
        return any(_is_hooked(block.get_submodule(name)) for block in self.blocks for name in SCORES)

    def _scales_are_hooked(self) -> bool:
        norms = [self.ln_final, *(norm for block in self.blocks for norm in (block.ln1, block.ln2))]
        return any(isinstance(norm, Normalisation) and _is_hooked(norm.hook_scale) for norm in norms)

    def all_hook_points(self) -> list[str]:
        """Every name that `run` can patch and save."""
        return [name for name, _ in self.named_modules() if name.rpartition(".")[2].startswith("hook_")]

    def hook_points(self) -> list[str]:
        """What each feed-forward layer adds, and the residual stream after each block."""
        return [f"blocks.{i}.{point}" for i in range(len(self.blocks)) for point in ("hook_mlp_out", "hook_resid_post")]
