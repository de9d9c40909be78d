"""A bidirectional transformer that classifies texts, of which every intermediate tensor can be read by name.

The layout is that of BERT (J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, "BERT: Pre-training of Deep Bidirectional
Transformers for Language Understanding", NAACL 2019): LayerNorm after each sum, GELU, and a pooler, a layer with tanh
at the first token, before the classes. The names of the hook points are those of TransformerLens (Nanda and Bloom,
2022) where it has one.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.hooked_transformer import Attention, FeedForward, Normalisation, Tap, as_it_is

PAD = 0
"""The token behind the end of a text, which no token sees."""


def seen(tokens: Tensor) -> Tensor:
    """bool[n, t]: what is no padding."""
    return tokens != PAD


class FullAttention(Attention):
    """Self-attention to all tokens that are seen."""

    def forward(  # type: ignore[override]
        self, x: Tensor, tap: Tap, name: str, visible: Tensor, asking: Tensor | None = None
    ) -> Tensor:
        """x: float[n, t, width]; visible: bool[n, t]; asking: as of `parts`."""
        query, key, value = self.parts(x, tap, name, asking)
        return self.joined(self.mixed(query, key, value, ~visible[:, None, None], tap, name), tap, name)


class EncoderBlock(nn.Module):
    """Attention, then feed-forward; after each its sum with what went in is normalised.

    first: only the first place is asked for, float[n, 1, width], which is all that classes are told by.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = Normalisation(width), Normalisation(width)
        self.attn, self.mlp = FullAttention(width, heads), FeedForward(width, hidden, "gelu")
        self.hook_resid_pre, self.hook_attn_out, self.hook_resid_mid = (nn.Identity() for _ in range(3))
        self.hook_mlp_out, self.hook_resid_post = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, tap: Tap, name: str, visible: Tensor, first: bool = False) -> Tensor:
        x = tap(f"{name}.hook_resid_pre", x)
        own = x[:, :1] if first else x
        mixed = tap(f"{name}.hook_attn_out", self.attn(x, tap, f"{name}.attn", visible, own))
        x = self.ln1(tap(f"{name}.hook_resid_mid", own + mixed), tap, f"{name}.ln1")
        added = tap(f"{name}.hook_mlp_out", self.mlp(x, tap, f"{name}.mlp"))
        return self.ln2(tap(f"{name}.hook_resid_post", x + added), tap, f"{name}.ln2")


class Pooler(nn.Module):
    """A layer with tanh at the first token: float[n, t, width] -> float[n, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.hook_pre, self.hook_post = nn.Linear(width, width), nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, tap: Tap, name: str) -> Tensor:
        return tap(f"{name}.hook_post", tap(f"{name}.hook_pre", self.dense(x[:, 0])).tanh())


class TextEncoder(nn.Module):
    """Tokens int64[n, t <= context] -> logits float32[n, classes]. hidden: as of HookedTransformer."""

    def __init__(
        self,
        vocabulary: int,
        context: int,
        classes: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 0,
    ) -> None:
        if width % heads:
            raise ValueError(f"width {width} is no multiple of the {heads} heads")
        super().__init__()
        self.embed, self.pos_embed = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.hook_embed, self.hook_pos_embed, self.ln_embed = nn.Identity(), nn.Identity(), Normalisation(width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, hidden or 4 * width) for _ in range(layers))
        self.pooler, self.classes, self.context = Pooler(width), nn.Linear(width, classes), context
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.8 / math.sqrt(width))
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        return self.run(x, visible=visible)[0]

    def run(
        self, x: Tensor, *, visible: Tensor | None = None, save: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits and the tensors of the hook points in `save`.

        x: tokens int64[n, t], or float[n, t, width] in the place of their embeddings. visible: bool[n, t], the tokens
        that others see; None is all but padding, and with embeddings all. Where nothing of the last block is saved, it
        runs for the first place alone; this, and saving nothing, rounds otherwise. Raises InputError for texts longer
        than the context and a hook point that does not exist.
        """
        if x.shape[1] > self.context:
            raise InputError(f"tokens: {x.shape[1]} in a row, the model's context is {self.context}; give fewer")
        unknown = sorted(set(save) - set(self.all_hook_points()))
        if unknown:
            raise InputError(f"hook {unknown[0]!r}: the model has no such point; see all_hook_points")
        saved: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> Tensor:
            if name in save:
                saved[name] = value
            return value

        tap = keep if save else as_it_is
        tokens = not x.is_floating_point()
        if visible is None:
            visible = seen(x) if tokens else torch.ones(x.shape[:2], dtype=torch.bool)
        stream = tap("hook_embed", self.embed(x) if tokens else x)
        stream = stream + tap("hook_pos_embed", self.pos_embed.weight[: x.shape[1]].expand(len(x), -1, -1))
        stream = self.ln_embed(stream, tap, "ln_embed")
        for i, block in enumerate(self.blocks):
            name = f"blocks.{i}"
            first = i == len(self.blocks) - 1 and not any(point.startswith(name) for point in save)
            stream = block(stream, tap, name, visible, first)
        return self.classes(self.pooler(stream, tap, "pooler")), saved

    def all_hook_points(self) -> list[str]:
        """Every name that `run` can save."""
        return [name for name, _ in self.named_modules() if name.rpartition(".")[2].startswith("hook_")]
