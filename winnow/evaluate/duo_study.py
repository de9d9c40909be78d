"""A language model with two feed-forward layers a block: trained by drawn routes, and what chooses routes for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.compress.duo import DuoTransformer, Router, all_routes, budget_loss, drawn_route, oracle_table
from winnow.evaluate import duo_oracles
from winnow.evaluate.block_attention_study import _endless
from winnow.models import build
from winnow.randomness import torch_generator
from winnow.train.adamw import warmup_cosine
from winnow.workloads.texts import Texts

Report = Callable[[int, int], None]
WARMUP = 0.05
"""Share of the steps over which the learning rate rises."""


def trained(workload: Texts, params: Any, seed: int, report: Report) -> DuoTransformer:
    """A new model after steps in which each token's route through each layer is drawn anew."""
    sizes = {name: getattr(params, name) for name in ("layers", "big", "small")}
    model = build("duo_transformer", vocabulary=workload.meta.vocabulary, seed=seed, **sizes).train()
    assert isinstance(model, DuoTransformer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.learning_rate, weight_decay=1e-2)
    rate, generator = warmup_cosine(WARMUP), torch_generator(seed, "duo", "routes")
    for step, (x, y) in enumerate(islice(_endless(workload, params.batch_size, seed), params.steps)):
        logits = model(x, drawn_route(params.layers, (x.shape[0], x.shape[1]), generator))
        _stepped(
            optimizer,
            cross_entropy(logits.flatten(0, 1), y.flatten()),
            params.learning_rate * rate(step / params.steps),
        )
        report(step + 1, params.steps)
    return model.eval()


def router_for(
    model: DuoTransformer, workload: Texts, params: Any, target: float, seed: int, by_layer: bool, report: Report
) -> Router:
    """A router trained on mixtures that sharpen, the model frozen, to take a share `target` of big layers.

    by_layer: every layer has to take it, instead of all together.
    """
    model.requires_grad_(False)
    router = Router(model)
    optimizer = torch.optim.Adam(router.parameters(), lr=params.router_rate)
    low, high = params.sharpness
    batches = islice(_endless(workload, params.batch_size, seed + 1), params.router_steps)
    for step, (x, y) in enumerate(batches):
        sharpness = low + (high - low) * step / params.router_steps
        logits, shares = router.routed(model, x, sharpness)
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        _stepped(optimizer, loss + params.budget_weight * budget_loss(shares, target, by_layer), params.router_rate)
        report(step + 1, params.router_steps)
    model.requires_grad_(True)
    return router.requires_grad_(False)


@torch.no_grad()
def judged_router(model: DuoTransformer, router: Router, x: Tensor, y: Tensor, sharpness: float) -> dict[str, float]:
    """cross_entropy of hard routes and of mixtures [nats a token], share of big layers, least and most of a layer."""
    (hard, shares), (soft, _) = (router.routed(model, x, sharpness, hard=hard) for hard in (True, False))
    layers = shares.double().mean((1, 2))
    return {
        "cross_entropy": float(cross_entropy(hard.mT.double(), y)),
        "soft_cross_entropy": float(cross_entropy(soft.mT.double(), y)),
        "share": float(layers.mean()),
        "least_used": float(layers.min()),
        "most_used": float(layers.max()),
    }


@torch.no_grad()
def best_drawn(model: DuoTransformer, x: Tensor, y: Tensor, k: int, draws: int, seed: int, report: Report) -> float:
    """The least cross-entropy [nats a token] of so many draws; each gives every token a route of k big layers."""
    routes = all_routes(len(model.blocks))
    routes = routes[routes.sum(1) == k]
    generator, losses = torch_generator(seed, "duo", f"drawn {k}"), []
    for draw in range(draws):
        chosen = routes[torch.randint(len(routes), x.shape, generator=generator)].movedim(-1, 0)
        losses.append(float(cross_entropy(model(x, chosen).mT.double(), y)))
        report(draw + 1, draws)
    return min(losses)


def told_by_oracles(
    model: DuoTransformer, x: Tensor, y: Tensor, seed: int
) -> tuple[dict[tuple[str, str], dict[str, float]], list[dict[str, Any]], list[dict[str, Any]]]:
    """(system, variant) -> metrics, the oracle's use of each layer, and its loss by candidates."""
    others = y.flatten()[torch.randperm(y.numel(), generator=torch_generator(seed, "duo", "labels"))].view(y.shape)
    table, shuffled = oracle_table(model, x, torch.stack([y, others])).numpy().transpose(1, 0, 2, 3)
    routes = all_routes(len(model.blocks)).numpy()
    half, use = len(model.blocks) // 2, duo_oracles.layer_use(table, routes)
    rows = {
        (kind, f"k{k}"): {"cross_entropy": value}
        for (kind, k), value in duo_oracles.oracle_report(table, routes).items()
    }
    by_place = np.array_split(duo_oracles.big_by_position(table, routes), 4)
    for name, part in (("first quarter", by_place[0]), ("last quarter", by_place[-1])):
        rows["oracle", name] = {"big_layers": float(part.mean())}
    for k in (1, half):
        rows["oracle", f"k{k}"] |= {"depth": duo_oracles.mean_depth(use, k), "gain": duo_oracles.gain(table, routes, k)}
        rows["shuffled", f"k{k}"] = {"gain": duo_oracles.gain(shuffled, routes, k)}
        for kind, value in duo_oracles.transferred(table, routes, k).items():
            rows[f"{kind}_of_first_half", f"k{k}"] = {"cross_entropy": value}
    helps = table[-1] < table[0]  # all layers big, and none
    rows["oracle", "all"] = {
        "hopeless": duo_oracles.hopeless(table, routes),
        "foreseen": duo_oracles.foreseen(_states(model, x).numpy(), helps),
    }
    return rows, use, duo_oracles.growth(table, routes, half, 20, seed)


@torch.no_grad()
def _states(model: DuoTransformer, x: Tensor) -> Tensor:
    """The last states float32[n, t, width] with all layers big."""
    found: list[Tensor] = []
    handle = model.norm.register_forward_hook(lambda module, inputs, output: found.append(output))
    model(x)
    handle.remove()
    return found[0]


def _stepped(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
