"""Training in phases on streams of tokens: a rate that rises, stays and decays, and mixtures of sources by share.

Hu et al., "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies", COLM 2024
(warm-up, stable, decay); Huang et al., "OpenCoder", ACL 2025 (data of better quality while the rate decays).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.errors import InputError
from winnow.randomness import numpy_generator

Report = Callable[[int, int], None]


def warmup_stable_decay(warmup: float, decay: float, floor: float) -> Callable[[float], float]:
    """The multiplier of the learning rate after a share of all steps.

    It rises over the share `warmup`, stays 1, and falls exponentially to `floor` over the last share `decay`. Raises
    InputError for shares that are below 0 or add up to more than 1, and for a floor outside (0, 1].
    """
    if min(warmup, decay) < 0 or warmup + decay > 1 or not 0 < floor <= 1:
        raise InputError(
            f"rate: warmup {warmup}, decay {decay}, floor {floor}; give shares of 1 in all and a floor above 0"
        )

    def multiplier(done: float) -> float:
        if done < warmup:
            return done / warmup
        return float(floor ** max(0.0, (done - (1 - decay)) / decay)) if decay else 1.0

    return multiplier


def mixed_windows(
    sources: Mapping[str, np.ndarray], shares: Mapping[str, float], count: int, context: int, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Windows int64[count, context + 1] of several streams of tokens in a random order, and the passes over each.

    sources: name -> tokens int[n]. shares: name -> share of the windows, above 0, adding up to 1; whole numbers go by
    the largest remainders. The windows of a pass over a source do not overlap in what is foreseen, and begin at an
    offset of its own. Raises InputError for other shares, and a source of less than one window.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0 or count < 1:
        raise InputError(f"shares: are {dict(shares)} of {count} windows; give shares from 0 on that add up to 1")
    generator, parts, passes = numpy_generator(seed, "mixture"), [], {}
    for name, wanted in _whole(shares, count).items():
        tokens = np.asarray(sources[name])
        if len(tokens) <= context:
            raise InputError(f"{name}: has {len(tokens)} tokens, no window of {context}; give it more")
        found: list[np.ndarray] = []
        while len(found) < wanted:
            offset = int(generator.integers(min(context, len(tokens) - context)))
            starts = offset + context * np.arange((len(tokens) - 1 - offset) // context)
            found += [tokens[start : start + context + 1] for start in generator.permutation(starts)]
        parts += found[:wanted]
        passes[name] = wanted * context / len(tokens)
    return np.stack(parts).astype(np.int64)[generator.permutation(count)], passes


def _whole(shares: Mapping[str, float], count: int) -> dict[str, int]:
    exact = {name: share * count for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: whole[name] - exact[name])[: count - sum(whole.values())]
    return {name: value + (name in rest) for name, value in whole.items()}


def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
    """AdamW as it is set for language models: betas .9 and .95, decay .1 of weights with two axes."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    free = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)


def train_on(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    windows: np.ndarray,
    rate: Callable[[int], float],
    batch_size: int,
    counted: np.ndarray | None = None,
    report: Report | None = None,
) -> list[float]:
    """Take a step of the optimizer on each batch of windows in turn; the losses [nats a token].

    windows: int64[n, t + 1]. rate: of a step, from 0 on. counted: bool[n, t], the tokens whose loss counts; all where
    it is None. Gradients are clipped at a norm of 1. Raises InputError for a loss that is no finite number.
    """
    model.train()
    losses, steps = [], -(-len(windows) // batch_size)
    for step in range(steps):
        here = slice(step * batch_size, (step + 1) * batch_size)
        window = torch.from_numpy(windows[here])
        mask = None if counted is None else torch.from_numpy(counted[here])
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss = masked_loss(model(window[:, :-1]), window[:, 1:], mask)
        if not torch.isfinite(loss):
            raise InputError(f"train: the loss is {loss.item()} at step {step + 1}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if report:
            report(step + 1, steps)
    model.eval()
    return losses


def masked_loss(logits: Tensor, y: Tensor, counted: Tensor | None) -> Tensor:
    """Mean cross-entropy [nats a token] of logits float[n, t, v] for tokens int64[n, t], over those that count."""
    losses = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return losses.mean() if counted is None else losses[counted.flatten()].mean()
