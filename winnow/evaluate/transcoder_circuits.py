"""What transcoder latents, heads, embeddings and biases give to a latent or a logit, by weights.

J. Dunefsky, P. Chlenski, N. Nanda, "Transcoders Find Interpretable LLM Feature Circuits", NeurIPS 2024. A latent's
pre-activation is a linear function of the residual stream before its layer, once the scale of each LayerNorm and the
patterns of attention are taken from a run. So it is a sum over all that has written to the stream, and each term is a
factor that no input enters times one that inputs decide. Centring and the weights of LayerNorm belong to the first;
the paper multiplies by (v . LN(r)) / (v . r), which is the same where this is defined, and 0 / 0 where v and r are
orthogonal. All sums are exact, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.errors import InputError
from winnow.models.hooked_transformer import Attention, Block, HookedTransformer, Normalisation

SAVED = ("embed", "hook_scale", "hook_normalized", "hook_pattern", "hook_v", "hook_mlp_out", "hook_post")
"""Ends of the names of the hook points that a trace keeps."""


class Trace(NamedTuple):
    """A run of a model on prompts int64[n, t] in float64, and the codes of its layers' transcoders.

    saved: hook point -> tensor. codes: layer -> float64[n, t, m]. writes: layer -> float64[m, d], what latents write.
    """

    model: HookedTransformer
    transcoders: Mapping[int, Dictionary]
    tokens: Tensor
    saved: dict[str, Tensor]
    codes: dict[int, Tensor]
    writes: dict[int, Tensor]


class Vector(NamedTuple):
    """A linear function of the residual stream at a token: factor * (direction . stream) + constant.

    place: how many sublayers write to the stream before (attention of layer l is 2 l, its feed-forward layer 2 l + 1).
    direction: float64[d], which no input enters. factor, constant: float64[n], one a prompt.
    """

    place: int
    token: int
    direction: Tensor
    factor: Tensor
    constant: Tensor


class Node(NamedTuple):
    """A part of a circuit at a token: kind latent, head, embedding, position, error, bias or logits.

    layer and unit are -1 where there is none; unit is a latent or a head. error: what a feed-forward layer adds
    beyond its transcoder, all that it adds where it has none.
    """

    kind: str
    layer: int
    unit: int
    token: int


class Term(NamedTuple):
    """What nodes give, float64[n, nodes]; invariant float64[n or 1, nodes] * dependent [n, nodes] where it factorises.

    unit, token: int64[nodes].
    """

    kind: str
    layer: int
    unit: Tensor
    token: Tensor
    value: Tensor
    invariant: Tensor | None
    dependent: Tensor | None


@torch.no_grad()
def trace(model: HookedTransformer, transcoders: Mapping[int, Dictionary], tokens: Tensor) -> Trace:
    """Run a model. Raises InputError for a transcoder of a layer that does not exist or of another width."""
    width = model.embed.embedding_dim
    for layer, of in transcoders.items():
        if not 0 <= layer < len(model.blocks):
            raise InputError(f"transcoder of layer {layer}: the model has layers 0 to {len(model.blocks) - 1}")
        if (of.W_enc.shape[0], of.W_dec.shape[1]) != (width, width):
            shape = f"{of.W_enc.shape[0]} to {of.W_dec.shape[1]}"
            raise InputError(f"transcoder of layer {layer}: maps {shape} dimensions, the model has {width}")
    exact = deepcopy(model).double()
    saved = exact.run(tokens, save=[name for name in exact.all_hook_points() if name.endswith(SAVED)])[1]
    codes, writes = {}, {}
    for layer, of in transcoders.items():
        read = saved[f"blocks.{layer}.ln2.hook_normalized"]
        codes[layer] = of.dense(read.flatten(0, 1)).double().unflatten(0, read.shape[:2])
        writes[layer] = of.W_dec.double()
    return Trace(exact, transcoders, tokens, saved, codes, writes)


def scale_of(run: Trace, name: str) -> Tensor:
    """float64[n, t]: what a LayerNorm divides by; ones in a model without."""
    scale = run.saved.get(f"{name}.hook_scale")
    return torch.ones(run.tokens.shape, dtype=torch.float64) if scale is None else scale[..., 0]


def token_at(token: int, length: int) -> int:
    """A position from the start; negative ones count from the end. Raises InputError for one outside."""
    if not -length <= token < length:
        raise InputError(f"token {token}: outside the prompt's {length}; name one inside")
    return token % length


def _unnormalised(run: Trace, norm: torch.nn.Module, name: str, vector: Vector) -> Vector:
    """The function of the stream that a function of what LayerNorm makes of it is; `place` stays."""
    if not isinstance(norm, Normalisation):
        return vector
    scale = scale_of(run, name)[:, vector.token]
    constant = vector.constant + vector.factor * (vector.direction @ norm.bias)
    direction = before_norm(norm, vector.direction)
    return vector._replace(direction=direction, factor=vector.factor / scale, constant=constant)


def before_norm(norm: torch.nn.Module, directions: Tensor) -> Tensor:
    """The directions float[..., d] in the stream that directions after LayerNorm are, up to its scale."""
    if not isinstance(norm, Normalisation):
        return directions
    weighted = directions * norm.weight
    return weighted - weighted.mean(-1, keepdim=True)


def _ones(run: Trace) -> Tensor:
    return torch.ones(len(run.tokens), dtype=torch.float64)


@torch.no_grad()
def latent_vector(run: Trace, layer: int, latent: int, token: int) -> Vector:
    """The pre-activation of a latent at a token. Raises InputError for one that there is not."""
    if layer not in run.transcoders or not 0 <= latent < run.transcoders[layer].m:
        raise InputError(f"latent {latent} of layer {layer}: there is no such; fit a transcoder of the layer")
    one = _ones(run)
    whole = Vector(-1, token_at(token, run.tokens.shape[1]), torch.empty(0), one, 0 * one)
    return _read_by_latent(run, whole, layer, latent, 1.0)


def _read_by_latent(run: Trace, after: Vector, layer: int, latent: int, strength: float | Tensor) -> Vector:
    of, block = run.transcoders[layer], run.model.blocks[layer]
    assert isinstance(block, Block)
    row = of.W_enc[:, latent].double()
    bias = of.b_enc[latent].double() - of.b_dec_in.double() @ row
    read = Vector(2 * layer + 1, after.token, strength * row, after.factor, after.factor * (strength * bias))
    return _unnormalised(run, block.ln2, f"blocks.{layer}.ln2", read)


@torch.no_grad()
def logits_vector(run: Trace, weights: Tensor, token: int) -> Vector:
    """The logits at a token, summed by weights float[vocabulary]."""
    one = _ones(run)
    direction = weights.double() @ run.model.unembed.weight
    read = Vector(2 * len(run.model.blocks), token_at(token, run.tokens.shape[1]), direction, one, 0 * one)
    return _unnormalised(run, run.model.ln_final, "ln_final", read)


@torch.no_grad()
def through_latent(run: Trace, vector: Vector, layer: int, latent: int) -> Vector:
    """What of a vector comes by a latent, as a function of the stream that it reads; 0 where it is silent."""
    active = (run.codes[layer][:, vector.token, latent] > 0).double()
    strength = run.writes[layer][latent] @ vector.direction
    return _read_by_latent(run, vector._replace(factor=vector.factor * active), layer, latent, strength)


@torch.no_grad()
def through_head(run: Trace, vector: Vector, layer: int, head: int, source: int) -> Vector:
    """What of a vector comes by a head from a source token, as a function of the stream there."""
    block = run.model.blocks[layer]
    assert isinstance(block, Block)
    value = block.attn.output_weights()[head] @ vector.direction
    factor = vector.factor * run.saved[f"blocks.{layer}.attn.hook_pattern"][:, head, vector.token, source]
    bias = block.attn.value.bias.unflatten(0, (block.attn.heads, -1))[head] @ value
    read = Vector(2 * layer, source, block.attn.value_weights()[head] @ value, factor, factor * bias)
    return _unnormalised(run, block.ln1, f"blocks.{layer}.ln1", read)


@dataclass(frozen=True)
class Contributions:
    """All that gives to a vector, term by term; with the constant they add up to it."""

    vector: Vector
    terms: list[Term]

    @property
    def total(self) -> Tensor:
        """float64[n]: the sum."""
        return torch.stack([term.value.sum(1) for term in self.terms]).sum(0) + self.vector.constant

    def means(self, chosen: Tensor) -> dict[Node, float]:
        """What each node that is no bias or error gives in the mean over chosen prompts bool[n]; empty without one."""
        if not bool(chosen.any()):
            return {}
        found: dict[Node, float] = {}
        for term in self.terms:
            if term.kind not in ("bias", "error"):
                values = term.value[chosen].mean(0).tolist()
                for unit, token, value in zip(term.unit.tolist(), term.token.tolist(), values, strict=True):
                    found[Node(term.kind, term.layer, unit, token)] = value
        return found

    def rows(self, prompt: int = 0) -> Iterator[dict[str, object]]:
        """A row a node that gives something: kind, layer, unit, token, value, and its two factors or None."""
        for term in self.terms:
            for place in term.value[prompt].nonzero()[:, 0].tolist():
                node = Node(term.kind, term.layer, int(term.unit[place]), int(term.token[place]))
                factors: dict[str, float | None] = {"invariant": None, "dependent": None}
                if term.invariant is not None and term.dependent is not None:
                    invariant = term.invariant.expand_as(term.value)
                    factors = {"invariant": float(invariant[prompt, place])}
                    factors["dependent"] = float(term.dependent[prompt, place])
                yield node._asdict() | {"value": float(term.value[prompt, place])} | factors
        constant = Node("bias", -1, -1, self.vector.token)._asdict()
        yield constant | {"value": float(self.vector.constant[prompt]), "invariant": None, "dependent": None}


@torch.no_grad()
def contributions(run: Trace, vector: Vector) -> Contributions:
    """What each latent, head at a source token, embedding, error and bias before it gives to a vector."""
    direction, factor, token = vector.direction, vector.factor[:, None], vector.token
    nowhere, here = torch.tensor([-1]), torch.tensor([token])
    terms = []

    def single(kind: str, layer: int, product: Tensor, factorises: bool = True) -> None:
        """One node, whose product with the direction is a number or float64[n]."""
        invariant, dependent = product.reshape(-1, 1), factor.expand(len(run.tokens), 1)
        value = invariant * dependent
        factors = (invariant, dependent) if factorises else (None, None)
        terms.append(Term(kind, layer, nowhere, here, value, *factors))

    for kind, name in (("embedding", "hook_embed"), ("position", "hook_pos_embed")):
        single(kind, -1, run.saved[name][:, token] @ direction)
    for layer, block in enumerate(run.model.blocks):
        assert isinstance(block, Block)
        if 2 * layer < vector.place:
            terms.append(_heads(run, vector, layer, block.attn))
            single("bias", layer, block.attn.output.bias @ direction)
        if 2 * layer + 1 < vector.place:
            added = run.saved[f"blocks.{layer}.hook_mlp_out"][:, token]
            if layer in run.transcoders:
                written, bias = run.writes[layer] @ direction, run.transcoders[layer].b_dec_out.double()
                codes = run.codes[layer][:, token]
                places = torch.arange(len(written))
                here_all = torch.full_like(places, token)
                made = codes * factor
                terms.append(Term("latent", layer, places, here_all, made * written, written[None], made))
                single("bias", layer, bias @ direction)
                added = added - codes @ run.writes[layer] - bias
            single("error", layer, added @ direction, factorises=False)
    return Contributions(vector, terms)


def _heads(run: Trace, vector: Vector, layer: int, attention: Attention) -> Term:
    """Every head at every source token, biases of values with them."""
    name = f"blocks.{layer}.attn"
    moved = attention.output_weights() @ vector.direction
    pattern = run.saved[f"{name}.hook_pattern"][:, :, vector.token] * vector.factor[:, None, None]
    value = pattern * torch.einsum("nshd,hd->nhs", run.saved[f"{name}.hook_v"], moved)
    head, source = torch.meshgrid(*(torch.arange(size) for size in value.shape[1:]), indexing="ij")
    return Term("head", layer, head.flatten(), source.flatten(), value.flatten(1), None, None)


@torch.no_grad()
def deembed(
    model: HookedTransformer, dictionary: Dictionary, layer: int, latent: int, via: Sequence[tuple[int, int]] = ()
) -> Tensor:
    """float32[vocabulary]: how each token's embedding excites a latent, through heads `via` from the last to the first.

    No input enters: patterns of attention and scales of LayerNorms are left out. via: (layer, head), each of which must
    come before what reads from it; raises InputError for others.
    """
    row = dictionary.W_enc[:, latent].to(model.embed.weight.dtype)
    direction = before_norm(model.blocks[layer].ln2, row)  # type: ignore[arg-type]
    place = 2 * layer + 1
    for above, head in via:
        if not 0 <= 2 * above < place:
            raise InputError(f"head {above}.{head}: does not come before what is to read from it; name an earlier one")
        block = model.blocks[above]
        assert isinstance(block, Block)
        moved = block.attn.value_weights()[head] @ (block.attn.output_weights()[head] @ direction)
        direction, place = before_norm(block.ln1, moved), 2 * above
    return (model.embed.weight @ direction).float()


@torch.no_grad()
def direct_logits(model: HookedTransformer, writes: Tensor) -> Tensor:
    """float[m, vocabulary]: what rows float[m, d] in the stream add to logits, up to the last LayerNorm's scale."""
    return writes.to(model.unembed.weight.dtype) @ before_norm(model.ln_final, model.unembed.weight).T
