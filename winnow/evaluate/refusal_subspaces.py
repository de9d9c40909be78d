"""Where a model keeps what it declines: probes, the direction of refusal, heads; and what a search moves them by.

Probes and heads as in T. Winninger, B. Addad and K. Kapusta, "Using Mechanistic Interpretability to Craft Adversarial
Attacks against Large Language Models", 2025; the direction is that of A. Arditi et al., "Refusal in Language Models Is
Mediated by a Single Direction", NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, softplus

from winnow.errors import InputError
from winnow.evaluate.subspace_rerouting import Objective
from winnow.models.hooked_transformer import HookedTransformer
from winnow.randomness import numpy_generator
from winnow.workloads.refusal_prompts import OK, REFUSE, Questions

FITTED = 0.7
"""Share of the activations on which a probe is fitted; its accuracy is measured on the others."""


class Probe(NamedTuple):
    """Log-odds of acceptance, e @ weight + bias of activations e float[..., d]."""

    weight: Tensor
    bias: Tensor

    def log_odds(self, activations: Tensor) -> Tensor:
        return activations @ self.weight + self.bias


@dataclass(frozen=True)
class Subspaces:
    """What tells refused from accepted prompts where the answer is foreseen."""

    probes: list[Probe]
    """One a block."""
    accuracies: list[float]
    """Of the probes, on activations that were not used to fit them."""
    directions: Tensor
    """float[layers, d] of unit length, from accepted to refused."""


def residual(layer: int) -> str:
    """The hook point of the stream after a block."""
    return f"blocks.{layer}.hook_resid_post"


@torch.no_grad()
def last_activations(model: HookedTransformer, asked: Questions, suffixes: Tensor | None = None) -> Tensor:
    """float[n, layers, d]: the stream after each block where the answer is foreseen."""
    tokens, places = asked.prompts(suffixes)
    names = [residual(layer) for layer in range(len(model.blocks))]
    _, saved = model.run(tokens, save=names, stop_at=len(names))
    return torch.stack([saved[name][torch.arange(len(tokens)), places] for name in names], 1)


def fit_probe(activations: Tensor, accepted: Tensor) -> Probe:
    """A logistic regression of acceptance bool[n] on activations float[n, d], with the usual penalty, C = 1."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(max_iter=2000, class_weight="balanced").fit(activations.numpy(), accepted.numpy())
    weight, bias = torch.from_numpy(found.coef_[0]), torch.tensor(float(found.intercept_[0]))
    return Probe(weight.to(activations.dtype), bias.to(activations.dtype))


def fit_subspaces(model: HookedTransformer, refused: Questions, accepted: Questions, seed: int) -> Subspaces:
    """Probes and directions from prompts that a model refuses and prompts that it accepts.

    Raises InputError for fewer than 10 of either.
    """
    if min(len(refused), len(accepted)) < 10:
        raise InputError(f"prompts: {len(refused)} refused, {len(accepted)} accepted; give 10 or more of each")
    no, yes = last_activations(model, refused), last_activations(model, accepted)
    both, label = torch.cat([no, yes]), torch.arange(len(no) + len(yes)) >= len(no)
    order = torch.from_numpy(numpy_generator(seed, "refusal probes").permutation(len(both)))
    fitted, kept = order[: round(FITTED * len(order))], order[round(FITTED * len(order)) :]
    probes = [fit_probe(both[fitted, layer], label[fitted]) for layer in range(both.shape[1])]
    right = [float(((p.log_odds(both[kept, i]) > 0) == label[kept]).double().mean()) for i, p in enumerate(probes)]
    apart = no.mean(0) - yes.mean(0)
    return Subspaces(probes, right, apart / apart.norm(dim=1, keepdim=True))


