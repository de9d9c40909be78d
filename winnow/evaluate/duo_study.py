"""A language model with two feed-forward layers a block: trained by drawn routes, and what chooses routes for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.compress.duo import (
    BIG,
    SKIP,
    SMALL,
    DuoTransformer,
    Router,
    all_routes,
    budget_loss,
    drawn_route,
    keys_values,
    oracle_table,
    routed_alone,
)
from winnow.compress.duo_models import costs, twins, with_twins
from winnow.evaluate import duo_oracles
from winnow.evaluate.block_attention_study import _endless
from winnow.models import build
from winnow.models.transformer import Transformer
from winnow.models.work import Work
from winnow.randomness import torch_generator
from winnow.train.adamw import warmup_cosine
from winnow.workloads.texts import Texts

Report = Callable[[int, int], None]
Told = dict[tuple[str, str], dict[str, float]]
WARMUP = 0.05
"""Share of the steps over which the learning rate rises."""


def trained(workload: Texts, params: Any, seed: int, report: Report, skip: float = 0.0) -> DuoTransformer:
    """A new model after steps in which each token's route through each layer is drawn anew; skip: chance of none."""
    sizes = {name: getattr(params, name) for name in ("layers", "big", "small")}
    model = build("duo_transformer", vocabulary=workload.meta.vocabulary, seed=seed, **sizes).train()
    assert isinstance(model, DuoTransformer)
    generator = torch_generator(seed, "duo", "routes with skips" if skip else "routes")
    _fitted(model, list(model.parameters()), workload, params, params.steps, seed, skip, generator, report)
    return model.eval()


