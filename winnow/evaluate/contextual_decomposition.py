"""Contextual decomposition of transformers: how much of each activation comes from chosen tokens or components.

A. Hsu, Y. Cherapanamjeri, A. Odisho, P. Carroll, B. Yu, "Mechanistic Interpretation through Contextual Decomposition
in Transformers", 2024, after W. J. Murdoch, P. Liu, B. Yu, "Beyond Word Importance", ICLR 2018. Every activation is
the sum of a relevant and an irrelevant part, and both are pushed through the network. Two treatments of attention
patterns are in use; `fixed` takes patterns from the sums, `split` also those of the relevant parts alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from winnow.errors import InputError
from winnow.evaluate.decomposition_rules import Parts, activate, add, attend, clean, layer_norm, linear
from winnow.models.hooked_transformer import SCORES, Attention, Block, FeedForward, HookedTransformer, Normalisation
from winnow.models.text_encoder import EncoderBlock, TextEncoder, seen

MLP = -1
PATTERNS = ("fixed", "split")
Model = HookedTransformer | TextEncoder
STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")


class Node(NamedTuple):
    """What one head adds at one position; the feed-forward layer's output there if `head` is MLP."""

    layer: int
    position: int
    head: int

    @property
    def hook(self) -> str:
        return f"blocks.{self.layer}.{'hook_mlp_out' if self.head == MLP else 'attn.hook_z'}"

    def of(self, value: Tensor) -> Tensor:
        """float[..., d]: the node's part of its hook's tensor, [..., t, d] or [..., t, head, d]; a view."""
        return value[..., self.position, :] if self.head == MLP else value[..., self.position, self.head, :]


class Tokens(frozenset[int]):
    """Positions whose embeddings are relevant."""


Source = frozenset[Node] | Tokens


@dataclass(frozen=True)
class Result:
    """What came of a propagation; the first axis is that of the sources."""

    logits: Parts | None
    """float[s, n, t, vocabulary] each, of an encoder float[s, n, classes]; None where targets were asked for."""
    targets: dict[Node, Parts]
    """float[s, n, d] each."""
    saved: dict[str, Parts]
    """float[s, *shape of the hook] each."""


def heads_of(model: Model) -> int:
    """Heads of each layer."""
    block = model.blocks[0]
    assert isinstance(block, Block | EncoderBlock)
    return block.attn.heads


def node_hooks(model: Model) -> list[str]:
    """The hook points at which nodes lie."""
    return [f"blocks.{i}.{name}" for i in range(len(model.blocks)) for name in ("attn.hook_z", "hook_mlp_out")]


@torch.no_grad()
def reference_means(model: Model, tokens: Tensor) -> dict[str, Tensor]:
    """Hook point -> mean over sentences int64[n, t] of one length: float[t, head, d], or [t, d] of feed-forward layers.

    Raises InputError for no sentence, or for padding, which would mix positions of different sentences.
    """
    if not len(tokens) or (tokens == 0).any():
        raise InputError("reference: sentences must be of one length, without padding, and at least one; give such")
    return {name: value.mean(0) for name, value in model.run(tokens, save=node_hooks(model))[1].items()}


def _check(model: Model, length: int, sources: Sequence[Source], targets: Sequence[Node] | None) -> None:
    if not sources or not all(sources):
        raise InputError("sources: none, or an empty one; give at least one token or node each")
    if targets is not None and not targets:
        raise InputError("targets: an empty list; leave it out for the logits, or name nodes")
    nodes = [node for source in sources if not isinstance(source, Tokens) for node in source]
    for node in [*nodes, *(targets or ())]:
        heads = heads_of(model)
        inside = 0 <= node.layer < len(model.blocks) and 0 <= node.position < length and MLP <= node.head < heads
        if not inside:
            sizes = f"{len(model.blocks)} layers, {length} positions and {heads} heads"
            raise InputError(f"{node}: lies outside the model's {sizes}; name one inside")
    places = [position for source in sources if isinstance(source, Tokens) for position in source]
    if any(not 0 <= position < length for position in places):
        raise InputError(f"token {max(places, key=abs)}: outside the sentence's {length}; name one inside")


