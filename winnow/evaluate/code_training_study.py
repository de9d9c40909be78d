"""A recipe for code models after its corpus: what it anneals on and is tuned on, each part left out or alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from winnow.curate.code_exercises import Exercise
from winnow.curate.code_functions import Function, functions_of
from winnow.errors import InputError
from winnow.evaluate import code_sources
from winnow.evaluate.opencoder_study import tokens_of
from winnow.models import build
from winnow.models.small_language_model import SmallLanguageModel
from winnow.models.vocabulary import byte_level
from winnow.randomness import numpy_generator
from winnow.train.annealing import masked_loss, mixed_windows, optimizer_of, train_on, warmup_stable_decay
from winnow.train.instruction_tuning import Pair, packed, response_bits, warmup_cosine_steps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ORIGINAL = "original"
INGREDIENTS = ("algorithms", "snippets", "textbooks")
WARMUP, PASSES = 0.05, 3
Report = Callable[[int, int], None]
Scores = dict[str, dict[str, float]]
"""Split -> metric -> value."""


class Corpus(NamedTuple):
    """What there is to learn from and to be judged by."""

    streams: dict[str, np.ndarray]
    """Source -> tokens int64[n]: the original distribution, each ingredient, and snippets that were not verified."""
    broad: list[Pair]
    tasks: list[Pair]
    held: np.ndarray
    """Windows int64[n, context + 1] of packages never seen."""
    held_bytes: float
    """Bytes a token of these."""
    functions: list[Function]
    questions: list[tuple[str, str]]
    exercises: list[Exercise]


def gathered(
    train: pa.Table, held: pa.Table, made: code_sources.Made, tokenizer: Tokenizer, params: Any, seed: int
) -> Corpus:
    """Streams and pairs from tables of package and text, and from exercises; held-out windows and functions."""
    by_package = _functions(train)
    functions = [function for found in by_package.values() for function in found]
    texts = {
        ORIGINAL: train["text"].to_pylist(),
        "algorithms": code_sources.algorithms(functions),
        "snippets": [code_sources.snippet(exercise) for exercise in made.verified],
        "textbooks": code_sources.textbooks(functions),
        "unverified": [code_sources.snippet(exercise) for exercise in made.learned],
    }
    generator = numpy_generator(seed, "streams")
    streams = {
        name: tokens_of([parts[i] for i in generator.permutation(len(parts))], tokenizer)
        for name, parts in texts.items()
    }
    broad = [pair for name, found in by_package.items() for pair in code_sources.broad_questions(found, name)]
    tasks = [pair for name, found in by_package.items() for pair in code_sources.code_tasks(found, name)]
    # The judged are the same for all seeds, and so are their windows.
    tokens, chosen = tokens_of(held["text"].to_pylist(), tokenizer), numpy_generator(0, "judged")
    starts = np.arange(0, len(tokens) - params.context - 1, params.context)
    starts = np.sort(chosen.permutation(starts)[: params.judged])
    apart = [(name, f) for name, found in _functions(held).items() for f in found if f.documentation]
    fitting = [pair for pair in apart if len(pair[1].text) <= 2 * params.context]
    picked = [fitting[i] for i in sorted(chosen.permutation(len(fitting))[: params.judged])]
    if not len(starts) or not picked:
        raise InputError(f"held out: {len(starts)} windows and {len(picked)} documented functions; give more files")
    questions = [pair for name, f in picked for pair in code_sources.broad_questions([f], name)[:1]]
    size = sum(len(text.encode()) for text in held["text"].to_pylist()) / len(tokens)
    return Corpus(
        streams,
        code_sources.instructed(broad, tokenizer),
        code_sources.instructed([*tasks, *map(code_sources.exercise_task, made.verified)], tokenizer),
        np.stack([tokens[start : start + params.context + 1] for start in starts]),
        size,
        [function for _, function in picked],
        questions,
        made.judged,
    )


def _functions(table: pa.Table) -> dict[str, list[Function]]:
    found: dict[str, list[Function]] = {}
    for row in table.select(["package", "text"]).to_pylist():
        found.setdefault(row["package"], []).extend(functions_of(row["text"]))
    return found


def mixtures(shares: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Arm -> share of each source of what a rate decays on.

    shares: of the ingredients; the original distribution has the rest. Arms leave one out in its favour, give one the
    share of all three, or take the snippets as they are, unverified.
    """
    rest = 1 - sum(shares.values())
    arms = {"plain": {ORIGINAL: 1.0}, "mixture": {ORIGINAL: rest, **shares}}
    for name in INGREDIENTS:
        kept = {other: share for other, share in shares.items() if other != name}
        arms[f"without {name}"] = {ORIGINAL: 1 - sum(kept.values()), **kept}
        arms[f"{name} alone"] = {ORIGINAL: rest, name: 1 - rest}
    arms["unverified alone"] = {ORIGINAL: rest, "unverified": 1 - rest}
    return arms


