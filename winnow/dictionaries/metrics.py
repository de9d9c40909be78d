"""What a dictionary is judged by: sparsity, faithfulness, dead latents, absorption, agreement between seeds.

FVU is one ratio of sums, not a mean of ratios, which rows of small norm would dominate.
Absorption: Chanin et al., "A is for Absorption", 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.errors import InputError

Loss = float | Callable[[], float]
PIECE = 8192
DEAD_ROWS = 100_000
"""Rows in which a latent that is never active counts as dead."""


class Evaluation(NamedTuple):
    """metrics: l0, fvu (None for constant rows), silent_fraction, dead_fraction, decoder_max_cosine, rows; density
    float64[m]."""

    metrics: dict[str, float | None]
    density: Tensor
    """Share of rows in which each latent is active."""


def evaluate(
    dictionary: Dictionary,
    rows: Tensor | Iterable[Tensor],
    targets: Tensor | Iterable[Tensor] | None = None,
    shown: list[Tensor] | None = None,
) -> Evaluation:
    """Metrics of a dictionary on held-out raw rows float[n, d], or on an iterable of such pieces.

    targets: what a transcoder is to decode of each row, in pieces of the same rows. shown: is given what is decoded of
    each piece. silent_fraction counts latents that are silent in all rows given; it is dead_fraction too from 100,000
    rows on, below which rare is not yet dead (None). Raises InputError for no rows, and those of Dictionary.encode.
    """
    fired = torch.zeros(dictionary.m, dtype=torch.int64)
    count, missed = 0, 0.0
    first: Tensor | None = None
    total, square = torch.zeros(()), 0.0

    def pieces(of: Tensor | Iterable[Tensor]) -> Iterable[Tensor]:
        return of.split(PIECE) if isinstance(of, Tensor) else of

    pairs = zip(pieces(rows), pieces(targets), strict=True) if targets is not None else ((x, x) for x in pieces(rows))
    for read, piece in pairs:
        if len(read) != len(piece):
            raise InputError(f"targets: {len(piece)} rows in a piece of {len(read)}; cut both alike")
        if not len(piece):
            continue
        code = dictionary.encode(read)
        fired += torch.bincount(code.indices[code.values > 0], minlength=dictionary.m)
        decoded = dictionary.decode(code)
        if shown is not None:
            shown.append(decoded)
        missed += float((piece - decoded).double().square().sum())
        # Sums about the first row: about zero they would cancel for rows far from the origin.
        first = piece[:1].double() if first is None else first
        moved = piece.double() - first
        total, square, count = total + moved.sum(0), square + float(moved.square().sum()), count + len(piece)
    if count == 0:
        raise InputError("rows: none to evaluate on; capture activations of held-out documents")
    spread = square - float(total.square().sum()) / count
    silent = float((fired == 0).double().mean())
    metrics: dict[str, float | None] = {
        "l0": float(fired.sum()) / count,
        "fvu": missed / spread if spread > 1e-12 * square else None,
        "silent_fraction": silent,
        "dead_fraction": silent if count >= DEAD_ROWS else None,
        "decoder_max_cosine": float(decoder_max_cosine(dictionary.W_dec).double().mean()),
        "rows": float(count),
    }
    return Evaluation(metrics, fired.double() / count)


def decoder_max_cosine(decoder: Tensor) -> Tensor:
    """Largest cosine of each row of decoder float[m, d] with another row: float[m]."""
    unit = torch.nn.functional.normalize(decoder, dim=1)
    out = torch.empty(len(unit))
    for start in range(0, len(unit), PIECE):
        cosine = unit[start : start + PIECE] @ unit.T
        own = torch.arange(len(cosine))
        cosine[own, own + start] = -1.0
        out[start : start + PIECE] = cosine.max(dim=1).values
    return out


def ce_recovered(zero: Loss, mean: Loss, sae: Loss, clean: Loss) -> dict[str, float | None]:
    """Share of the model's loss that the reconstruction keeps, against an ablated hook point.

    zero, mean, sae, clean: cross-entropy in nats (or a function that measures it) with the activation set to
    zero, to its mean, to its reconstruction, and left alone. ce_recovered is (zero - sae) / (zero - clean),
    ce_recovered_mean the same with mean for zero; None where ablation costs nothing.
    """
    zero_loss, mean_loss, sae_loss, clean_loss = (v() if callable(v) else v for v in (zero, mean, sae, clean))

    def share(ablated: float) -> float | None:
        return (ablated - sae_loss) / (ablated - clean_loss) if ablated != clean_loss else None

    return {"ce_recovered": share(zero_loss), "ce_recovered_mean": share(mean_loss)}


def seed_stability(first: Tensor, second: Tensor) -> float:
    """Mean cosine of the rows of two decoders float[m, d] under the one-to-one matching that makes it
    largest.

    Raises InputError if they differ in d. With unequal m the surplus latents stay unmatched.
    """
    from scipy.optimize import linear_sum_assignment

    if first.shape[1] != second.shape[1]:
        raise InputError(f"decoders: {first.shape[1]} and {second.shape[1]} dimensions; compare one hook point")
    unit = torch.nn.functional.normalize
    cosine = (unit(first.double(), dim=1) @ unit(second.double(), dim=1).T).numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    return float(cosine[rows, columns].mean())


class Absorption(NamedTuple):
    """rate: absorbed rows per row of the class that the probe gets right; None if there is no such row."""

    rate: float | None
    main_latents: list[int]
    absorbed: Tensor
    """bool[n]: rows (of those given) in which another latent stands in for the silent main ones."""


def absorption(
    dictionary: Dictionary,
    rows: Tensor,
    labels: Tensor,
    *,
    train: Tensor,
    max_main: int = 5,
    gain: float = 0.03,
    cosine: float = 0.025,
    share: float = 0.4,
    probe: Any = None,
    codes: Tensor | None = None,
) -> Absorption:
    """How often latents that should show a class stay silent because another latent has taken it over.

    rows float[n, d] raw; labels bool[n]; train bool[n]: rows to fit probes on, the others are judged. A
    logistic probe finds the class's direction. Main latents are those of k-sparse probes: of the latents
    whose mean differs most between classes, the first k, as long as each adds `gain` to F1. A row of the
    class is absorbed if the probe is right, all main latents are silent, and one other latent with at least
    `cosine` to the probe carries at least `share` of the row's projection on it. probe: the class's probe where it is
    known (`class_probe`), which no dictionary changes. codes: dictionary.dense(rows), which no class changes.
    Raises InputError for a class without examples on either side.
    """
    probe = class_probe(rows, labels, train) if probe is None else probe
    right = torch.from_numpy(probe.predict(rows.double().numpy())) & labels
    codes = dictionary.dense(rows) if codes is None else codes
    main = _main_latents(codes[train], labels[train], max_main, gain)
    direction = torch.nn.functional.normalize(torch.from_numpy(probe.coef_[0]).float(), dim=0)
    along = dictionary.W_dec @ direction
    carried = (codes * (along * (along >= cosine))).max(dim=1).values
    projection = (rows.float() - dictionary.b_dec_in) @ direction
    silent = (codes[:, main] == 0).all(1)  # so whichever latent carries the most is another one
    absorbed = right & ~train & silent & (projection > 0) & (carried >= share * projection)
    judged = int((right & ~train).sum())
    return Absorption(int(absorbed.sum()) / judged if judged else None, main, absorbed)


def class_probe(rows: Tensor, labels: Tensor, train: Tensor) -> Any:
    """The logistic probe of `absorption`; errors as there."""
    for part, name in ((train, "training"), (~train, "judged")):
        if not bool(labels[part].any()) or bool(labels[part].all()):
            raise InputError(f"labels: all {name} rows are of one class; give examples of both")
    return _logistic(rows[train], labels[train])


def _logistic(features: Tensor, labels: Tensor) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(features.double().numpy(), labels.numpy())


def _main_latents(codes: Tensor, labels: Tensor, most: int, gain: float) -> list[int]:
    """Latents of the smallest sparse probe that a further latent does not improve by `gain` in F1."""
    from sklearn.metrics import f1_score

    difference = codes[labels].mean(0) - codes[~labels].mean(0)
    order = torch.sort(difference, descending=True, stable=True).indices.tolist()[:most]
    chosen, best = order[:1], -1.0
    for k in range(1, len(order) + 1):
        features = codes[:, order[:k]]
        score = float(f1_score(labels.numpy(), _logistic(features, labels).predict(features.double().numpy())))
        if score - best < gain:
            break
        chosen, best = order[:k], score
    return chosen
