"""The training loop: seeded, resumable, the same for every model and workload."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from winnow.errors import InputError
from winnow.randomness import stream_seed

History = list[tuple[str, float, int]]


class Trainable(Protocol):
    """What `fit` asks of a workload."""

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterable[Any]: ...

    def loss(self, model: nn.Module, batch: Any, label_smoothing: float = 0.0) -> Tensor: ...

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]: ...


def steps_per_epoch(workload: Trainable, batch_size: int, seed: int) -> int:
    """How many batches an epoch of training has; raises InputError if there is none."""
    steps = sum(1 for _ in workload.batches("train", batch_size, seed, 0))
    if steps == 0:
        raise InputError(f"train: the split has no batch of {batch_size}; give more examples")
    return steps


def fit(
    model: nn.Module,
    workload: Trainable,
    *,
    epochs: int,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    schedule: Callable[[float], float] | None = None,
    batch_size: int,
    seed: int,
    label_smoothing: float = 0.0,
    after_step: Callable[[int], History | None] | None = None,
    kept: dict[str, Tensor] | None = None,
    recipe: str = "",
    checkpoint: Path | None = None,
    checkpoint_every: int = 1,
    validated: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train `model` in place on the training split; returns rows (metric, value, step).

    schedule: share of the steps done, in [0, 1) -> multiplier of the learning rate. after_step and progress
    are called after each step, counted from 1, the latter with the total as well. Rows that after_step
    returns join the history.
    History: loss [nats] and learning_rate of each step, and valid_<metric> of each epoch if it is `validated`.
    checkpoint: a scratch file, written every `checkpoint_every` epochs. If it is there at the start,
    training goes on from it and ends bit for bit where an undisturbed run ends; it is deleted at the end.
    One that other settings, data or starting parameters left behind is ignored.
    kept: tensors that after_step keeps from step to step: stored in the checkpoint, and put back into this
    dictionary from there. recipe: what after_step does; a checkpoint of another recipe is ignored, too.
    Raises InputError for a training split without a batch, a loss that is not finite, a damaged checkpoint.
    """
    steps = steps_per_epoch(workload, batch_size, seed)
    updater = optimizer(model.parameters())
    base_rates = [float(group["lr"]) for group in updater.param_groups]
    history: History = []
    start, identity = 0, ""
    if checkpoint is not None:
        rates = [schedule(share / 8) for share in range(8)] if schedule else []
        settings = (epochs, batch_size, seed, label_smoothing, rates, repr(updater), recipe)
        identity = _identity({**model.state_dict(), **_named("kept", kept)}, workload, batch_size, settings)
        start, history = _restore(checkpoint, identity, model, updater, kept)
    for epoch in range(start, epochs):
        # Seeded by epoch, so that a resumed run meets the same dropout as a straight one.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "fit", str(epoch)))
            model.train()
            for index, batch in enumerate(workload.batches("train", batch_size, seed, epoch)):
                done = epoch * steps + index
                multiplier = schedule(done / (epochs * steps)) if schedule else 1.0
                for group, rate in zip(updater.param_groups, base_rates, strict=True):
                    group["lr"] = rate * multiplier
                loss = _step(workload.loss(model, batch, label_smoothing), updater, done + 1)
                history += [("loss", loss, done + 1), ("learning_rate", base_rates[0] * multiplier, done + 1)]
                if after_step:
                    history += after_step(done + 1) or []
                if progress:
                    progress(done + 1, epochs * steps)
        model.eval()
        with torch.no_grad():
            valid = workload.metrics(model, "valid") if validated else {}
        history += [(f"valid_{name}", value, (epoch + 1) * steps) for name, value in valid.items()]
        if checkpoint is not None and (epoch + 1) % checkpoint_every == 0:
            _store(checkpoint, identity, model, updater, kept, epoch + 1, history)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    model.eval()
    return history


def final_metrics(history: History) -> dict[str, float]:
    """The valid metrics of the last epoch of a history that `fit` returned."""
    found = [(name.removeprefix("valid_"), value, step) for name, value, step in history if name.startswith("valid_")]
    return {name: value for name, value, step in found if step == found[-1][2]}


def _step(loss: Tensor, updater: Optimizer, step: int) -> float:
    if not torch.isfinite(loss):
        raise InputError(f"train: the loss is {loss.item()} at step {step}; lower the learning rate")
    updater.zero_grad(set_to_none=True)
    loss.backward()
    updater.step()
    return float(loss.detach())


def _named(prefix: str, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in (tensors or {}).items()}


def _identity(tensors: dict[str, Tensor], workload: Trainable, batch_size: int, settings: tuple[Any, ...]) -> str:
    """A digest of everything that a run depends on: settings, data and the tensors it starts from."""
    digest = blake2b(repr(settings).encode(), digest_size=16)
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for batch in workload.batches("train", batch_size):
        for part in batch if isinstance(batch, (tuple, list)) else [batch]:
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _store(
    path: Path,
    identity: str,
    model: nn.Module,
    updater: Optimizer,
    kept: dict[str, Tensor] | None,
    epochs_done: int,
    history: History,
) -> None:
    tensors = _named("model", model.state_dict()) | _named("kept", kept)
    scalars: dict[str, Any] = {}
    for index, state in updater.state_dict()["state"].items():
        for key, value in state.items():
            (tensors if isinstance(value, Tensor) else scalars)[f"optimizer.{index}.{key}"] = value
    note = {"identity": identity, "epochs_done": epochs_done, "history": history, "scalars": scalars}
    temporary = path.with_name(path.name + ".part")
    # JSON keeps every bit of a float64; safetensors wants metadata of strings.
    save_file(
        {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()},
        temporary,
        metadata={"fit": json.dumps(note)},
    )
    os.replace(temporary, path)


def _restore(
    path: Path, identity: str, model: nn.Module, updater: Optimizer, kept: dict[str, Tensor] | None
) -> tuple[int, History]:
    """Epochs done and history of a checkpoint of this very run, or (0, []); its tensors go where they were."""
    if not path.exists():
        return 0, []
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["fit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is a damaged checkpoint; delete it to train from the start") from error
    if note["identity"] != identity:
        return 0, []
    state: dict[int, dict[str, Any]] = {}
    for name, value in (tensors | note["scalars"]).items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    if kept is not None:
        kept.update({n.removeprefix("kept."): t for n, t in tensors.items() if n.startswith("kept.")})
    updater.load_state_dict({"state": state, "param_groups": updater.state_dict()["param_groups"]})
    return note["epochs_done"], [(metric, value, step) for metric, value, step in note["history"]]
