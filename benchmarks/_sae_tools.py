"""One tool of sae_throughput.py in a process of its own: a job a line comes in, its result a line goes out.

    python benchmarks/_sae_tools.py {winnow,winnow-torch,saelens,dictionary_learning,sparsify}

A job is JSON: architecture, d, m, k, batch, steps, lr, seed, rows (an .npz of train, valid, test and atoms; a row of a
transcoder's has the d dimensions that are read and the d that are decoded), and, for SAELens, decoder_init_norm, for
sparsify, optimizer. Before the first job of each architecture two steps are taken that do not count: they load what
is loaded late. What is not named below is left at the tool's own default.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.planted import recovery

L1 = 3.0
TARGET_L0, L0_WEIGHT = 16.0, 10.0
"""The penalties all tools share: L1 * sum |f_j|, and L0_WEIGHT * (L0 / TARGET_L0 - 1)^2."""

Rows = Iterator[Tensor]
Job = dict[str, Any]


class Fitted(NamedTuple):
    """Rows to (codes [n, m], reconstructions), and the decoder [m, d]."""

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    decoder: Tensor


def work(fit: Callable[[Rows, Job], Fitted], job: Job) -> dict[str, Any]:
    """The timed fit, then what it reached on validation and test rows."""
    planted = {name: torch.from_numpy(array) for name, array in np.load(job["rows"]).items()}
    torch.manual_seed(job["seed"])
    start = time.process_time()
    fitted = fit(batches(planted["train"], job["batch"]), job)
    seconds = time.process_time() - start
    valid, test = (measure(fitted, planted[split], job) for split in ("valid", "test"))
    return {
        "cpu_seconds": seconds,
        "trained_rows": job["steps"] * job["batch"],
        "valid_loss": valid["loss"],
        "fvu": test["fvu"],
        "l0": test["l0"],
        "recovery": recovery(fitted.decoder, planted["atoms"]),
    }


def batches(rows: Tensor, size: int) -> Rows:
    """The whole batches of `rows`, over and over, in order."""
    while True:
        yield from (piece for piece in rows.split(size) if len(piece) == size)


def measure(fitted: Fitted, rows: Tensor, job: Job) -> dict[str, float]:
    """fvu, l0 and the loss by which the lr is chosen: squared error and, where there is one, the penalty.

    The penalties are those of the training losses, with |f_j| times the norm of its decoder row.
    """
    missed, active, weight = 0.0, 0.0, 0.0
    with torch.no_grad():
        norms = fitted.decoder.norm(dim=1)
        for piece in rows.split(job["batch"]):
            code, made = fitted.forward(piece[:, : job["d"]])
            missed += float((piece[:, -job["d"] :] - made).double().square().sum())
            active += float((code != 0).sum())
            weight += float((code.abs() @ norms).sum())
    wanted = rows[:, -job["d"] :]
    spread = float((wanted - wanted.mean(0)).double().square().sum())
    l0 = active / len(rows)
    penalty = {"relu_l1": L1 * weight / len(rows), "jumprelu": L0_WEIGHT * (l0 / TARGET_L0 - 1) ** 2}
    return {"fvu": missed / spread, "l0": l0, "loss": missed / len(rows) + penalty.get(job["architecture"], 0.0)}


def with_winnow(rows: Rows, job: Job, backend: str) -> Fitted:
    from winnow.dictionaries.sae import SaeConfig, fit

    settings = {key: job[key] for key in ("architecture", "m", "k", "steps", "batch", "lr", "seed")}
    inputs = None
    if job["architecture"] == "transcoder":
        inputs, settings["architecture"] = job["d"], "topk"
    penalties = {"l1": L1, "target_l0": TARGET_L0, "l0_coefficient": L0_WEIGHT}
    dictionary, _ = fit(rows, SaeConfig(**settings, **penalties, backend=backend), inputs=inputs)
    return Fitted(lambda x: (dictionary.dense(x), dictionary.reconstruct(x)), dictionary.W_dec)


def with_saelens(rows: Rows, job: Job) -> Fitted:
    """Left at its default, its dead window of 1,000 steps never ends here; a fifth of the steps raises its
    FVU."""
    from sae_lens import saes
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    warmup = job["steps"] // 20
    # Its quadratic penalty is 2 * coefficient / target * (L0 - target)^2.
    quadratic = {"target_l0": TARGET_L0, "l0_coefficient": L0_WEIGHT / (2 * TARGET_L0), "l0_warm_up_steps": warmup}
    model, config, settings = {
        "topk": (saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig, {"k": job["k"]}),
        "batchtopk": (saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig, {"k": job["k"]}),
        "relu_l1": (
            saes.StandardTrainingSAE,
            saes.StandardTrainingSAEConfig,
            {"l1_coefficient": L1, "l1_warm_up_steps": warmup},
        ),
        "jumprelu": (
            saes.JumpReLUTrainingSAE,
            saes.JumpReLUTrainingSAEConfig,
            {"jumprelu_sparsity_loss_mode": "quadratic", **quadratic},
        ),
    }[job["architecture"]]
    size = {"d_in": job["d"], "d_sae": job["m"], "decoder_init_norm": job["decoder_init_norm"]}
    sae = model(config(**size, **settings, device="cpu", dtype="float32"))
    training = SAETrainerConfig(
        total_training_samples=job["steps"] * job["batch"],
        train_batch_size_samples=job["batch"],
        lr=job["lr"],
        lr_end=job["lr"],
        lr_warm_up_steps=warmup,
        lr_decay_steps=job["steps"] // 5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(cfg=training, sae=sae, data_provider=rows).fit()

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        code = sae.encode(x)
        return code, sae.decode(code)

    return Fitted(forward, sae.W_dec.detach())


def with_dictionary_learning(rows: Rows, job: Job) -> Fitted:
    """Its dead window of 10 million rows, which no setting changes, never ends here."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    warmup = job["steps"] // 20
    trainer_class, settings = {
        "topk": (TopKTrainer, {"k": job["k"]}),
        "batchtopk": (BatchTopKTrainer, {"k": job["k"]}),
        "relu_l1": (StandardTrainer, {"l1_penalty": L1, "sparsity_warmup_steps": warmup or None}),
        "jumprelu": (
            JumpReluTrainer,
            {"target_l0": TARGET_L0, "sparsity_penalty": L0_WEIGHT, "sparsity_warmup_steps": warmup or None},
        ),
    }[job["architecture"]]
    trainer = trainer_class(
        steps=job["steps"],
        activation_dim=job["d"],
        dict_size=job["m"],
        layer=0,
        lm_name="planted",
        lr=job["lr"],
        warmup_steps=warmup,
        decay_start=job["steps"] - job["steps"] // 5 if job["steps"] >= 5 else None,
        seed=job["seed"],
        device="cpu",
        **settings,
    )
    for step in range(job["steps"]):
        trainer.update(step, next(rows))
    # As SAELens does in training, the k * b largest of the batch: its threshold only moves after 1,000 steps.
    of_batch = {"use_threshold": False} if job["architecture"] in ("topk", "batchtopk") else {}
    decoder = trainer.ae.W_dec if job["architecture"] == "jumprelu" else trainer.ae.decoder.weight.T

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        code = trainer.ae.encode(x, **of_batch)
        return code, trainer.ae.decode(code)

    return Fitted(forward, decoder.detach())


