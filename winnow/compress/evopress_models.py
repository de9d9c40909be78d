"""What a search found, as models: layers that are gone, zeros that are not stored, weights of few bits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from winnow.compress.evopress import State
from winnow.compress.evopress_database import Database
from winnow.models import build, save_model
from winnow.models.thin_transformer import ThinTransformer
from winnow.models.transformer import Transformer


def thinned(model: Transformer, state: State) -> ThinTransformer:
    """The model without the layers that a state of the depth database drops; its logits are those with zeros there."""
    blocks = len(model.blocks)
    kept = [[block for block, gone in enumerate(part) if not gone] for part in (state[:blocks], state[blocks:])]
    thin = build("thin_transformer", **model.arguments, attention=kept[0], mlp=kept[1])  # type: ignore[arg-type]
    assert isinstance(thin, ThinTransformer)
    parameters = model.state_dict()
    thin.load_state_dict({name: parameters[name] for name in thin.state_dict()})
    return thin.eval()


def with_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a model, some of its weights replaced."""
    changed = copy.deepcopy(model)
    changed.load_state_dict({**model.state_dict(), **weights})
    return changed.eval()


def save_levels(model: nn.Module, database: Database, state: State, path: Path, workload: str) -> nn.Module:
    """Write the model at the levels of a state, kept weights alone or packed bits; returns it."""
    weights = database.parameters(state)
    changed = with_weights(model, weights)
    if database.kind == "bits":
        packed = {name: database.codes[name][bits] for name, bits in zip(database.names, state, strict=True)}
        save_model(changed, path, workload, packed=packed)
    else:
        save_model(changed, path, workload, masks={name: weight != 0 for name, weight in weights.items()})
    return changed
