"""Settings of word2vec found by the cross-entropy method, beside rivals with as many trials.

Scored is how often, of the words of a line, one that is taken out is among the ten that the others point to: on texts
that were not trained on while searching, on further ones in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import qmc

from winnow.curate.cross_entropy import Choice, Continuous, CrossEntropy, Point
from winnow.curate.word2vec import Word2Vec
from winnow.evaluate.word2vec_corpora import Corpus, Questions
from winnow.randomness import numpy_generator, stream_seed

SPACE: tuple[Continuous | Choice, ...] = (
    Continuous("lr", 0.005, 0.2, log=True),
    Continuous("power", -1.0, 1.0),
    Continuous("subsample", 1e-5, 1e-1, log=True),
    Choice("window", (2, 3, 5, 8)),
    Choice("negatives", (2, 5, 10)),
    Choice("dim", (16, 32, 64)),
    Choice("epochs", (2, 4, 8)),
    Choice("architecture", ("skipgram", "cbow")),
)
DEFAULT: Point = {
    "lr": 0.025,
    "power": 0.75,
    "subsample": 1e-3,
    "window": 5,
    "negatives": 5,
    "dim": 100,
    "epochs": 5,
    "architecture": "cbow",
}
"""gensim's defaults, also where the space has no such value."""
METHODS = ("cross_entropy", "random", "sobol", "one_factor")
HITS = 10


class Trial(NamedTuple):
    """One point that a method tried: its score, the threshold and whether it was elite, and the seconds it took."""

    round: int
    point: Point
    score: float
    elite: bool
    seconds: float