def with_sparsify(rows: Rows, job: Job) -> Fitted:
    """Its trainer reads a language model, so its coder, loss and optimizers stand in a bare loop here, set as there.

    There a thousand steps warm Adam's learning rate up; here a twentieth of all steps does, as with the other tools.
    """
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.sign_sgd import SignSGD
    from transformers import get_linear_schedule_with_warmup

    coder = SparseCoder(job["d"], SparseCoderConfig(num_latents=job["m"], k=job["k"], transcode=True))
    if job["optimizer"] == "signum":
        optimizer = ScheduleFreeWrapper(SignSGD(coder.parameters(), job["lr"]), momentum=0.95)
        optimizer.train()
        schedule = None
    else:
        optimizer = torch.optim.Adam(coder.parameters(), job["lr"])
        schedule = get_linear_schedule_with_warmup(optimizer, job["steps"] // 20, job["steps"])
    for step in range(job["steps"]):
        x, y = next(rows).split(job["d"], 1)
        if step == 0:
            coder.encoder.bias.data = -x.mean(0) @ coder.encoder.weight.data.T
            coder.b_dec.data = y.mean(0)
        coder(x=x, y=y).fvu.backward()
        optimizer.step()
        optimizer.zero_grad()
        if schedule is not None:
            schedule.step()
    if schedule is None:
        optimizer.eval()

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices, _ = coder.encode(x)
        code = torch.zeros(len(x), job["m"]).scatter_(1, indices, values)
        return code, coder.decode(values, indices)

    return Fitted(forward, coder.W_dec.detach())


TOOLS: dict[str, Callable[[Rows, Job], Fitted]] = {
    "winnow": partial(with_winnow, backend="numba"),
    "winnow-torch": partial(with_winnow, backend="torch"),
    "saelens": with_saelens,
    "dictionary_learning": with_dictionary_learning,
    "sparsify": with_sparsify,
}


def main(tool: str) -> None:
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # what the tools print must not mix with the results
    started: dict[str, float] = {}
    for line in sys.stdin:
        job = json.loads(line)
        if job["architecture"] not in started:
            before = time.process_time() if started else 0.0
            work(TOOLS[tool], {**job, "steps": 2})
            started[job["architecture"]] = time.process_time() - before
        result = work(TOOLS[tool], job) | {"startup_seconds": next(iter(started.values()))}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
