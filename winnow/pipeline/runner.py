"""What happens around a stage's function: logging, errors, temporary names, records, the output cache."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from winnow.errors import InputError
from winnow.pipeline import output_cache, provenance
from winnow.pipeline.hashing import file_sha256

PARTIAL = ".partial-"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_job(function: Callable[..., None], job: Any, prepare: Callable[[int, int], None]) -> NoReturn:
    """Run a stage's function as a Snakemake job and end the process: 0, or 1 with one line on stderr."""
    os.umask(0o022)
    log = _logger(job)
    folders = {path.parent for path in map(Path, job.output)}
    _die_with_parent(folders)
    try:
        _run(function, job, prepare, log)
    except InputError as error:
        log.error("%s: %s", job.rule, error)
        status = 1
    except Exception as error:  # the last resort of a process: report, clean up, fail
        log.debug("traceback", exc_info=True)
        name = type(error).__name__
        log.error("%s: %s: %s (traceback in %s)", job.rule, name, str(error).split("\n")[0], job.log[0])
        status = 1
    else:
        status = 0
    finally:
        _remove_partial(folders, os.getpid())
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # nothing of a library's exit handlers may change a finished job's status


def _run(function: Callable[..., None], job: Any, prepare: Callable[[int, int], None], log: logging.Logger) -> None:
    settings = dict(job.params.settings)
    wildcards = dict(job.wildcards.items())
    inputs = {path: file_sha256(path) for path in sorted(set(job.input))}
    key = output_cache.cache_key(
        {
            "rule": job.rule,
            "wildcards": wildcards,
            "params": [repr(value) for value in job.params],
            "inputs": {name: _digests(value, inputs) for name, value in job.input.items()},
            "platform": provenance.platform_digest(),
        }
    )
    for folder in {Path(path).parent for path in job.output}:
        _remove_dead_partials(folder)
        (folder / f"{PARTIAL}{os.getpid()}").mkdir(parents=True)
    temporary = {n: Path(p).parent / f"{PARTIAL}{os.getpid()}" / Path(p).name for n, p in job.output.items()}
    if output_cache.enabled() and output_cache.restore(key, temporary):
        log.info("%s: taken from the cache of outputs", job.rule)
    else:
        threads = int(settings.get("torch_threads", 1))
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(threads)
        params = _namespace({**settings, **wildcards, "seed": int(wildcards.get("seed", 0))})
        params.resume_folder = provenance.STATE / "resume" / key
        params.resume_folder.mkdir(parents=True, exist_ok=True)
        prepare(params.seed, threads)
        started = time.monotonic()
        function(_paths(job.input), SimpleNamespace(**temporary), params, log)
        log.info("%s: done in %.1f s", job.rule, time.monotonic() - started)
    _publish(job, temporary, inputs, key)
    shutil.rmtree(provenance.STATE / "resume" / key, ignore_errors=True)


def _publish(job: Any, temporary: dict[str, Path], inputs: dict[str, str], key: str) -> None:
    """Record what each output is, then let all of them appear."""
    absent = [name for name, path in temporary.items() if not path.is_file()]
    if absent:
        raise InputError(f"output {absent[0]!r} was not written; correct the stage")
    digests = {name: file_sha256(path) for name, path in temporary.items()}
    if output_cache.enabled():
        output_cache.store(key, temporary, digests)
    for name, final in job.output.items():
        record = provenance.make_record(job.rule, job.params, inputs, digests[name], provenance.platform_digest())
        provenance.remember(final, record)
    for name, final in job.output.items():
        temporary[name].replace(final)


def _digests(value: Any, inputs: dict[str, str]) -> Any:
    return inputs[value] if isinstance(value, str) else [inputs[path] for path in value]


def _paths(named: Any) -> SimpleNamespace:
    entries = named.items()
    return SimpleNamespace(**{n: Path(v) if isinstance(v, str) else [Path(p) for p in v] for n, v in entries})


def _namespace(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _namespace(entry) for key, entry in value.items()})
    return [_namespace(entry) for entry in value] if isinstance(value, list) else value


def _logger(job: Any) -> logging.Logger:
    """INFO and above into the job's log file, warnings and errors on stderr too."""
    path = Path(job.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, mode="w", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("winnow")
    log.setLevel(logging.DEBUG)
    log.handlers[:] = [file, screen]
    log.propagate = False
    return log


def _die_with_parent(folders: set[Path]) -> None:
    """End this process soon after the Snakemake that started it, so that no orphan goes on writing."""
    import psutil

    if "WINNOW_PARENT" not in os.environ:
        return
    try:
        parent = psutil.Process(int(os.environ["WINNOW_PARENT"]))
    except psutil.NoSuchProcess:
        os._exit(1)

    def watch() -> None:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.3)
        _remove_partial(folders, os.getpid())
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _remove_partial(folders: set[Path], process: int) -> None:
    for folder in folders:
        shutil.rmtree(folder / f"{PARTIAL}{process}", ignore_errors=True)


def _remove_dead_partials(folder: Path) -> None:
    """Remove what killed jobs left behind; a job still running keeps its own."""
    import psutil

    for leftover in folder.glob(f"{PARTIAL}*"):
        if not psutil.pid_exists(int(leftover.name.removeprefix(PARTIAL))):
            shutil.rmtree(leftover, ignore_errors=True)
