"""Adversarial examples by projected gradient descent, and training that resists them.

Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from winnow.errors import InputError
from winnow.models.fitting import History, fit
from winnow.models.modes import evaluating
from winnow.randomness import numpy_generator, torch_generator

Norm = Literal["l2", "linf"]
Box = tuple[float | Tensor, float | Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy_each(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of every example [n], in nats."""
    return functional.cross_entropy(logits, y, reduction="none")


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    norm: Norm = "l2",
    steps: int = 8,
    restarts: int = 1,
    box: Box | None = (0.0, 1.0),
    loss: Loss = cross_entropy_each,
    seed: int = 0,
) -> Tensor:
    """A perturbation of x, of its shape, that makes the loss large: steps of eps / 4 up its gradient, each projected.

    x: float[n, ...]; eps: radius of the ball, in the units of x; box: bounds of x + the perturbation, None for none,
    numbers or tensors that broadcast with x. loss: (the model's output, y) -> float[n].
    The first start is 0, as the authors' library has it, the further `restarts` are uniform in the box around the
    ball's centre and projected; the best of each example counts. The model stays in the mode it is in: evaluate in
    eval mode, or norms over the batch will learn from the attack.
    Raises InputError for a negative eps, no step or restart, an unknown norm, or an x outside its box.
    """
    _check_attack(x, eps, norm, steps, restarts, box)
    delta = torch.zeros_like(x)
    if eps == 0:
        return delta
    best = torch.full((len(x),), -torch.inf, dtype=x.dtype)
    kept = delta
    for restart in range(restarts):
        if restart:
            noise = torch.rand(x.shape, generator=torch_generator(seed, "pgd", str(restart)), dtype=x.dtype)
            delta = _project(x, eps * (2 * noise - 1), eps, norm, box)
        else:
            delta = torch.zeros_like(x)
        for _ in range(steps):
            gradient = _loss_gradient(model, x + delta, y, loss)
            delta = _project(x, delta + eps / 4 * _steepest(gradient, norm), eps, norm, box)
        if restarts == 1:
            return delta
        with torch.no_grad():
            reached = loss(model(x + delta), y)
        better = reached > best
        best = torch.where(better, reached, best)
        kept = torch.where(_column(better, x), delta, kept)
    return kept


def _check_attack(x: Tensor, eps: float, norm: str, steps: int, restarts: int, box: Box | None) -> None:
    if not eps >= 0:
        raise InputError(f"eps is {eps}; a radius is 0 or more")
    if steps < 1 or restarts < 1:
        raise InputError(f"steps is {steps} and restarts {restarts}; both must be at least 1")
    if norm not in ("l2", "linf"):
        raise InputError(f"norm is {norm!r}; use l2 or linf")
    if box is not None and not bool(((x >= box[0]) & (x <= box[1])).all()):
        raise InputError("x leaves its box; give the bounds in the units of x, or None for no bounds")


def _column(values: Tensor, like: Tensor) -> Tensor:
    """[n] as [n, 1, ...], to broadcast over the entries of each example."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _length(delta: Tensor) -> Tensor:
    return _column(delta.flatten(1).norm(dim=1), delta)


def _loss_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        # Gradients of the parameters are not asked for, so those of a training step in hand are left alone.
        return torch.autograd.grad(loss(model(x), y).sum(), x)[0]


def _steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of unit length in the norm along which the loss rises fastest; 0 where the gradient is 0."""
    if norm == "linf":
        return gradient.sign()
    # Scaled first: the square of a gradient of a saturated loss is 0 in float32.
    largest = _column(gradient.flatten(1).abs().amax(dim=1), gradient)
    scaled = gradient / torch.where(largest > 0, largest, 1)
    return scaled / _length(scaled).clamp(min=1)


def _project(x: Tensor, delta: Tensor, eps: float, norm: Norm, box: Box | None) -> Tensor:
    """Into the ball, then into the box: as x lies in the box, the second step only shortens."""
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        shortest = max(eps, torch.finfo(delta.dtype).tiny)  # a radius that is 0 in this precision divides by nothing
        delta = delta * (eps / _length(delta).clamp(min=shortest))
    if box is None:
        return delta
    return torch.minimum(torch.maximum(x + delta, _bound(box[0], x)), _bound(box[1], x)) - x


def _bound(bound: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(bound, dtype=like.dtype)


def robust_accuracy(model: nn.Module, x: Tensor, y: Tensor, eps: float, **attack: object) -> float:
    """Share of examples that the model in eval mode classifies rightly after `pgd` with the settings `attack`."""
    with evaluating(model):
        delta = pgd(model, x, y, eps, **attack)  # type: ignore[arg-type]
        with torch.no_grad():
            right = model(x + delta).argmax(dim=1) == y
    return float(right.double().mean())


class AttackedExamples:
    """Examples in memory as `fit` wants a workload, each batch perturbed by `pgd` on the model as it is (eps 0: plain).

    There is no valid split, so a run's history has no valid metrics.
    """

    def __init__(self, x: Tensor, y: Tensor, eps: float = 0.0, **attack: object) -> None:
        if len(x) != len(y):
            raise InputError(f"x has {len(x)} examples and y {len(y)}; give one label an example")
        self.x, self.y, self.eps, self.attack = x, y, eps, attack

    def batches(
        self, split: str, size: int, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in an order that (seed, epoch) alone decides; seed None keeps the order given."""
        order = torch.arange(len(self.y))
        if seed is not None:
            order = torch.from_numpy(numpy_generator(seed, "batches", split, str(epoch)).permutation(len(self.y)))
        for rows in order.split(size):
            yield self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of the perturbed batch."""
        x, y = batch
        if self.eps > 0:
            x = x + pgd(model, x, y, self.eps, **self.attack)  # type: ignore[arg-type]
        return functional.cross_entropy(model(x), y, label_smoothing=label_smoothing)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """Nothing: examples in memory are all for training."""
        return {}


def fit_robust(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    norm: Norm = "l2",
    steps: int = 8,
    box: Box | None = (0.0, 1.0),
    epochs: int,
    batch_size: int = 128,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    schedule: Callable[[float], float] | None = None,
    seed: int,
) -> History:
    """Train a model in place on the worst examples that `pgd` finds around x; eps 0 trains on x itself.

    x: float[n, ...], y: int64[n]. The attack meets the model in train mode, as it is at that step. optimizer: SGD
    with a rate of .1 and momentum .9 unless another is given. Errors are those of `pgd` and of `fit`.
    """
    _check_attack(x, eps, norm, steps, 1, box)

    def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    return fit(
        model,
        AttackedExamples(x, y, eps, norm=norm, steps=steps, box=box),
        epochs=epochs,
        optimizer=optimizer or sgd,
        schedule=schedule,
        batch_size=batch_size,
        seed=seed,
    )