def _moved(node: Node, start: int) -> Node:
    return node._replace(position=node.position - start)


class _Propagation:
    """One pass of both parts through a model, whose sums are those of a plain run."""

    def __init__(
        self, sources: Sequence[Source], plain: dict[str, Tensor], means: Mapping[str, Tensor], start: int = 0
    ) -> None:
        """plain, means: of positions from `start` on; of patterns the queries'."""
        self.sources, self.plain, self.means = sources, plain, means
        nodes = [(i, node) for i, s in enumerate(sources) if not isinstance(s, Tokens) for node in s]
        self.nodes = [(i, _moved(node, start)) for i, node in nodes]
        self.split = self.clean_signs = False
        self.ends = self.stop = ""
        self.told = slice(-1, None)
        self.before: dict[str, Tensor] = {}
        """Values of heads that stand before all that is decomposed, float[n, t, head, d] of each block."""
        self.hidden = torch.zeros(1, 1, dtype=torch.bool)
        self.save: Collection[str] = ()
        self.saved: dict[str, Parts] = {}

    def tap(self, name: str, parts: Parts) -> Parts:
        if self.clean_signs and name.endswith(STREAM):
            parts = clean(parts)
        for i, node in self.nodes:
            if node.hook == name:
                mean = node.of(self.means[name])
                node.of(parts.rel[i])[:] = node.of(self.plain[name]) - mean
                node.of(parts.irrel[i])[:] = mean
        if name in self.save:
            self.saved[name] = parts
        return parts

    def norm(self, parts: Parts, norm: torch.nn.Module, name: str) -> Parts:
        if isinstance(norm, Normalisation):
            scale = self.plain[f"{name}.hook_scale"]
            scale = scale if scale.shape[-2] == parts.rel.shape[-2] else scale[..., self.told, :]
            parts = layer_norm(parts, norm.weight, norm.bias, scale)
        return self.tap(f"{name}.hook_normalized", parts)

    def attention(self, parts: Parts, layer: Attention, name: str, places: slice) -> Parts:
        """What heads write together, at some places."""

        def heads(letter: str, part: torch.nn.Linear) -> Parts:
            moved = linear(parts, part.weight, part.bias)
            return self.tap(
                f"{name}.hook_{letter}", Parts(*(p.unflatten(-1, (layer.heads, layer.head_width)) for p in moved))
            )

        # Where a head's own output is a source, its place may be any.
        early = slice(None) if any(node.hook == f"{name}.hook_z" for _, node in self.nodes) else places
        pattern, relevant = self.plain[f"{name}.hook_pattern"][..., early, :], None
        if self.split or {f"{name}.hook_q", f"{name}.hook_k"} & set(self.save):
            query, key = heads("q", layer.query), heads("k", layer.key)
            if self.split:
                asking = query.rel[..., early, :, :]
                scores = torch.einsum("...qhd,...khd->...hqk", asking, key.rel) / math.sqrt(layer.head_width)
                scores = scores.masked_fill(self.hidden[..., early, :], float("-inf"))
                # Of keys that stand before, nothing is relevant: their scores are 0.
                start = pattern.shape[-1] - scores.shape[-1]
                relevant = pad(scores, (start, 0)).softmax(-1)[..., start:]
        mixed = self.tap(f"{name}.hook_z", self.attend(heads("v", layer.value), pattern, relevant, name))
        left = places if early == slice(None) else slice(None)
        mixed = Parts(*(part[..., left, :, :].flatten(-2) for part in mixed))
        return linear(mixed, layer.output.weight, layer.output.bias)

    def attend(self, value: Parts, pattern: Tensor, relevant: Tensor | None, name: str) -> Parts:
        start = pattern.shape[-1] - value.rel.shape[-3]
        mixed = attend(value, pattern[..., start:], relevant)
        if not start:
            return mixed
        plain = torch.einsum("...hqk,...khd->...qhd", pattern[..., :start], self.before[f"{name}.hook_v"])
        return Parts(mixed.rel, mixed.irrel + plain)

    def feed_forward(self, parts: Parts, mlp: FeedForward, name: str) -> Parts:
        pre = self.tap(f"{name}.mlp.hook_pre", linear(parts, mlp.up.weight, mlp.up.bias))
        post = self.tap(f"{name}.mlp.hook_post", activate(pre, mlp.activation))
        return self.tap(f"{name}.hook_mlp_out", linear(post, mlp.down.weight, mlp.down.bias))

    def block(self, parts: Parts, block: torch.nn.Module, name: str) -> Parts:
        assert isinstance(block, Block | EncoderBlock)
        # An encoder's block normalises sums, the other one what is read from them.
        after = isinstance(block, EncoderBlock)
        parts = self.tap(f"{name}.hook_resid_pre", parts)
        read = parts if after else self.norm(parts, block.ln1, f"{name}.ln1")
        places = self.told if name == self.ends else slice(None)
        mixed = self.tap(f"{name}.hook_attn_out", self.attention(read, block.attn, f"{name}.attn", places))
        if name == self.stop:
            return parts
        parts = Parts(*(part[..., places, :] for part in parts))
        parts = self.tap(f"{name}.hook_resid_mid", add(parts, mixed))
        parts = self.norm(parts, block.ln1, f"{name}.ln1") if after else parts
        read = parts if after else self.norm(parts, block.ln2, f"{name}.ln2")
        parts = self.tap(f"{name}.hook_resid_post", add(parts, self.feed_forward(read, block.mlp, name)))
        return self.norm(parts, block.ln2, f"{name}.ln2") if after else parts

    def logits(self, parts: Parts, model: Model) -> Parts:
        if isinstance(model, HookedTransformer):
            return linear(self.norm(parts, model.ln_final, "ln_final"), model.unembed.weight)
        first = Parts(*(part[..., 0, :] for part in parts))
        pre = self.tap("pooler.hook_pre", linear(first, model.pooler.dense.weight, model.pooler.dense.bias))
        return linear(self.tap("pooler.hook_post", activate(pre, torch.tanh)), model.classes.weight, model.classes.bias)