def safety_heads(model: HookedTransformer, refused: Questions, accepted: Questions) -> list[tuple[int, int, float]]:
    """(layer, head, effect) of heads by falling effect on the logit of REFUSE above that of OK.

    The effect is the mean drop, to first order, where a head's output is that of accepted prompts.
    """
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(len(model.blocks))]

    def outputs(asked: Questions) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        tokens, places = asked.prompts()
        embedded = model.embed(tokens).detach().requires_grad_(True)  # so that frozen models have gradients, too
        stream, saved = model.run(embedded, save=names, stop_at=len(names))
        return model.foretold(stream[torch.arange(len(tokens)), places]), places, saved

    with torch.enable_grad():
        _, places, saved = outputs(accepted)
        means = [saved[name][torch.arange(len(places)), places].mean(0).detach() for name in names]
        logits, places, saved = outputs(refused)
        slopes = torch.autograd.grad((logits[:, REFUSE] - logits[:, OK]).sum(), [saved[name] for name in names])
    rows = torch.arange(len(places))
    found = [
        (layer, head, float(effect))
        for layer, (name, slope, mean) in enumerate(zip(names, slopes, means, strict=True))
        for head, effect in enumerate(
            ((saved[name][rows, places] - mean) * slope[rows, places]).sum(-1).mean(0).detach()
        )
    ]
    return sorted(found, key=lambda row: -row[2])


@dataclass(frozen=True)
class ProbeObjective:
    """Cross-entropy of acceptance by the probes of some layers, weighted."""

    probes: Mapping[int, Probe]
    weights: Mapping[int, float]
    last: bool = True

    @property
    def depth(self) -> int:
        return max(self.probes) + 1

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(residual(layer) for layer in self.probes)

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        parts = [
            self.weights[layer] * softplus(-probe.log_odds(saved[residual(layer)][:, -1]))
            for layer, probe in self.probes.items()
        ]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class SteeringObjective:
    """Square of (cosine of the stream with the direction of refusal + shift), over some layers."""

    directions: Mapping[int, Tensor]
    shift: float
    last: bool = True

    @property
    def depth(self) -> int:
        return max(self.directions) + 1

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(residual(layer) for layer in self.directions)

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        parts = [
            (cosine_similarity(saved[residual(layer)][:, -1], direction, dim=-1) + self.shift) ** 2
            for layer, direction in self.directions.items()
        ]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class AttentionObjective:
    """What heads (layer, head) do at the last token.

    kind: dazzle, their attention is to be on the slots; ablate, none of it is to be on places; silence, the length of
    their output is to be 0. places: the slots of dazzle and the places of ablate.
    """

    heads: Sequence[tuple[int, int]]
    kind: str
    places: Sequence[int] = ()
    last: bool = True

    @property
    def depth(self) -> int:
        return max(layer for layer, _ in self.heads) + 1

    @property
    def reads(self) -> tuple[str, ...]:
        point = "hook_z" if self.kind == "silence" else "hook_pattern"
        return tuple(dict.fromkeys(f"blocks.{layer}.attn.{point}" for layer, _ in self.heads))

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        parts = []
        for layer, head in self.heads:
            if self.kind == "silence":
                parts.append(saved[f"blocks.{layer}.attn.hook_z"][:, -1, head].norm(dim=-1))
                continue
            seen = saved[f"blocks.{layer}.attn.hook_pattern"][:, head, -1, list(self.places)].sum(-1)
            parts.append(1 - seen if self.kind == "dazzle" else seen)
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class AnswerObjective:
    """Cross-entropy of a token as the answer, through all blocks: the loss of the greedy coordinate gradient."""

    model: HookedTransformer
    token: int = OK
    reads: tuple[str, ...] = ()
    last: bool = True

    @property
    def depth(self) -> int:
        return len(self.model.blocks)

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        wished = torch.full((len(stream),), self.token)
        return cross_entropy(self.model.foretold(stream[:, -1]), wished, reduction="none")


@dataclass(frozen=True)
class Combined:
    """The weighted sum of objectives."""

    parts: Sequence[tuple[float, Objective]]

    @property
    def depth(self) -> int:
        return max(part.depth for _, part in self.parts)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, part in self.parts for name in part.reads))

    @property
    def last(self) -> bool:
        return all(part.last for _, part in self.parts)

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        return torch.stack([weight * part.loss(saved, stream) for weight, part in self.parts]).sum(0)


@dataclass(frozen=True)
class MonitorObjective:
    """Cross-entropy of no alarm by probes of refusal at every position, the largest of which counts."""

    probes: Mapping[int, Probe]
    last: bool = False

    @property
    def depth(self) -> int:
        return max(self.probes) + 1

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(residual(layer) for layer in self.probes)

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        alarm = [-probe.log_odds(saved[residual(layer)]) for layer, probe in self.probes.items()]
        return softplus(torch.stack(alarm).amax((0, 2)))
