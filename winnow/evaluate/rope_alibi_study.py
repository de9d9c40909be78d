"""Positions beyond the trained length: the same bytes foretold from longer and longer contexts, and a copied token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from winnow.models import build
from winnow.models.positions import Mode, with_positions
from winnow.models.transformer import Transformer
from winnow.randomness import numpy_generator
from winnow.statistics import bootstrap_interval
from winnow.train.byte_language import VOCABULARY, Report, drawn_starts, next_losses, train_steps, windows_at

SYMBOLS = 32  # of the copying task
SWEPT: tuple[Mode, ...] = ("additive_harmonic", "geometric")
REFERENCES: tuple[Mode, ...] = ("rope", "alibi", "geometric")
"""What losses are compared with, window by window."""
BATCH = 16


class Arm(NamedTuple):
    """A way of positions; the strength of its bias where it is not the usual one, or whether each head learns one."""

    mode: Mode
    strength: float | None = None
    learned: bool = False

    @property
    def suffix(self) -> str:
        return ", learned" if self.learned else "" if self.strength is None else f", strength {self.strength:g}"

    @property
    def name(self) -> str:
        return f"{self.mode}{self.suffix}"


def arms(modes: Sequence[Mode], strengths: Mapping[str, Sequence[float]], learned: Sequence[Mode] = ()) -> list[Arm]:
    """Each mode with its usual strength; those that `strengths` names with others too, and some with learned ones."""
    swept = [Arm(mode, strength) for mode in SWEPT if mode in modes for strength in strengths.get(mode, ())]
    return [Arm(mode) for mode in modes] + swept + [Arm(mode, learned=True) for mode in learned if mode in modes]


def trained(arm: Arm, symbols: np.ndarray, params: Any, report: Report) -> tuple[Transformer, list[Any]]:
    """A language model of bytes and its history; arms differ in positions alone, also in what they start from."""
    shape = {"width": params.width, "layers": params.layers, "heads": params.heads}
    model = build("transformer", seed=params.seed, vocabulary=VOCABULARY, **shape)
    assert isinstance(model, Transformer)
    history = train_steps(
        with_positions(model, arm.mode, arm.strength, arm.learned),
        symbols,
        steps=params.steps,
        batch_size=params.batch_size,
        length=params.context,
        learning_rate=params.learning_rate,
        seed=params.seed,
        report=report,
    )
    return model, history


@torch.no_grad()
def losses_at_lengths(
    model: nn.Module, symbols: np.ndarray, lengths: Sequence[int], windows: int, seed: int
) -> dict[int, np.ndarray]:
    """Length -> float64[windows, length]: cross-entropy [nats] of each byte of windows that end alike at each length.

    A model sees `length` bytes up to and with the last but one; what it foretells does not depend on the length.
    """
    longest = max(lengths)
    starts = drawn_starts(symbols, windows, longest + 1, numpy_generator(seed, "rope alibi", "judged"))
    found: dict[int, np.ndarray] = {}
    for length in lengths:
        x = windows_at(symbols, starts + longest - length, length + 1)
        found[length] = torch.cat([next_losses(model, part).double() for part in x.split(BATCH)]).numpy()
    return found


def profile(losses: np.ndarray, bins: int) -> list[dict[str, float]]:
    """Rows (position, value): mean of losses float64[windows, length] in each of `bins` stretches of a window.

    Stretches differ by one byte at most, and a window has no more of them than bytes.
    """
    places = np.array_split(np.arange(losses.shape[1]), min(bins, losses.shape[1]))
    return [{"position": float(some.mean()) + 0.5, "value": float(losses[:, some].mean())} for some in places]


def copying(arm: Arm, params: Any, report: Report) -> float:
    """Share of tokens foretold right by a model trained to say the token that stood `copy_gap` places back.

    Tokens are drawn independently, so that nothing but the place tells which one it is.
    """
    generator = numpy_generator(params.seed, "rope alibi", "copying")
    gap, length = params.copy_gap, params.context
    shape = {"width": params.width, "layers": 1, "heads": params.heads}
    model = build("transformer", seed=params.seed, vocabulary=SYMBOLS, **shape)
    assert isinstance(model, Transformer)
    with_positions(model, arm.mode, arm.strength, arm.learned)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.copy_rate, fused=True)
    for step in range(params.copy_steps):
        x = torch.from_numpy(generator.integers(0, SYMBOLS, (params.batch_size, length)))
        logits = model(x)[:, gap:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), x[:, :-gap].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(step + 1, params.copy_steps)
    with torch.no_grad():
        x = torch.from_numpy(generator.integers(0, SYMBOLS, (8 * BATCH, length)))
        return float((model(x)[:, gap:].argmax(-1) == x[:, :-gap]).double().mean())


def chosen_strengths(at_trained: Mapping[Arm, float]) -> dict[str, Arm]:
    """Swept mode -> the arm whose strength loses least. at_trained: losses at the trained length, on other text.

    That is all one can see before longer texts come. Learned strengths are not among them.
    """
    found: dict[str, Arm] = {}
    for mode in SWEPT:
        mine = [arm for arm in at_trained if arm.mode == mode and not arm.learned]
        if mine:
            found[mode] = min(mine, key=lambda arm: at_trained[arm])
    return found


def paired(
    losses: Mapping[Arm, Mapping[int, np.ndarray]], seed: int
) -> Iterator[tuple[Arm, int, dict[str, float | None]]]:
    """Each arm and length, with the mean of what it loses over each reference in the same windows, and its 95 % bounds.

    losses: float64[windows] by arm and length, the same windows for all. Bounds by resampled windows.
    """
    for arm, by_length in losses.items():
        for length, mine in by_length.items():
            told: dict[str, float | None] = {}
            for mode in REFERENCES:
                if mode != arm.mode and Arm(mode) in losses:
                    found = bootstrap_interval(mine - losses[Arm(mode)][length], seed=seed)
                    low, high = (f"over_{mode}_{end}" for end in ("low", "high"))
                    told |= {f"over_{mode}": found.estimate, low: found.low, high: found.high}
            if told:
                yield arm, length, told


def by_window(losses: Mapping[Arm, Mapping[int, np.ndarray]], seed: int) -> list[dict[str, Any]]:
    """Rows (arm, seed, length, window, loss) of losses float64[windows] by arm and length."""
    return [
        {"arm": arm.name, "seed": seed, "length": length, "window": window, "loss": float(loss)}
        for arm, by_length in losses.items()
        for length, each in by_length.items()
        for window, loss in enumerate(each)
    ]


def learned_strengths(model: Transformer) -> list[dict[str, float]]:
    """Rows (layer, head, strength): what each head multiplies its bias with, of a model with learned ones."""
    return [
        {"layer": layer, "head": head, "strength": float(strength)}
        for layer, block in enumerate(model.blocks)
        if (raw := getattr(block.attention, "raw", None)) is not None
        for head, strength in enumerate(nn.functional.softplus(raw.detach()).flatten())
    ]
