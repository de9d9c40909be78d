"""What oracles make of the losses of all routes: budgets, which layers they use, and how much of it is hindsight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.compress.duo import BIG
from winnow.randomness import numpy_generator

Losses = NDArray[np.float32]
"""[routes, n, t]: the loss of each token under every route, in nats."""
HIGH = 0.75
"""Quantile of the loss at the cheapest route from which a token counts as one of high loss."""
NO_GAIN = 0.1
"""Nats below which the best of all routes is no gain."""
LOW = 0.5
"""Nats below which a token is easy."""
CATEGORIES = ("easy", "hopeless", "responsive", "other")


def budgets(routes: np.ndarray) -> np.ndarray:
    """Big layers int64[routes] of each route."""
    return (routes == BIG).sum(1)


def oracle_report(table: Losses, routes: np.ndarray) -> dict[tuple[str, int], float]:
    """(kind, big layers) -> mean loss over tokens, in nats.

    fixed: the best route for all tokens; mean: of all routes; sequence and oracle: the best for each stretch and token.
    """
    found: dict[tuple[str, int], float] = {}
    for k in range(routes.shape[1] + 1):
        those = table[budgets(routes) == k].astype(np.float64)
        found["fixed", k] = float(those.mean((1, 2)).min())
        found["mean", k] = float(those.mean())
        found["sequence", k] = float(those.mean(2).min(0).mean())
        found["oracle", k] = float(those.min(0).mean())
    return found


def layer_use(table: Losses, routes: np.ndarray, option: int = BIG) -> list[dict[str, Any]]:
    """Share of tokens for which the oracle of each budget takes a layer's big twin, or another option.

    Rows of k, layer, share.
    """
    rows = []
    for k in range(1, routes.shape[1]):
        those = budgets(routes) == k
        chosen = routes[those][table[those].argmin(0)]
        shares = (chosen == option).mean((0, 1))
        rows += [{"k": k, "layer": layer, "share": float(share)} for layer, share in enumerate(shares)]
    return rows


def mean_depth(rows: list[dict[str, Any]], k: int) -> float:
    """Mean place of the big layers that the oracle of a budget takes, from 0 (all first) to 1 (all last)."""
    those = [row for row in rows if row["k"] == k]
    last = max(row["layer"] for row in those)
    return sum(row["layer"] * row["share"] for row in those) / sum(row["share"] for row in those) / last


def big_by_position(table: Losses, routes: np.ndarray) -> np.ndarray:
    """Mean number of big layers float64[t] on the best of all routes, by a token's place."""
    return budgets(routes)[table.argmin(0)].mean(0)


def difficulty(table: Losses, routes: np.ndarray) -> np.ndarray:
    """What a token gains float32[n, t] from the best of all routes over the cheapest, in nats."""
    return table[budgets(routes) == 0].min(0) - table.min(0)


def hopeless(table: Losses, routes: np.ndarray) -> float:
    """Share of the tokens of high loss that gain nothing from any route."""
    cheapest = table[budgets(routes) == 0].min(0)
    high = cheapest >= np.quantile(cheapest, HIGH)
    return float((difficulty(table, routes)[high] < NO_GAIN).mean())


def categories(table: Losses, routes: np.ndarray) -> NDArray[np.int64]:
    """What kind of token each is, int64[n, t], as `CATEGORIES` names them.

    easy: every route has a loss below `LOW`. hopeless: of high loss at the cheapest route, and no route gains anything.
    responsive: some route gains. other: the rest, of middling loss at every route.
    """
    cheapest, gains = table[budgets(routes) == 0].min(0), difficulty(table, routes)
    high = cheapest >= np.quantile(cheapest, HIGH)
    cases = [table.max(0) < LOW, (gains < NO_GAIN) & high, gains >= NO_GAIN]
    return np.select(cases, [0, 1, 2], 3)


def transferred(table: Losses, routes: np.ndarray, k: int) -> dict[str, float]:
    """Mean loss of the second halves of stretches, in nats, under routes of k big layers chosen on the first halves.

    own: each stretch's best; fixed: the best over all stretches.
    """
    those = table[budgets(routes) == k].astype(np.float64)
    half = table.shape[2] // 2
    first, second = those[:, :, :half].mean(2), those[:, :, half:].mean(2)
    own = np.take_along_axis(second, first.argmin(0)[None], 0).mean()
    return {"own": float(own), "fixed": float(second[first.mean(1).argmin()].mean())}


def gain(table: Losses, routes: np.ndarray, k: int) -> float:
    """How far the oracle of k big layers is below the mean of its routes, in nats a token."""
    those = table[budgets(routes) == k].astype(np.float64)
    return float(those.mean() - those.min(0).mean())


def by_cost(table: Losses, costs: np.ndarray) -> list[tuple[float, dict[str, float]]]:
    """(cost, kind -> mean loss) at each cost float[routes] that routes have: what may cost no more, chosen from.

    oracle: the best route of each token; fixed: the best for all.
    """
    found = []
    for cost in np.unique(costs):
        those = table[costs <= cost].astype(np.float64)
        found.append((float(cost), {"oracle": float(those.min(0).mean()), "fixed": float(those.mean((1, 2)).min())}))
    return found


def growth(table: Losses, routes: np.ndarray, k: int, draws: int, seed: int) -> list[dict[str, Any]]:
    """The oracle's loss with fewer candidates of k big layers, drawn at random: rows of candidates, cross_entropy."""
    those = table[budgets(routes) == k].astype(np.float64)
    generator, rows = numpy_generator(seed, "duo", "candidates"), []
    for count in range(1, len(those) + 1):
        drawn = [generator.choice(len(those), count, replace=False) for _ in range(draws)]
        losses = [those[chosen].min(0).mean() for chosen in drawn]
        rows.append({"candidates": count, "cross_entropy": float(np.mean(losses))})
    return rows


def foreseen(states: np.ndarray, helps: np.ndarray, judged: np.ndarray, helped: np.ndarray) -> float:
    """Area under the curve of a logistic regression that foresees from states [n, t, d] whether a layer helps.

    Fitted on states and helps bool[n, t], judged on others of the same form; .5 is chance. NaN where one of the two
    has tokens of one kind only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(np.unique(helps)), len(np.unique(helped))) < 2:
        return float("nan")
    width = states.shape[-1]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(states.reshape(-1, width), helps.ravel())
    return float(roc_auc_score(helped.ravel(), model.decision_function(judged.reshape(-1, width))))
