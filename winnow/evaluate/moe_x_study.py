"""Feed-forward layers of bytes' language models, dense and of experts: loss, how quiet they are, what units tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.evaluate.property_scores import coverage, reconstruction
from winnow.models import build
from winnow.models.transformer import Block, Transformer
from winnow.randomness import numpy_generator, stream_seed, torch_generator
from winnow.train.byte_language import VOCABULARY, Report, drawn_starts, next_losses, train_steps, windows_at
from winnow.train.moe_x import (
    Activation,
    Dense,
    MoEX,
    Router,
    balance_loss,
    upcycled,
    with_feed_forward,
)
from winnow.workloads.byte_properties import byte_properties

NOISE = 0.01
BATCH = 16


class Arm(NamedTuple):
    """A kind of feed-forward layer; `grown` starts as a dense one of an expert's size for half of the steps."""

    name: str
    experts: bool
    activation: Activation
    router: Router = "sparsity"
    wide: bool = False
    grown: bool = False


ARMS = (
    Arm("dense", False, "gelu"),
    Arm("dense_wide", False, "relu", wide=True),
    Arm("switch", True, "gelu", "learned"),
    Arm("relu_experts", True, "relu", "learned"),
    Arm("moe_x", True, "relu"),
    Arm("moe_x_upcycled", True, "relu", grown=True),
)


def trained(arm: Arm, symbols: np.ndarray, params: Any, report: Report) -> tuple[Transformer, list[Any]]:
    """A model and its history; arms start from equal other weights and see equal windows."""
    model = build("transformer", seed=params.seed, vocabulary=VOCABULARY, width=params.width, layers=params.layers)
    assert isinstance(model, Transformer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(params.seed, "moe x", arm.name))
        with_feed_forward(model, [_layer(arm, params) for _ in model.blocks])
    options = {"batch_size": params.batch_size, "length": params.context, "learning_rate": params.learning_rate}
    first = params.steps // 2 if arm.grown else params.steps
    history = train_steps(
        model, symbols, steps=first, seed=params.seed, extra_loss=lambda: balance_loss(model), report=report, **options
    )
    if arm.grown:
        generator = torch_generator(params.seed, "moe x", "noise")
        grown: list[nn.Module] = []
        for block in model.blocks:
            assert isinstance(block, Block) and isinstance(block.mlp, Dense)
            grown.append(upcycled(block.mlp, params.experts, params.k, "sparsity", NOISE, generator))
        with_feed_forward(model, grown)
        later = train_steps(
            model,
            symbols,
            steps=params.steps - first,
            seed=stream_seed(params.seed, "moe x", "later"),
            extra_loss=lambda: balance_loss(model),
            report=report,
            **options,
        )
        history += [(metric, value, step + first) for metric, value, step in later]
    return model, history


def _layer(arm: Arm, params: Any) -> nn.Module:
    if arm.experts and not arm.grown:
        return MoEX(params.width, params.hidden, params.experts, params.k, arm.router, arm.activation)
    # As many units at work as k experts have, as all have, or as one has.
    times = 1 if arm.grown else params.experts if arm.wide else params.k
    return Dense(params.width, times * params.hidden, arm.activation)


def labelled(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Bytes uint8[n] of the files that parse, laid end to end, and their properties bool[n, p]."""
    found = [(text, marks) for text in texts if (marks := byte_properties(text)) is not None]
    if not found:
        raise InputError("properties: no file parses as Python; give Python sources")
    symbols = np.frombuffer(b"".join(text.encode() for text, _ in found), np.uint8)
    return symbols, np.concatenate([marks for _, marks in found])


@torch.no_grad()
def units(model: Transformer, x: Tensor) -> tuple[np.ndarray, float]:
    """Units float32[n * t, units] of the last feed-forward layer, 0 where an expert rests; and the router's merit.

    The merit is the correlation, over tokens, experts and layers, of an expert's score with the share of its units that
    would fire; NaN without experts.
    """
    seen: list[Tensor] = []
    hooks = [
        model.get_submodule(f"blocks.{i}.mlp").register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
        for i in range(len(model.blocks))
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    scores, active, found = [], [], torch.empty(0)
    for block, inputs in zip(model.blocks, seen, strict=True):
        assert isinstance(block, Block)
        layer, flat = block.mlp, inputs.flatten(0, 1)
        if isinstance(layer, MoEX):
            each, gates = layer.as_wide_mlp(flat)
            scores.append(layer.scores(flat).flatten())
            active.append((each > 0).float().unflatten(1, (len(layer.encoder), -1)).mean(2).flatten())
            found = each * (gates > 0)
        else:
            assert isinstance(layer, Dense)
            found = layer.hidden(flat)
    merit = float(torch.corrcoef(torch.stack([torch.cat(scores), torch.cat(active)]))[0, 1]) if scores else float("nan")
    return found.numpy(), merit


def judged(model: Transformer, symbols: np.ndarray, marks: np.ndarray, params: Any) -> dict[str, float | None]:
    """Loss, units that fire, coverage, reconstruction, coverage of shuffled labels, and the router's merit.

    Features are chosen on windows of the first half of the text and scored on the second's.
    """
    half, length = len(symbols) // 2, params.context
    sets, merits, losses = [], [], []
    for part, first, last in (("chosen", 0, half), ("scored", half, len(symbols))):
        generator = numpy_generator(params.seed, "moe x", part)
        starts = first + drawn_starts(symbols[first:last], params.windows, length + 1, generator)
        x = windows_at(symbols, starts, length + 1)
        found, merit = units(model, x[:, :-1])
        sets.append((found, marks[(starts[:, None] + np.arange(length)).ravel()]))
        merits.append(merit)
        with torch.no_grad():
            losses += [float(next_losses(model, some).mean()) for some in x.split(BATCH)]
    shuffled = [
        (found, known[numpy_generator(params.seed, "moe x", "shuffled", str(i)).permutation(len(known))])
        for i, (found, known) in enumerate(sets)
    ]
    (chosen, scored), merit = sets, float(np.mean(merits))
    return {
        "cross_entropy": float(np.mean(losses)),
        "l0": float((scored[0] > 0).sum(1).mean()),
        "dead": float(1 - (chosen[0] > 0).any(0).mean()),
        "coverage": float(coverage(chosen, scored).mean()),
        "coverage_shuffled": float(coverage(shuffled[0], shuffled[1]).mean()),
        "reconstruction": float(reconstruction(chosen, scored, params.precision).mean()),
        "router_correlation": merit if np.isfinite(merit) else None,
    }
