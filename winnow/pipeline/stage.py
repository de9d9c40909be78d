"""The decorator that turns a plain function into a stage of the workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., None])


def stage(function: Function | None = None, *, torch: bool = False) -> Any:
    """Run the function when Snakemake runs its script; leave it a plain function everywhere else.

    The function takes (inputs, outputs, params, log): namespaces of paths, the settings with `workload`, `variant` and
    `seed` beside them, and a logger. It writes each output where the namespace says; the files appear at their real
    paths together, when the function has returned. An InputError ends the job with its one line.
    torch: the stage computes with torch, so its threads, its seed and its deterministic algorithms are set first.
    """

    def decorate(function: Function) -> Function:
        job = function.__globals__.get("snakemake")
        if job is not None and function.__globals__.get("__name__") == "__main__":
            from winnow.pipeline.runner import run_job

            if torch and job.params.settings.get("torch_threads", 1) == 1:
                _run_warm()
            run_job(function, job, prepare_torch if torch else prepare)
        return function

    return decorate if function is None else decorate(function)


def _run_warm() -> None:
    """End this process with the status of a fork that has run it, where there is a process to fork."""
    import os

    from winnow.pipeline.warm import hand_over

    if (status := hand_over()) is not None:
        os._exit(status)


def prepare(seed: int, threads: int) -> None:
    """Seed Python's generator, for libraries that draw from it unasked."""
    import random

    random.seed(seed)


def prepare_torch(seed: int, threads: int) -> None:
    """Make torch compute the same bits whatever the machine's cores and the environment say."""
    import torch

    prepare(seed, threads)
    _put_off_the_compiler()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would load the compiler
    # Else torch fills all memory that it asks for with NaN before it writes there, a tenth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory.

    Else each training step of a small convolution net asks for its pages anew, which costs a third of its time.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        trim_threshold, mmap_threshold, largest = -1, -3, 2**31 - 1
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, largest)


def _put_off_the_compiler() -> None:
    """Let torch load its compiler when it is first used.

    Else every optimizer loads it, which takes a second, only to tell it that optimizers are not to be compiled.
    """
    import importlib
    import sys
    from types import ModuleType

    name = "torch._dynamo"

    class StandIn(ModuleType):
        def disable(self, function: Function, *_: Any, **__: Any) -> Function:
            return function

        def graph_break(self, *_: Any, **__: Any) -> None:
            """Nothing is being compiled that could break."""

        def __getattr__(self, attribute: str) -> Any:
            if attribute.startswith("__") and attribute != "__path__":
                raise AttributeError(attribute)
            if sys.modules.get(name) is self:
                del sys.modules[name]
            return getattr(importlib.import_module(name), attribute)

    sys.modules.setdefault(name, StandIn(name))
