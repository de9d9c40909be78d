"""MoE-X in training: experts that grow out of a dense layer, and a trace of which tokens ask for them.

Yang, Venhoff, Khakzar, Schroeder de Witt, Dokania, Bibi and Torr, "Mixture of Experts Made Intrinsically
Interpretable", ICML 2025. Its layer is `winnow.models.experts.MoEX`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.experts import Dense, MoEX, Router
from winnow.models.transformer import Transformer


def upcycled(dense: Dense, experts: int, k: int, router: Router, noise: float, generator: torch.Generator) -> MoEX:
    """Experts that are copies of a trained layer's units, with normal noise of a share of each weight's deviation."""
    encoder, decoder = dense.encoder.weight.T, dense.decoder.weight.T
    made = MoEX(encoder.shape[0], encoder.shape[1], experts, k, router, dense.activation)
    with torch.no_grad():
        for into, weight in ((made.encoder, encoder), (made.bias, dense.encoder.bias), (made.decoder, decoder)):
            # A deviation of one unit alone is none.
            spread = noise * weight.std(correction=0)
            into.copy_(weight + spread * torch.randn(into.shape, generator=generator))
    return made


@torch.no_grad()
def expert_trace(model: Transformer, x: Tensor) -> Tensor:
    """int64[requests]: layer * experts + expert, in the order in which tokens int64[n, t], one by one, ask for them."""
    asked: list[Tensor] = []
    hooks = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(module, MoEX)
        asked.append(module.routed(inputs[0].flatten(0, -2))[1] + len(module.encoder) * len(asked))

    try:
        hooks = [block.mlp.register_forward_hook(look) for block in model.blocks if isinstance(block.mlp, MoEX)]
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not asked:
        raise InputError("trace: the model has no experts; train one with experts")
    return torch.cat(asked, dim=1).flatten()
