"""One dictionary in training: what it consists of between two batches, and what one batch does to it.

The order of a step follows Gao et al., 2024: tangent decoder gradient, clipping, Adam, unit decoder rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from winnow.dictionaries.adam import Adam, clip
from winnow.dictionaries.architectures import ARCHITECTURES, Gradients, Parameters, Settings, Step
from winnow.dictionaries.codes import make_backend
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.dictionary import Dictionary, write_atomically
from winnow.dictionaries.store import Statistics
from winnow.errors import InputError
from winnow.randomness import torch_generator

ENCODER_SCALE = 0.3
"""Norm of an encoder row at the start, along its decoder row. Adam moves every entry by about lr whatever its
size, so shorter rows turn faster: at 1, runs of lr 1e-3 end with a higher error; at .1 with a lower one on some data
and a higher one on other. At lr 1e-2 it matters little."""

History = list[tuple[str, float, int]]
"""(metric, value, step)."""


class Trainer:
    """Parameters, moments and counters of one dictionary in training; `step` takes one batch.

    found: of the rows of d dimensions that are read. target: of what is decoded, where that is something else; rows
    then have both side by side.
    """

    def __init__(self, config: SaeConfig, d: int, found: Statistics, target: Statistics | None = None) -> None:
        self.config, self.d, self.scale = config, d, found.scale
        decoded = target or found
        self.scale_out, self.variance = decoded.scale, decoded.variance
        self.backend = make_backend(config.backend, config.threads)
        self.parameters = _initial(config, decoded.centre, None if target is None else found.centre)
        self.adam = Adam(self.parameters)
        self.done = 0
        self.data = ""  # what tells the rows that it is fitted to from others
        self.silent = torch.zeros(config.m, dtype=torch.int64)
        self.threshold = math.nan
        self.history: History = []

    @property
    def transcodes(self) -> bool:
        """Whether it decodes something else than it reads."""
        return "b_in" in self.parameters

    @property
    def dead(self) -> Tensor:
        """bool[m]: latents silent for the dead window."""
        return self.silent >= self.config.dead_after * self.config.steps * self.config.batch

    def step(self, rows: Tensor) -> None:
        """One step on raw rows float32[batch, d], of a transcoder [batch, d_in + d_out]."""
        width = self.d + (len(self.parameters["b_dec"]) if self.transcodes else 0)
        if rows.shape[1] != width:
            raise InputError(f"store: rows have {rows.shape[1]} dimensions, the dictionary {width}; use one hook point")
        target = rows[:, self.d :] * self.scale_out if self.transcodes else None
        rows = rows[:, : self.d] * self.scale
        result = ARCHITECTURES[self.config.architecture](self.parameters, rows, self.settings(), target)
        self.check(result)
        self.update(self.parameters, result.gradients, self.adam, clip)
        self.note(result, rows, target)
        self._record(result, len(rows))
        self.done += 1

    def check(self, result: Step) -> None:
        """Raise InputError for a loss that is not finite."""
        if not math.isfinite(result.loss):
            raise InputError(f"lr: {self.config.peak_lr:g} diverges at step {self.done}; lower it")

    def note(self, result: Step, rows: Tensor, target: Tensor | None = None) -> None:
        """After an update by the loss at scaled rows: which latents fired, thresholds, latents that restart."""
        self.silent += len(rows)
        self.silent.masked_fill_(result.code.fired(), 0)
        self._follow_threshold(result)
        if self.config.revival == "resample" and self.done in (
            self.config.steps // 4,
            self.config.steps // 2,
        ):
            self._resample(rows, result.residual, target)

    def settings(self) -> Settings:
        """What the loss is told at this step."""
        config, share = self.config, self.done / self.config.steps
        k, d = config.k, len(self.parameters["b_dec"])
        if config.architecture == "batchtopk" and share < config.anneal:
            k = round(k + (min(d, config.m - 1) - k) * (1 - share / config.anneal))
        sparsity = config.l0_coefficient if config.architecture == "jumprelu" else config.l1
        return Settings(
            backend=self.backend,
            k=k,
            sparsity=sparsity * self._warmup(),
            target_l0=config.target_l0,
            bandwidth=config.bandwidth or 0.001 * math.sqrt(d),
            dead=self.dead if config.revival in ("aux", "ghost") else None,
            aux_k=max(1, d // 2),
            aux_coefficient=config.aux_coefficient,
        )

    def _warmup(self) -> float:
        return min(1.0, (self.done + 1) / max(1.0, self.config.warmup * self.config.steps))

    def update(
        self, parameters: Parameters, gradients: Gradients, adam: Adam, clip: Callable[[Gradients], None]
    ) -> None:
        """Tangent decoder gradient, clip, Adam, unit decoder rows: in this order, and as far as this step's lr says."""
        decoder, gradient = parameters["decoder"], gradients["decoder"]
        gradient -= (gradient * decoder).sum(-1, keepdim=True) * decoder
        clip(gradients)
        left = (self.config.steps - self.done) / max(1.0, self.config.decay * self.config.steps)
        lr = self.config.peak_lr * self._warmup() * min(1.0, left)
        adam.step(parameters, gradients, lr, {"log_threshold": self.config.threshold_lr})
        decoder /= torch.linalg.vector_norm(decoder, dim=-1, keepdim=True)

    def _follow_threshold(self, result: Step) -> None:
        """batchtopk: a running mean of the smallest kept value, which stands in for the batch at inference.

        The paper's decay of .999 would remember the start of a short run, so a tenth of the steps bounds it.
        """
        if self.config.architecture != "batchtopk" or self._warmup() < 1:
            return
        kept = result.code.values[result.code.values > 0]
        smallest = float(kept.min()) if len(kept) else 0.0
        decay = max(0.0, min(0.999, 1 - 10 / self.config.steps))
        old = smallest if math.isnan(self.threshold) else self.threshold
        self.threshold = decay * old + (1 - decay) * smallest

    def _resample(self, rows: Tensor, residual: Tensor, target: Tensor | None = None) -> None:
        """Dead latents restart at rows drawn by squared loss (Bricken et al., "neuron resampling").

        They read the row's direction and write that of its target.
        """
        dead = self.dead.nonzero().flatten()
        loss = residual.square().sum(1)
        if not len(dead) or float(loss.sum()) == 0:
            return
        generator = torch_generator(self.config.seed, "sae", "resample", str(self.done))
        weight, unit = loss.double().square(), torch.nn.functional.normalize
        enough = int((weight > 0).sum()) >= len(dead)
        drawn = torch.multinomial(weight, len(dead), replacement=not enough, generator=generator)
        read = rows[drawn] - self.parameters["b_in" if self.transcodes else "b_dec"]
        alive = self.parameters["encoder"][~self.dead]
        size = 0.2 * float(alive.norm(dim=1).mean()) if len(alive) else 0.2
        written = (rows if target is None else target)[drawn] - self.parameters["b_dec"]
        self.parameters["decoder"][dead] = unit(written, dim=1)
        self.parameters["encoder"][dead] = size * unit(read, dim=1)
        self.parameters["b_enc"][dead] = 0.0
        self.adam.forget(dead, ("decoder", "encoder", "b_enc"))
        self.silent[dead] = 0

    def _record(self, result: Step, rows: int) -> None:
        values = {"loss": result.loss, "l0": result.code.count() / rows}
        values["dead_fraction"] = int(self.dead.sum()) / self.config.m
        if self.variance > 0:
            values["fvu"] = result.squared_error / self.variance
        self.history += [(name, value, self.done) for name, value in values.items()]

    def dictionary(self) -> Dictionary:
        """The dictionary so far, for raw rows: with y' = scale_out * y, f' = scale_out * f for unit decoder rows.

        The encoder reads x' = scale * x, so that W_enc is to be multiplied by scale / scale_out.
        """
        found, architecture = self.parameters, self.config.architecture
        encoder, bias = found["encoder"], found["b_enc"]
        threshold = torch.zeros_like(bias)
        if architecture == "batchtopk":
            threshold += 0.0 if math.isnan(self.threshold) else self.threshold
        elif architecture == "jumprelu":
            threshold = found["log_threshold"].exp()
        elif architecture == "gated":
            # gate > 0 is magnitude > b_enc - scale * b_gate: a gated autoencoder is a jumprelu (paper,
            # section 3).
            scale = found["log_scale"].exp()
            encoder = encoder * scale[:, None]
            threshold = (bias - scale * found["b_gate"]).clamp(min=0)
        b_dec = found["b_dec"] / self.scale_out
        if self.transcodes:
            encoder = encoder * (self.scale / self.scale_out)
        info = {"rows": self.done * self.config.batch, "seed": self.config.seed}
        return Dictionary(
            W_enc=encoder.T.contiguous(),
            b_enc=bias / self.scale_out,
            W_dec=found["decoder"].clone(),
            b_dec_in=found["b_in"] / self.scale if self.transcodes else b_dec,
            b_dec_out=b_dec.clone(),
            threshold=threshold / self.scale_out,
            architecture=architecture,
            activation="topk" if architecture == "topk" else "jumprelu",
            k=self.config.k if architecture in ("topk", "batchtopk") else None,
            info=info,
        )

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on to one safetensors file."""
        history = torch.tensor([[value, step] for _, value, step in self.history], dtype=torch.float64)
        tensors = {"silent": self.silent, "history": history}
        for group, named in self._groups().items():
            tensors |= {f"{group}.{name}": tensor for name, tensor in named.items()}
        described = {
            "config": asdict(self.config),
            "done": self.done,
            "scale": self.scale,
            "scale_out": self.scale_out,
            "variance": self.variance,
            "threshold": self.threshold,
            "data": self.data,
            "metrics": [name for name, _, _ in self.history],
        }
        write_atomically(path, lambda temporary: save_file(tensors, temporary, {"winnow": json.dumps(described)}))

    @classmethod
    def load(cls, path: Path, config: SaeConfig) -> Trainer:
        """The trainer that `save` wrote. Raises InputError for a damaged file or one of other settings."""
        try:
            with safe_open(path, "pt") as file:
                described = json.loads(file.metadata()["winnow"])
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read as a checkpoint ({error}); delete it to start again") from None
        for key, value in asdict(config).items():
            if described["config"].get(key) != value:
                old = described["config"].get(key)
                raise InputError(f"{path}: was made with {key} {old}, not {value}; delete it to start again")
        decoded = Statistics(described["scale_out"], tensors["parameter.b_dec"], described["variance"])
        found = decoded._replace(scale=described["scale"])
        if "parameter.b_in" in tensors:
            found = found._replace(centre=tensors["parameter.b_in"])
        trainer = cls(config, len(found.centre), found, decoded if "parameter.b_in" in tensors else None)
        trainer._restore(described, tensors)
        return trainer

    def _restore(self, described: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.done, self.threshold, self.silent = described["done"], described["threshold"], tensors["silent"]
        self.data = described.get("data", "")
        pairs = zip(described["metrics"], tensors["history"].tolist(), strict=True)
        self.history = [(name, value, int(step)) for name, (value, step) in pairs]
        self.adam.steps = self.done
        for group, named in self._groups().items():
            for name, tensor in named.items():
                tensor.copy_(tensors[f"{group}.{name}"])

    def _groups(self) -> dict[str, dict[str, Tensor]]:
        return {"parameter": self.parameters, "first": self.adam.first, "second": self.adam.second}


def _initial(config: SaeConfig, centre: Tensor, centre_in: Tensor | None) -> Parameters:
    """Encoder rows along decoder rows; where these are of another space (centre_in is given), drawn like them."""

    def directions(name: str, d: int) -> Tensor:
        drawn = torch.randn(config.m, d, generator=torch_generator(config.seed, "sae", name))
        return torch.nn.functional.normalize(drawn, dim=1)

    decoder, zeros = directions("decoder", len(centre)), torch.zeros(config.m)
    encoder = decoder if centre_in is None else directions("encoder", len(centre_in))
    parameters = {"encoder": ENCODER_SCALE * encoder, "b_enc": zeros, "decoder": decoder, "b_dec": centre.clone()}
    if centre_in is not None:
        parameters["b_in"] = centre_in.clone()
    if config.architecture == "jumprelu":
        parameters["log_threshold"] = torch.full((config.m,), math.log(config.threshold))
    if config.architecture == "gated":
        parameters |= {"b_gate": zeros.clone(), "log_scale": zeros.clone()}
    return parameters
