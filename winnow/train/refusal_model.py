"""A hooked transformer that reads questions about documentation and answers with one word: OK or REFUSE.

It is a language model of the whole question, so that its activations are about words and not about the answer alone
(Winninger, Addad and Kapusta, "Using Mechanistic Interpretability to Craft Adversarial Attacks against Large Language
Models", 2025, attack such models, only large ones).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from winnow.errors import InputError
from winnow.models import build
from winnow.models.hooked_transformer import HookedTransformer
from winnow.train.adamw import warmup_cosine
from winnow.workloads.refusal_prompts import LONGEST, OK, PAD, REFUSE, Questions, balanced_batches

GATES = {"refused": 0.9, "accepted": 0.95}
"""Least shares of training questions; of others no model of this size can tell as many."""
ROWS = 512
Batches = Iterable[tuple[Tensor, Tensor]]


def train_refusal_model(
    asked: Questions,
    vocabulary: int,
    context: int,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    width: int,
    layers: int,
    heads: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> HookedTransformer:
    """A model trained on balanced batches of questions, the loss over words and answers alike.

    AdamW with betas .9 and .98 and weight decay .01, a rise over a tenth of the steps and a cosine to zero. Raises
    InputError for a loss that is not finite.
    """
    arguments = {"vocabulary": vocabulary, "context": context, "width": width, "layers": layers, "heads": heads}
    model = build("hooked_transformer", seed=seed, **arguments)
    assert isinstance(model, HookedTransformer)
    tune(model, balanced_batches(asked, batch_size, steps, seed), steps, learning_rate, progress=progress)
    return model


def tune(
    model: HookedTransformer,
    batches: Batches,
    steps: int,
    learning_rate: float,
    penalty: Callable[[], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train a model in place on batches (x, y) int64[n, t], y PAD where nothing counts.

    penalty: a term added to the loss of each step.
    """
    updater = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    rate = warmup_cosine(0.1)
    model.train()
    for step, (x, y) in enumerate(batches):
        for group in updater.param_groups:
            group["lr"] = learning_rate * rate(step / steps)
        # Logits are most of the work, and of padding nothing is asked.
        counted = y != PAD
        stream, _ = model.run(x, stop_at=len(model.blocks))
        loss = cross_entropy(model.foretold(stream[counted]), y[counted])
        if penalty is not None:
            loss = loss + penalty()
        if not torch.isfinite(loss):
            raise InputError(f"train: the loss is {loss.item()} at step {step + 1}; lower the learning rate")
        updater.zero_grad(set_to_none=True)
        loss.backward()
        updater.step()
        if progress:
            progress(step + 1, steps)
    model.eval()


@torch.no_grad()
def answers(model: HookedTransformer, asked: Questions, suffixes: Tensor | None = None) -> Tensor:
    """int64[n]: the likeliest token where the answer stands, by a plain forward run."""
    x, places = asked.prompts(suffixes)
    return torch.cat(
        [_answers(model, *part).argmax(-1) for part in zip(x.split(ROWS), places.split(ROWS), strict=True)]
    )


def _answers(model: HookedTransformer, x: Tensor, places: Tensor) -> Tensor:
    stream, _ = model.run(x, stop_at=len(model.blocks))
    return model.foretold(stream[torch.arange(len(x)), places])


def abilities(model: HookedTransformer, asked: Questions, suffixes: Tensor | None = None) -> dict[str, float]:
    """refused: share of marked questions answered REFUSE; accepted: share of the others answered OK."""
    said = answers(model, asked, suffixes)
    return {
        "refused": float((said[asked.marked] == REFUSE).double().mean()),
        "accepted": float((said[~asked.marked] == OK).double().mean()),
    }


def gated_refusal_model(
    asked: dict[str, Questions], vocabulary: int, settings: Any, seed: int, progress: Callable[[int, int], None]
) -> tuple[HookedTransformer, dict[str, float]]:
    """A model that knows its training questions, and its abilities on all splits; settings as in params.yaml.

    One that misses a gate is trained once more from the next seed; raises InputError if that one misses it too.
    """
    context = 1 + LONGEST + max(*settings.slots, settings.reverse_slots) + 1
    sizes = {"width": settings.width, "layers": settings.layers, "heads": settings.heads}
    options = {"steps": settings.steps, "batch_size": settings.batch_size, "learning_rate": settings.learning_rate}
    for attempt in range(2):
        model = train_refusal_model(
            asked["train"], vocabulary, context, **sizes, **options, seed=seed + attempt, progress=progress
        )
        told = abilities(model, asked["train"])
        missed = [f"{name} {told[name]:.2f} < {least}" for name, least in GATES.items() if told[name] < least]
        if not (missed and settings.gated):
            found = {split: abilities(model, asked[split]) for split in asked}
            return model, {f"{name}_{split}": v for split, row in found.items() for name, v in row.items()}
    raise InputError(f"refusal model: {', '.join(missed)} after seeds {seed} and {seed + 1}; raise steps")
