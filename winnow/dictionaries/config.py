"""The settings of one sparse autoencoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from winnow.dictionaries.architectures import ARCHITECTURES
from winnow.errors import InputError


@dataclass(frozen=True)
class SaeConfig:
    """Settings of one sparse autoencoder. Raises InputError for a value out of bounds."""

    architecture: str = "topk"
    """topk, batchtopk, relu_l1, jumprelu or gated."""
    m: int = 1024
    """Number of latents."""
    k: int = 16
    """topk: active latents per row; batchtopk: on average."""
    l1: float = 1.0
    """relu_l1 and gated: weight of the sparsity penalty on rows of mean norm sqrt(d)."""
    target_l0: float | None = 16.0
    """jumprelu: the mean number of active latents aimed at; None penalises L0 itself."""
    l0_coefficient: float = 10.0
    """jumprelu: weight of the L0 penalty."""
    bandwidth: float | None = None
    """jumprelu: width of the kernel around the threshold; None is .001 sqrt(d), the paper's .001 for unit
    norm."""
    threshold: float = 0.1
    """jumprelu: the threshold at the start."""
    threshold_lr: float = 20.0
    """jumprelu: lr of log theta relative to that of the weights; at 1 a short run ends before thresholds
    move."""
    steps: int = 300
    batch: int = 4096
    """Rows per step."""
    lr: float | None = None
    """Adam's step size at its height; None is 2e-4 sqrt(16384 / m), at most 3e-3."""
    seed: int = 0
    revive: str = "auto"
    """What wakes dead latents: aux (topk, batchtopk), ghost or resample (relu_l1), none; auto is aux or
    ghost."""
    dead_after: float = 0.2
    """Share of the training rows for which a latent is silent before it counts as dead."""
    aux_coefficient: float = 1 / 32
    """Weight of AuxK, whose k is d / 2."""
    anneal: float = 0.0
    """batchtopk: share of the steps in which k falls linearly from d to its value."""
    warmup: float = 0.05
    """Share of the steps in which lr and the sparsity penalty rise from 0."""
    decay: float = 0.2
    """Share of the steps, the last ones, in which lr falls to 0."""
    backend: str = "auto"
    """numba, torch, or auto: numba where it is installed."""
    threads: int = 1

    def __post_init__(self) -> None:
        allowed = {"topk": ("aux",), "batchtopk": ("aux",), "relu_l1": ("ghost", "resample")}
        if self.architecture not in ARCHITECTURES:
            names = ", ".join(ARCHITECTURES)
            raise InputError(f"architecture: {self.architecture!r} is unknown; choose one of {names}")
        if self.revive not in ("auto", "none", *allowed.get(self.architecture, ())):
            choices = ", ".join(("auto", "none", *allowed.get(self.architecture, ())))
            raise InputError(f"revive: {self.revive!r} does not go with {self.architecture}; choose one of {choices}")
        for name in ("m", "k", "steps", "batch", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)}; it must be at least 1")
        if self.architecture in ("topk", "batchtopk") and self.k >= self.m:
            raise InputError(f"k: {self.k} of m = {self.m} latents; it must be below m")
        for name in ("l1", "l0_coefficient", "aux_coefficient"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}: {getattr(self, name)}; it must not be negative")
        for name in ("lr", "target_l0", "bandwidth", "threshold", "threshold_lr", "dead_after"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise InputError(f"{name}: {getattr(self, name)}; it must be above 0")
        for name in ("anneal", "warmup", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: {getattr(self, name)}; it must lie between 0 and 1")

    @property
    def revival(self) -> str:
        """`revive` with auto resolved."""
        default = {"topk": "aux", "batchtopk": "aux", "relu_l1": "ghost"}.get(self.architecture, "none")
        return default if self.revive == "auto" else self.revive

    @property
    def peak_lr(self) -> float:
        """`lr`, or the square-root law."""
        return self.lr if self.lr is not None else min(3e-3, 2e-4 * math.sqrt(16384 / self.m))