def with_trained_twins(model: Transformer, workload: Texts, params: Any, seed: int, report: Report) -> DuoTransformer:
    """A trained model with small twins, which alone have learned, by drawn routes, to stand for its own layers."""
    made = with_twins(model, params.big // params.small, seed)
    made.requires_grad_(False)
    small = twins(made)
    for parameter in small:
        parameter.requires_grad_(True)
    generator = torch_generator(seed, "duo", "routes of twins")
    _fitted(made, small, workload, params, params.twin_steps, seed, 0.0, generator, report)
    return made.requires_grad_(True).eval()


def _fitted(
    model: DuoTransformer, parameters: list[nn.Parameter], workload: Texts, params: Any, steps: int, seed: int,
    skip: float, generator: torch.Generator, report: Report,
) -> None:  # fmt: skip
    optimizer = torch.optim.AdamW(parameters, lr=params.learning_rate, weight_decay=1e-2, fused=True)
    rate, layers = warmup_cosine(WARMUP), len(model.blocks)
    for step, (x, y) in enumerate(islice(_endless(workload, params.batch_size, seed), steps)):
        logits = model(x, drawn_route(layers, (x.shape[0], x.shape[1]), generator, skip))
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        _stepped(optimizer, loss, params.learning_rate * rate(step / steps))
        report(step + 1, steps)


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
    """cross_entropy of hard routes and of mixtures [nats a token], share of big layers, least and most of a layer.

    alone_cross_entropy and alone_share: of hard routes where the tokens before take the large layers, as in a table.
    """
    (hard, shares), (soft, _) = (router.routed(model, x, sharpness, hard=hard) for hard in (True, False))
    alone, choices, _ = routed_alone(model, x, router.choice)
    layers = shares.double().mean((1, 2))
    return {
        "cross_entropy": _mean_loss(hard, y),
        "alone_cross_entropy": _mean_loss(alone, y),
        "alone_share": float(choices.double().mean()),
        "soft_cross_entropy": _mean_loss(soft, y),
        "share": float(layers.mean()),
        "least_used": float(layers.min()),
        "most_used": float(layers.max()),
    }


@torch.no_grad()
def best_drawn(model: DuoTransformer, x: Tensor, y: Tensor, k: int, draws: int, seed: int, report: Report) -> float:
    """The least cross-entropy [nats a token] of so many drawn routes of k big layers, each taken by all tokens.

    Routes are drawn without putting back, so at most all of them are tried.
    """
    routes = all_routes(len(model.blocks))
    routes = routes[(routes == BIG).sum(1) == k]
    order = torch.randperm(len(routes), generator=torch_generator(seed, "duo", f"drawn {k}"))[:draws]
    losses = []
    for done, at in enumerate(order.tolist()):
        losses.append(_mean_loss(model(x, routes[at]), y))
        report(done + 1, len(order))
    return min(losses)


class Tables(NamedTuple):
    """Losses float32[routes, n, t] of true and of shuffled next tokens under all routes int64[routes, layers]."""

    true: np.ndarray
    shuffled: np.ndarray
    routes: np.ndarray


def tables_of(model: DuoTransformer, x: Tensor, y: Tensor, seed: int, skip: bool = False) -> Tables:
    """The losses of all routes, with skips or without."""
    others = y.flatten()[torch.randperm(y.numel(), generator=torch_generator(seed, "duo", "labels"))].view(y.shape)
    table, shuffled = oracle_table(model, x, torch.stack([y, others]), skip).numpy().transpose(1, 0, 2, 3)
    return Tables(table, shuffled, all_routes(len(model.blocks), skip).numpy())


def told_by_oracles(
    model: DuoTransformer, tables: Tables, seed: int
) -> tuple[Told, list[dict[str, Any]], list[dict[str, Any]]]:
    """(system, variant) -> metrics, the oracle's use of each layer, and its loss by candidates."""
    table, shuffled, routes = tables
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
    kinds = duo_oracles.categories(table, routes)
    rows["oracle", "all"] = {
        "hopeless": duo_oracles.hopeless(table, routes),
        **{f"{name}_tokens": float((kinds == i).mean()) for i, name in enumerate(duo_oracles.CATEGORIES)},
    }
    return rows, use, duo_oracles.growth(table, routes, half, 20, seed)


@torch.no_grad()
def foreseen_by_block(
    model: DuoTransformer, fitted: tuple[Tensor, Tensor], judged: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Whether a block's large layer helps a token, foreseen from what its router is given: `foreseen` of each block.

    It helps where the loss is less with it, and small layers else, than with small layers alone. The regressions are
    fitted on some windows (x, y) and judged on others; foreseen is their mean, foreseen_<block> is each.
    """
    (given, helps), (given_then, helps_then) = (_gains_of_one(model, x, y) for x, y in (fitted, judged))
    found = [duo_oracles.foreseen(*each) for each in zip(given, helps, given_then, helps_then, strict=True)]
    return {"foreseen": float(np.mean(found))} | {f"foreseen_{block}": area for block, area in enumerate(found)}


def _gains_of_one(model: DuoTransformer, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What blocks give their feed-forward layers [layers, n, t, width], and bool[layers, n, t]: does the big one help.

    The layers below are small, which is what a router of few large layers sees.
    """
    known = keys_values(model, x)

    def routed(big: int) -> tuple[Tensor, Tensor]:
        def choose(number: int, inner: Tensor) -> Tensor:
            return torch.full(inner.shape[:2], BIG if number == big else SMALL)

        logits, _, given = routed_alone(model, x, choose, known)
        return cross_entropy(logits.mT, y, reduction="none"), given

    without, given = routed(-1)
    helps = torch.stack([routed(block)[0] < without for block in range(len(model.blocks))])
    return given.numpy(), helps.numpy()


def told_of_skips(tables: Tables) -> tuple[Told, list[dict[str, Any]]]:
    """(system, variant) -> metrics of a model that may skip, by its large layers, and how often its oracle skips.

    of_three: routes of large, small and skipped layers; of_two: those without skips, of the same model.
    """
    table, shuffled, routes = tables
    plain = (routes != SKIP).all(1)
    rows: Told = {}
    for name, found in (
        ("of_three", duo_oracles.oracle_report(table, routes)),
        ("of_two", duo_oracles.oracle_report(table[plain], routes[plain])),
    ):
        rows |= {(f"{kind}_{name}", f"k{k}"): {"cross_entropy": value} for (kind, k), value in found.items()}
    for k in (0, routes.shape[1] // 2):
        rows["oracle_of_three", f"k{k}"] |= {"gain": duo_oracles.gain(table, routes, k)}
        rows["shuffled_of_three", f"k{k}"] = {"gain": duo_oracles.gain(shuffled, routes, k)}
        for kind, value in duo_oracles.transferred(table, routes, k).items():
            rows[f"{kind}_of_first_half_of_three", f"k{k}"] = {"cross_entropy": value}
    return rows, duo_oracles.layer_use(table, routes, SKIP)


def twins_told(
    whole: Transformer, workload: Texts, params: Any, xy: tuple[Tensor, Tensor], seed: int,
    progress: Callable[[str], Report],
) -> tuple[DuoTransformer, Router, Told]:  # fmt: skip
    """A trained model with twins, a router for half of its large layers, and what oracles, draws and it lose."""
    model = with_trained_twins(whole, workload, params, seed, progress("small twins"))
    half = len(model.blocks) // 2
    report = duo_oracles.oracle_report(*tables_of(model, *xy, seed)[::2])
    rows: Told = {(f"{kind}_of_twins", f"k{k}"): {"cross_entropy": value} for (kind, k), value in report.items()}
    drawn = best_drawn(model, *xy, half, params.draws, seed, progress("routes of twins"))
    rows["drawn_of_twins", f"k{half}"] = {"cross_entropy": drawn}
    target = half / len(model.blocks)
    router = router_for(model, workload, params, target, seed, False, progress("router of twins"))
    rows["router_of_twins", f"k{half}"] = judged_router(model, router, *xy, params.sharpness[1])
    add_costs(rows, model, xy[0].shape[1])
    return model, router, rows


def add_costs(rows: Told, model: DuoTransformer, length: int) -> None:
    """Add multiply_adds [a token] to each row of losses with so many large layers; routers by the share they take."""
    cost, layers = costs(model, length), len(model.blocks)
    for (system, variant), values in rows.items():
        if "cross_entropy" in values and variant[0] == "k" and "first_half" not in system:
            share = values.get("share", int(variant[1:]) / layers)
            asked = layers * cost.router if "share" in values else 0.0
            values["multiply_adds"] = float(cost.of(torch.full((layers,), share, dtype=torch.float64))) + asked


def route_table(tables: Tables) -> pa.Table:
    """The loss of every token under every route: window, position, route (its number in `all_routes`), loss."""
    names, places = ("route", "window", "position"), np.indices(tables.true.shape, np.int16).reshape(3, -1)
    columns = dict(zip(names, places, strict=True))
    return pa.table(columns | {"loss": tables.true.ravel()})


def by_cost(model: DuoTransformer, tables: Tables, name: str) -> list[dict[str, Any]]:
    """Rows (routes, kind, multiply_adds, cross_entropy): the best at no more than each cost [multiply-adds a token]."""
    cost = costs(model, tables.true.shape[2]).of(torch.from_numpy(tables.routes).T).numpy()
    return [
        {"routes": name, "kind": kind, "multiply_adds": at, "cross_entropy": value}
        for at, found in duo_oracles.by_cost(tables.true, cost)
        for kind, value in found.items()
    ]


def token_rows(tables: Tables, tokens: list[list[str]]) -> list[dict[str, Any]]:
    """Rows (window, position, text, loss, gain, kind) of the tokens that are foretold in the first windows.

    loss: at the cheapest route; gain: how far the best of all routes is below it [nats].
    """
    cheapest = tables.true[duo_oracles.budgets(tables.routes) == 0].min(0)
    gains, kinds = (f(tables.true, tables.routes) for f in (duo_oracles.difficulty, duo_oracles.categories))
    return [
        {
            "window": window,
            "position": position,
            "text": text,
            "loss": float(cheapest[window, position]),
            "gain": float(gains[window, position]),
            "kind": duo_oracles.CATEGORIES[kinds[window, position]],
        }
        for window, texts in enumerate(tokens)
        for position, text in enumerate(texts)
    ]


@torch.no_grad()
def judged_model(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """cross_entropy [nats a token], and the multiply-adds a token that torch makes for it."""
    with Work() as work:
        logits = model(x)
    return {
        "cross_entropy": _mean_loss(logits, y),
        "multiply_adds": work.multiply_adds / x.numel(),
    }


def _mean_loss(logits: Tensor, y: Tensor) -> float:
    """Mean cross-entropy [nats] of logits float32[n, t, v]; added up in float64."""
    return float(cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").double().mean())


def _stepped(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