def hit_rate(vectors: np.ndarray, context: np.ndarray, questions: Questions) -> float:
    """Share of the missing words among the HITS that the mean of the others' vectors points to; NaN if not finite.

    Of words that score as much, half are taken to come before: vectors that tell nothing apart find nothing.
    """
    if not (np.isfinite(vectors).all() and np.isfinite(context).all()):
        return float("nan")
    others, missing = questions
    there = (others >= 0).astype(np.float32)
    mean = (vectors[np.maximum(others, 0)] * there[..., None]).sum(1) / there.sum(1, keepdims=True)
    scores = mean @ context.T
    # An identifier of the line itself is not the one that is missing.
    np.put_along_axis(scores, np.where(others >= 0, others, others[:, :1]), -np.inf, axis=1)
    own = np.take_along_axis(scores, missing[:, None], axis=1)
    rank = (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return float((rank < HITS).mean())


def trained(words: Corpus, point: Point, seed: int) -> Word2Vec:
    """word2vec with the settings of a point of SPACE."""
    return Word2Vec(**point, seed=seed).fit(words.lines, len(words.words))


def search(
    method: str, words: Corpus, rounds: int, n: int, settings: Any, seed: int, report: Callable[[int, int], None]
) -> tuple[list[Trial], list[dict[str, Any]]]:
    """rounds * n trials of a method, each with a seed of its own, and the law and its mode after each round, if any.

    The last trial of one setting at a time joins the best level of each.
    """
    optimizer = CrossEntropy(SPACE, n, settings.rho, settings.alpha, seed=seed)
    planned = _planned(method, rounds * n, seed)
    trials: list[Trial] = []
    laws: list[dict[str, Any]] = []
    for each in range(rounds):
        points = optimizer.ask() if method == "cross_entropy" else planned[each * n : (each + 1) * n]
        tried = [trial.point for trial in trials], [trial.score for trial in trials]
        scores: list[float] = []
        seconds: list[float] = []
        for at, point in enumerate(points):
            if method == "one_factor" and len(trials) + at == rounds * n - 1:
                point = points[at] = combined(tried[0] + points[:at], tried[1] + scores)
            start = time.process_time()
            model = trained(words, point, stream_seed(seed, method, str(len(trials) + len(scores))))
            scores.append(hit_rate(model.vectors, model.context, words.valid))
            seconds.append(time.process_time() - start)
            report(len(trials) + len(scores), rounds * n)
        elite = optimizer.tell(scores) if method == "cross_entropy" else [False] * len(points)
        trials += [Trial(each, *row) for row in zip(points, scores, elite, seconds, strict=True)]
        if method == "cross_entropy":
            told = {"threshold": optimizer.thresholds[-1], "law": optimizer.distribution(), "mode": optimizer.mode()}
            laws.append({"round": each, **told})
    return trials, laws


def _planned(method: str, count: int, seed: int) -> list[Point]:
    """The points of a method that does not learn from scores."""
    generator = numpy_generator(seed, "word2vec", method)
    if method == "sobol":
        power = int(np.ceil(np.log2(count)))
        unit = qmc.Sobol(len(SPACE), rng=generator).random_base2(power)[:count]
    else:
        unit = generator.random((count, len(SPACE)))
    points = [_at(row) for row in unit]
    if method == "one_factor":
        # The default, then one setting after another moved to a random value, in turn.
        moved = [SPACE[index % len(SPACE)].name for index in range(count - 1)]
        points = [DEFAULT, *(DEFAULT | {name: points[index][name]} for index, name in enumerate(moved))]
    return points


def combined(points: Sequence[Point], scores: Sequence[float]) -> Point:
    """The default with each setting at its best level among points that differ from it there alone; NaN is worst."""
    worth = np.where(np.isnan(scores), -np.inf, scores)
    found = dict(DEFAULT)
    for name in DEFAULT:
        alone = [i for i, point in enumerate(points) if point == DEFAULT | {name: point[name]}]
        found[name] = points[max(alone, key=lambda i: worth[i])][name]
    return found


def _at(unit: np.ndarray) -> Point:
    """The point of SPACE at a place in the unit cube."""
    point: Point = {}
    for each, share in zip(SPACE, unit, strict=True):
        if isinstance(each, Choice):
            point[each.name] = each.values[min(int(share * len(each.values)), len(each.values) - 1)]
        else:
            low, high = each.bounds
            value = low + share * (high - low)
            point[each.name] = float(np.exp(value)) if each.log else float(value)
    return point


def best_point(trials: Sequence[Trial]) -> Point:
    """The point of the best score, of equal ones the earliest; NaN is worst."""
    return max(trials, key=lambda trial: -np.inf if np.isnan(trial.score) else trial.score).point


def judged(words: Corpus, point: Point, seed: int, times: int) -> float:
    """Mean score on the test questions of word2vec trained `times` with fresh seeds."""
    scores = []
    for again in range(times):
        model = trained(words, point, stream_seed(seed, "fresh", str(again)))
        scores.append(hit_rate(model.vectors, model.context, words.test))
    return float(np.mean(scores))


def edge_hits(point: Point) -> int:
    """How many settings of a point lie at an end of their range, or within a hundredth of it."""
    hits = 0
    for each in SPACE:
        if isinstance(each, Continuous):
            low, high = each.bounds
            value = np.log(point[each.name]) if each.log else point[each.name]
            hits += bool(min(value - low, high - value) <= 0.01 * (high - low))
        elif len(each.values) > 2:
            hits += point[each.name] in (each.values[0], each.values[-1])
    return hits


def neighbours(words: Corpus, model: Word2Vec, count: int) -> list[dict[str, Any]]:
    """The five nearest words by cosine of the `count` most frequent words: rows word, neighbours."""
    unit = model.vectors / np.maximum(np.linalg.norm(model.vectors, axis=1, keepdims=True), 1e-12)
    nearest = np.argsort(-(unit[:count] @ unit.T), axis=1, kind="stable")[:, 1:6]
    return [
        {"word": words.words[row], "neighbours": ", ".join(words.words[i] for i in found)}
        for row, found in enumerate(nearest.tolist())
    ]


def rounds_of(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean score of the trials of the cross-entropy method's first and last round; runs that diverged count as 0."""
    own = [row for row in rows if row["method"] == "cross_entropy"]
    last = max(row["round"] for row in own)
    return {
        name: float(np.mean([np.nan_to_num(row["score"]) for row in own if row["round"] == number]))
        for name, number in (("first round", 0), ("last round", last))
    }


def costs(trials: Sequence[Trial]) -> list[tuple[str, float, int | None]]:
    """(metric, CPU seconds, trial): of all trials, and of those up to each."""
    spent = np.cumsum([trial.seconds for trial in trials]).tolist()
    return [("seconds", spent[-1], None), *(("seconds_so_far", each, at + 1) for at, each in enumerate(spent))]


def plain(laws: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Laws with values of choices as text, as JSON has keys."""
    return [
        law | {"law": {name: {str(k): v for k, v in each.items()} for name, each in law["law"].items()}} for law in laws
    ]