def _from(plain: dict[str, Tensor], start: int) -> dict[str, Tensor]:
    """Tensors of hook points from a position on; scores and patterns keep all keys."""
    return {name: value[..., start:, :] if name.endswith(SCORES) else value[:, start:] for name, value in plain.items()}


def _hidden(model: Model, tokens: Tensor) -> Tensor:
    """bool, to be laid over scores [n, head, query, key]: what a query does not see."""
    if isinstance(model, TextEncoder):
        return ~seen(tokens)[:, None, None]
    return torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)


@torch.no_grad()
def plain_run(model: Model, tokens: Tensor) -> dict[str, Tensor]:
    """All tensors of a run, which several propagations can share."""
    return model.run(tokens, save=model.all_hook_points())[1]


@torch.no_grad()
def propagate(
    model: Model,
    tokens: Tensor,
    sources: Sequence[Source],
    targets: Sequence[Node] | None = None,
    means: Mapping[str, Tensor] | None = None,
    pattern: str = "fixed",
    clean_signs: bool = False,
    save: Collection[str] = (),
    last: bool = False,
    plain: dict[str, Tensor] | None = None,
) -> Result:
    """The parts of the logits, or of later nodes, that come from each source; the parts of a tensor add up to it.

    tokens: int64[n, t]. sources: each a set of Tokens, whose embeddings are relevant, or of Nodes, of whose output what
    differs from its mean over a reference (`means`, as `reference_means` gives them) is relevant. Nothing is relevant
    before a source, so blocks before the earliest one run once and plainly, and so do earlier positions where neither
    all logits nor `save` ask for them; with targets, blocks after the last one do not run. clean_signs: at each sum of
    the residual stream, parts of opposite sign are joined. last: logits of the last place alone are asked for,
    [s, n, 1, vocabulary], of a model that foresees tokens; nothing is saved of the last block, none of whose
    feed-forward nodes is a source. plain: of `plain_run`, if there is one. Raises InputError for empty sources or
    targets, nodes and tokens outside the model or the sentence, and nodes without `means` of their positions.
    """
    _check(model, tokens.shape[1], sources, targets)
    if pattern not in PATTERNS:
        raise InputError(f"pattern {pattern!r}: use one of {', '.join(PATTERNS)}")
    nodes = [node for source in sources if not isinstance(source, Tokens) for node in source]
    if nodes and any(node.hook not in (means or {}) for node in nodes):
        raise InputError("means: missing for a source that is a node; give those of reference_means")
    if nodes and next(iter(means.values())).shape[0] != tokens.shape[1]:  # type: ignore[union-attr]
        raise InputError(f"means: of sentences of another length than {tokens.shape[1]}; give a reference of that one")
    plain = plain_run(model, tokens) if plain is None else plain
    first = 0 if any(isinstance(source, Tokens) for source in sources) else min(node.layer for node in nodes)
    early = [node for node in targets or () if node.layer < first]
    if early:
        raise InputError(f"target {early[0]}: lies before every source; name a later one")
    deepest = len(model.blocks) - 1 if targets is None else max(node.layer for node in targets)
    start = 0
    if isinstance(model, HookedTransformer) and not save and (last or targets is not None):
        start = min(place if isinstance(place, int) else place.position for source in sources for place in source)
    whole, plain = plain, _from(plain, start)
    stream = plain[f"blocks.{first}.hook_resid_pre"].expand(len(sources), -1, -1, -1)
    relevant = torch.zeros(len(sources), 1, tokens.shape[1] - start, 1, dtype=torch.bool)
    for i, source in enumerate(sources):
        if isinstance(source, Tokens):
            relevant[i, :, [place - start for place in source]] = True
    parts = Parts(torch.where(relevant, stream, 0), torch.where(relevant, 0, stream))
    made = _Propagation(sources, plain, {name: mean[start:] for name, mean in (means or {}).items()}, start)
    made.before = {name: value[:, :start] for name, value in whole.items() if name.endswith("hook_v")}
    made.split, made.clean_signs = pattern == "split", clean_signs
    made.hidden = _hidden(model, tokens)[..., start:, start:]
    made.save = {*save, *(node.hook for node in targets or ())}
    if isinstance(model, TextEncoder):  # of which the first place alone is classified
        made.told, last = slice(0, 1), not save and all(node.layer < deepest for node in nodes)
    if targets is None and last:
        made.ends = f"blocks.{deepest}"
    elif targets is not None and not save and all(node.head != MLP for node in targets if node.layer == deepest):
        made.stop = f"blocks.{deepest}"
    for i in range(first, deepest + 1):
        parts = made.block(parts, model.blocks[i], f"blocks.{i}")
    if targets is not None:
        # What stands before all sources is as it is in the plain run.
        found = {
            node: Parts(*(_moved(node, start).of(part) for part in made.saved[node.hook]))
            if node.position >= start
            else Parts(torch.zeros_like(of := node.of(whole[node.hook]).expand(len(sources), -1, -1)), of)
            for node in targets
        }
        return Result(None, found, made.saved if save else {})
    return Result(made.logits(parts, model), {}, made.saved)


def explain(model: Model, tokens: Tensor, weights: Tensor, pattern: str = "fixed") -> Tensor:
    """float[n, t]: what each token of int64[n, t] adds to the sum of logits by weights float[n, vocabulary or classes].

    Of a model that foresees tokens, the logits are the last ones.
    """
    sources = [Tokens({position}) for position in range(tokens.shape[1])]
    return explain_phrases(model, tokens, sources, weights, pattern)


def explain_phrases(
    model: Model, tokens: Tensor, phrases: Sequence[Tokens], weights: Tensor, pattern: str = "fixed"
) -> Tensor:
    """float[n, phrase]: the same of sets of tokens, whose scores are more than the sums of those of their tokens."""
    logits = propagate(model, tokens, phrases, pattern=pattern, last=isinstance(model, HookedTransformer)).logits
    assert logits is not None
    rel = logits.rel if isinstance(model, TextEncoder) else logits.rel[:, :, -1]
    return torch.einsum("snv,nv->ns", rel, weights)
