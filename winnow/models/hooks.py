"""Read or replace what a submodule puts out, without leaving a hook behind."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.models.hooked_transformer import HookedTransformer


def capture(model: nn.Module, x: Tensor, hook: str) -> Tensor:
    """What the submodule `hook` puts out on the batch x, as rows [rows, d].

    A map [n, c, h, w] gives n * h * w rows of c, a sequence [n, t, d] gives n * t rows of d; a module that
    runs several times gives the rows of all its runs. Gradients flow, unless the caller turns them off.
    Raises InputError for a submodule that does not exist or does not run.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(_to_rows(output))

    _run(model, x, hook, keep)
    if not found:
        raise InputError(f"hook {hook!r}: the submodule does not run; use one of {_offered(model)}")
    return found[0] if len(found) == 1 else torch.cat(found)


def run_with(model: nn.Module, x: Tensor, hook: str, edit: Callable[[Tensor], Tensor]) -> Tensor:
    """The model's output on x with the rows that `capture` shows replaced by edit(rows), of equal shape.

    A hook point of a HookedTransformer is patched by its own `run`, which leaves the module alone.
    """

    def replaced(output: Tensor) -> Tensor:
        return _edited(output, edit, hook)

    if isinstance(model, HookedTransformer) and hook in model.all_hook_points():
        return model.run(x, patch={hook: replaced})[0]
    return _run(model, x, hook, lambda module, inputs, output: replaced(output))


def from_hook_on(model: nn.Module, x: Tensor, hook: str) -> Callable[[Callable[[Tensor], Tensor]], Tensor]:
    """What `run_with` gives on x, as a function of the edit, for many edits of one batch.

    Of a HookedTransformer the blocks before the hook point run once, here, without gradients.
    """
    if not (isinstance(model, HookedTransformer) and hook in model.all_hook_points() and hook.startswith("blocks.")):
        return lambda edit: run_with(model, x, hook, edit)
    number = int(hook.split(".")[1])
    between = hook == f"blocks.{number}.hook_resid_post"  # what the next block starts from
    start = number + between
    with torch.no_grad():
        stream = model.run(x, stop_at=start)[0]

    def rest(edit: Callable[[Tensor], Tensor]) -> Tensor:
        def replaced(output: Tensor) -> Tensor:
            return _edited(output, edit, hook)

        if between:
            return model.run(replaced(stream), start_at=start)[0]
        return model.run(stream, start_at=start, patch={hook: replaced})[0]

    return rest


def rest_of(model: nn.Module, x: Tensor, hook: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What the submodule `hook` puts out on x, in its own shape, and the function from such a tensor to the output.

    The function takes any number of examples and runs what lies before the submodule on one example only. The model
    is used in the mode it is in. Raises InputError for a submodule that does not exist, does not run exactly once, or
    that other paths bypass, so that its output does not decide the model's.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(output)

    with torch.no_grad():
        expected = _run(model, x, hook, keep)
    if len(found) != 1:
        raise InputError(f"hook {hook!r}: the submodule runs {len(found)} times; use one of {_offered(model)}")

    def rest(activation: Tensor) -> Tensor:
        return _run(model, x[:1], hook, lambda module, inputs, output: activation)

    with torch.no_grad():
        reached = rest(found[0])
    if reached.shape != expected.shape or not torch.allclose(reached, expected, rtol=1e-3, atol=1e-4):
        raise InputError(f"hook {hook!r}: other paths bypass the submodule; use one of {_offered(model)}")
    return found[0], rest


def _run(model: nn.Module, x: Tensor, hook: str, callback: Callable[..., Tensor | None]) -> Tensor:
    modules = dict(model.named_modules())
    if hook == "" or hook not in modules:
        near = get_close_matches(hook, [name for name in modules if name], n=1)
        remedy = f"did you mean {near[0]}?" if near else f"use one of {_offered(model)}"
        raise InputError(f"hook {hook!r}: the model has no such submodule; {remedy}")
    handle = modules[hook].register_forward_hook(callback)
    try:
        output: Tensor = model(x)
    finally:
        handle.remove()
    return output


def _offered(model: nn.Module) -> str:
    points = getattr(model, "hook_points", None)
    names = points() if points else [name for name, _ in model.named_modules() if name]
    return ", ".join(names)


def _edited(output: Tensor, edit: Callable[[Tensor], Tensor], hook: str) -> Tensor:
    """What a hook point is to show where its rows are edited."""
    rows = _to_rows(output)
    edited = edit(rows)
    if edited.shape != rows.shape:
        raise ValueError(f"edit made {tuple(edited.shape)} of the rows {tuple(rows.shape)} of {hook}")
    return _from_rows(edited, output)


def _to_rows(output: Tensor) -> Tensor:
    channels_last = output.movedim(1, -1) if output.ndim == 4 else output
    return channels_last.reshape(-1, channels_last.shape[-1])


def _from_rows(rows: Tensor, like: Tensor) -> Tensor:
    if like.ndim != 4:
        return rows.view(like.shape)
    n, c, h, w = like.shape
    return rows.view(n, h, w, c).movedim(-1, 1)


@torch.no_grad()
def capture_split(model: nn.Module, workload: Any, split: str, hook: str, batch_size: int = 512) -> Tensor:
    """The rows that `capture` gives for all of a split, in stored order: float32[rows, d]."""
    return torch.cat([capture(model, x, hook) for x, _ in workload.batches(split, batch_size)])