def stable(corpus: Corpus, tokenizer: Tokenizer, params: Any, seed: int, report: Report) -> tuple[nn.Module, Any]:
    """A new model after warm-up and the stable phase on the original distribution, and its optimizer."""
    sizes = {name: getattr(params, name) for name in ("width", "layers", "heads")}
    model = build("transformer", seed=seed, vocabulary=tokenizer.get_vocab_size(), **sizes)
    optimizer, count = optimizer_of(model), params.stable_steps * params.batch_size
    windows, _ = mixed_windows(corpus.streams, {ORIGINAL: 1.0}, count, params.context, seed)
    train_on(model, optimizer, windows, lambda step: _rate(params, step), params.batch_size, report=report)
    return model, optimizer


def _rate(params: Any, step: int) -> float:
    steps = params.stable_steps + params.decay_steps
    multiplier = warmup_stable_decay(WARMUP, params.decay_steps / steps, params.floor)
    return float(params.learning_rate * multiplier((step + 1) / steps))


def annealed(
    state: tuple[nn.Module, Any], corpus: Corpus, shares: Mapping[str, float], params: Any, seed: int, report: Report
) -> tuple[nn.Module, dict[str, float]]:
    """The model after the rate decayed on a mixture, from a state that stays as it is; and passes over each source."""
    model, optimizer = copy.deepcopy(state)  # together, so that the optimizer's parameters are the copy's
    count = params.decay_steps * params.batch_size
    windows, passes = mixed_windows(corpus.streams, shares, count, params.context, seed + 1)
    rate = lambda step: _rate(params, params.stable_steps + step)  # noqa: E731  short, and used once
    train_on(model, optimizer, windows, rate, params.batch_size, report=report)
    return model, passes


def tuned(model: nn.Module, corpus: Corpus, arm: str, params: Any, seed: int, report: Report) -> nn.Module:
    """A copy of the model tuned in two stages, or in one as long on broad questions, on tasks, or on both mixed.

    Stage one is a pass over `broad_windows` windows of questions, stage two three over a third of `task_windows`.
    """
    model = copy.deepcopy(model)
    first, second = params.broad_windows, params.task_windows
    counts = {"two stages": (first, second), "broad": (first + second, 0), "tasks": (0, first + second)}
    broad, tasks = counts.get(arm, (first, second))
    stages = []
    if broad:
        stages.append(packed(corpus.broad, broad, params.context, seed)[:2])
    if tasks:
        windows, counted, _ = packed(corpus.tasks, -(-tasks // PASSES), params.context, seed)
        generator = numpy_generator(seed, "passes")
        order = np.concatenate([generator.permutation(len(windows)) for _ in range(PASSES)])[:tasks]
        stages.append((windows[order], counted[order]))
    if arm == "mixed":
        order = numpy_generator(seed, "mixed").permutation(first + second)
        windows, counted = (np.concatenate(parts)[order] for parts in zip(*stages, strict=True))
        stages = [(windows, counted)]
    for windows, counted in stages:
        steps = -(-len(windows) // params.batch_size)
        rate = warmup_cosine_steps(params.tuning_rate, steps, max(1, steps // 20))
        train_on(model, optimizer_of(model), windows, rate, params.batch_size, counted, report)
    return model


def judged(model: nn.Module, corpus: Corpus, tokenizer: Tokenizer, params: Any, instructed: bool) -> Scores:
    """Bits per byte of held-out text, of bodies of held-out functions and of exercises, and the share that it solves.

    instructed: bodies stand as responses to instructions, and questions about held-out functions count besides.
    """
    told: Scores = {"held_out": {"bits_per_byte": _bits(model, corpus.held) / corpus.held_bytes}}
    parts: dict[str, Sequence[Any]] = {"functions": corpus.functions, "exercises": corpus.exercises}
    pairs = {name: code_sources.bodies(found, tokenizer) for name, found in parts.items()}
    sizes = {name: sum(len(part.body.encode()) for part in found) for name, found in parts.items()}
    if instructed:
        tasks = [code_sources.code_tasks([function], "")[0] for function in corpus.functions]
        answers = {
            "functions": tasks,
            "exercises": [code_sources.exercise_task(exercise) for exercise in corpus.exercises],
            "questions": corpus.questions,
        }
        pairs = {name: code_sources.instructed(found, tokenizer) for name, found in answers.items()}
        sizes = {name: sum(len(answer.encode()) for _, answer in found) for name, found in answers.items()}
    for name, found in pairs.items():
        told[name] = {"bits_per_byte": float(response_bits(model, found).sum()) / sizes[name]}
    reader = SmallLanguageModel(model, byte_level(tokenizer), 2 * params.context)
    stops = ("\n\n\n", "\n#") if instructed else code_sources.STOPS
    samples = reader.sample([prompt for prompt, _ in pairs["exercises"]], 1, params.longest, 0.0, stop=stops)
    texts = [sample.text for (sample,) in samples]
    told["exercises"]["pass_rate"] = code_sources.pass_rate(corpus.exercises, texts, whole=instructed)
    return told


@torch.no_grad()
def _bits(model: nn.Module, windows: np.ndarray) -> float:
    """Mean bits of a token that is foreseen in windows."""
    model.eval()
    nats = 0.0
    for window in torch.from_numpy(windows).split(16):
        nats += float(masked_loss(model(window[:, :-1]), window[:, 1:], None)) * len(window)
    return nats / len(windows) / math.log(2)
