"""Training models of what a user takes next: losses over all items or over drawn ones, and the best epoch kept.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (bce); Rendle et al., "BPR: Bayesian
Personalized Ranking from Implicit Feedback", UAI 2009 (bpr); Klenitskiy and Vasilev, "Turning Dross Into Gold Loss: is
BERT4Rec really better than SASRec?", RecSys 2023 (ce, sampled_softmax); Petrov and Macdonald, "gSASRec: Reducing
Overconfidence in Sequential Recommendation Trained with Negative Sampling", RecSys 2023 (gbce).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.models.next_item_loss import next_item_loss
from winnow.workloads.interactions import Interactions

BETAS = (0.9, 0.98)
TARGET = "ndcg10"


def gbce_power(negatives: int, items: int, calibration: float) -> float:
    """The power beta that gbce raises the probability of what was taken to: 1 at calibration 0, alpha at 1.

    alpha: the share of the other items that is drawn.
    """
    alpha = negatives / (items - 1)
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


def sampled_loss(name: str, positive: Tensor, negative: Tensor, power: float = 1.0) -> Tensor:
    """Mean loss over places, in nats, of scores of what was taken float[m] and of drawn items float[m, k].

    bce and gbce sum over the items of a place, bpr takes their mean. power: gbce's, see `gbce_power`.
    Raises InputError for another name.
    """
    if name in ("bce", "gbce"):
        weight = power if name == "gbce" else 1.0
        return -(weight * logsigmoid(positive) + logsigmoid(-negative).sum(1)).mean()
    if name == "bpr":
        return -logsigmoid(positive[:, None] - negative).mean()
    if name == "sampled_softmax":
        scores = torch.cat([positive[:, None], negative], 1)
        return cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64))
    raise InputError(f"loss: {name!r} is unknown; choose ce, bce, sampled_softmax, bpr or gbce")


def taken_items(workload: Interactions) -> Tensor:
    """bool[users, items + 1]: what each user took in training, at any time, and item 0, which is none.

    Raises InputError for a user who took all items.
    """
    found = workload.sequences("train")
    taken = torch.zeros(int(found.users.max()) + 1, workload.items + 1, dtype=torch.bool)
    taken[torch.from_numpy(found.users), torch.from_numpy(found.items)] = True
    taken[:, 0] = True
    if taken.all(1).any():
        raise InputError(f"negatives: a user took all {workload.items} items; use the loss ce, or leave the user out")
    return taken


def draw_negatives(owner: Tensor, taken: Tensor, count: int) -> Tensor:
    """int64[m, count]: items drawn alike from those that the user of each place never took.

    owner: int64[m], the user of each place. taken: see `taken_items`. Draws from torch's generator.
    """
    items = taken.shape[1] - 1
    drawn = torch.randint(1, items + 1, (len(owner), count))
    while (again := taken[owner[:, None], drawn]).any():
        drawn[again] = torch.randint(1, items + 1, (int(again.sum()),))
    return drawn


class _BestEpoch:
    """A workload with a loss of its own that keeps the parameters of the epoch with the best ranking on valid."""

    def __init__(self, workload: Interactions, loss: str, negatives: int, calibration: float) -> None:
        self.workload, self.name, self.negatives = workload, loss, negatives
        self.power = gbce_power(negatives, workload.items, calibration)
        self.kept: dict[str, Tensor] = {}
        self.taken = None if loss == "ce" else taken_items(workload)

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterable[Any]:
        return self.workload.batches_of_users(split, size, seed, epoch)

    def loss(self, model: Any, batch: Any, label_smoothing: float = 0.0) -> Tensor:
        x, y, users = batch
        wanted = y > 0
        states, targets, weight = model.states(x)[wanted], y[wanted], model.embedding.weight
        if self.taken is None:  # as the workload's own loss, without scores of places that nothing follows
            return next_item_loss(states, weight, targets)
        drawn = draw_negatives(users[wanted.nonzero()[:, 0]], self.taken, self.negatives)
        positive = (states * weight[targets]).sum(1)
        return sampled_loss(self.name, positive, torch.einsum("md,mkd->mk", states, weight[drawn]), self.power)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        found = self.workload.metrics(model, split)
        if found[TARGET] > float(self.kept.get("score", torch.tensor(-1.0))):
            self.kept |= {f"best.{name}": value.detach().clone() for name, value in model.state_dict().items()}
            self.kept["score"] = torch.tensor(found[TARGET], dtype=torch.float64)
        return found


def fit_recommender(
    model: nn.Module,
    workload: Interactions,
    *,
    loss: str = "ce",
    negatives: int = 1,
    calibration: float = 0.75,
    epochs: int = 40,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train a model in place and leave it as it was after the epoch with the best NDCG@10 on valid.

    loss: ce over all items; bce, sampled_softmax, bpr or gbce against `negatives` items drawn for each place.
    calibration: of gbce. Adam with betas .9 and .98. Returns rows (metric, value, step), as
    `winnow.models.fitting.fit` does, whose errors and resuming these are.
    """
    plan = _BestEpoch(workload, loss, negatives, calibration)
    history = fit(
        model,
        plan,
        epochs=epochs,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=learning_rate, betas=BETAS),
        batch_size=batch_size,
        seed=seed,
        kept=plan.kept,
        recipe=f"best epoch of {loss} {negatives} {calibration}",
        checkpoint=checkpoint,
        progress=progress,
    )
    best = {name.removeprefix("best."): value for name, value in plan.kept.items() if name != "score"}
    model.load_state_dict(best)
    return history
