"""Writes the events of a journal to MLflow. For the worker and sync, not for Snakemake's own process."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, TypeVar

from snakemake_logger_plugin_mlflow import journal

# Before MLflow is imported: no usage reports, and a server that does not answer costs seconds, not minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from winnow.errors import InputError
from winnow.pipeline.tables import read_metrics

OPEN_SECONDS = 30
BUSY_SECONDS = 60.0
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
NAME_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 5000
ARTEFACT_BYTES = 1_000_000
METRIC_FILES = ("metrics.parquet", "history.parquet", "timings.parquet")
DIGEST = re.compile(r"[0-9a-f]{16,128}")
SETTLED = ("FINISHED", "FAILED")

T = TypeVar("T")


class StoreError(Exception):
    """The store cannot be used; the message is one line for a person."""


@contextmanager
def _limited(seconds: int, uri: str) -> Iterator[None]:
    """Bound the time of a block; some database drivers know no time-out of their own."""

    def expire(*_: Any) -> None:
        raise StoreError(f"{uri} did not answer in {seconds} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _patiently(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call again while another process holds SQLite's lock."""
    start = time.monotonic()
    while True:
        try:
            return call(*arguments, **options)
        except MlflowException as error:
            if "database is locked" not in str(error) or time.monotonic() - start > BUSY_SECONDS:
                raise
            time.sleep(0.1)


def open_store(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """A client and the id of the experiment, made if need be.

    SQLite artefacts go to `mlartifacts` beside the database. Raises StoreError if the store cannot be used.
    """
    shown = journal.without_password(uri)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    database = journal.sqlite_path(uri)
    try:
        if database is not None:
            _check_writable(database)
            root = (database.parent / "mlartifacts").resolve().as_uri()
            # MLflow's default is `mlruns`, and its client has no argument for it.
            os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = root
            # Processes that create or migrate one SQLite file at once break each other.
            with journal.locked(Path(f"{database}.lock")):
                return _client_and_experiment(uri, experiment, f"{root}/{experiment}")
        with _limited(OPEN_SECONDS, shown):
            return _client_and_experiment(uri, experiment, None)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"{shown}: {journal.one_line(error)}") from error


def _check_writable(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    if database.is_dir():
        raise StoreError(f"{database} is a folder, not a database")
    for path in (database.parent, database):
        if path.exists() and not os.access(path, os.W_OK):
            raise StoreError(f"{path} is not writable")


def _client_and_experiment(uri: str, name: str, artefacts: str | None) -> tuple[MlflowClient, str]:
    client = MlflowClient(uri)
    found = _patiently(client.get_experiment_by_name, name)
    if found is None:
        try:
            return client, _patiently(client.create_experiment, name, artefacts)
        except MlflowException:
            found = _patiently(client.get_experiment_by_name, name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise StoreError(f"experiment {name!r} is deleted; restore it or name another one")
    return client, found.experiment_id


class Recorder:
    """Applies events to a store. Applying the same events again changes nothing."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.open = False

    def apply(self, event: dict[str, Any]) -> None:
        """Write one event."""
        handlers = {
            "run": self._run,
            "start": self._start,
            "finish": self._finish,
            "fail": self._fail,
            "params": self._params,
            "kill": self._kill,
            "end": self._end,
        }
        handlers[event["event"]](event)

    def _run(self, event: dict[str, Any]) -> None:
        self.invocation = event["invocation"]
        found = self._search(f"tags.`winnow.invocation` = '{self.invocation}'")
        self.runs = {run.data.tags.get("winnow.job", ""): run.info.run_id for run in found}
        self.settled = {run.info.run_id for run in found if run.info.status in SETTLED}
        self.commit = {key: value for key, value in event["tags"].items() if "git" in key}
        own = {"winnow.folder": event["folder"], "winnow.process": event["process"]}
        self.parent = self._begin("", event["name"], event["time"], event["tags"] | own)
        self.open = True

    def _begin(self, job: str, name: str, when: float, tags: dict[str, str]) -> str:
        if job not in self.runs:
            tags = {**tags, "winnow.invocation": self.invocation, "winnow.job": job}
            if job:
                tags["mlflow.parentRunId"] = self.parent
            created = _patiently(
                self.client.create_run,
                self.experiment_id,
                start_time=_milliseconds(when),
                tags=tags,
                run_name=name,
            )
            self.runs[job] = created.info.run_id
        return self.runs[job]

    def _start(self, event: dict[str, Any]) -> None:
        tags = {"rule": event["rule"], **event["tags"], **self.commit}
        self._begin(event["job"], job_name(event), event["time"], tags)

    def _finish(self, event: dict[str, Any]) -> None:
        run = self.runs[event["job"]]
        if run in self.settled:
            return
        self._params(event)
        same = [Path(path) for path, *_ in event["outputs"] if _unchanged(path, event["outputs"])]
        notes = [f"{path} has changed since" for path, *_ in event["outputs"] if Path(path) not in same]
        try:
            for chunk in _chunks(metric_points(same, _milliseconds(event["time"])), METRICS_PER_BATCH):
                _patiently(self.client.log_batch, run, metrics=chunk)
        except InputError as error:
            notes.append(journal.one_line(error))
        for path, folder in artefacts(same):
            _patiently(self.client.log_artifact, run, str(path), folder)
        if notes:
            self._tag(run, note="; ".join(notes))
        self._terminate(run, "FINISHED", event["time"])

    def _fail(self, event: dict[str, Any]) -> None:
        run = self.runs[event["job"]]
        if run in self.settled:
            return
        log = event["log"] or "the job left no log"
        self._tag(run, error=log)
        _patiently(self.client.log_text, run, log + "\n", "log_tail.txt")
        self._terminate(run, "FAILED", event["time"])

    def _params(self, event: dict[str, Any]) -> None:
        params, digest = named_params(event["params"] or [])
        named = {_clean(name): _shortened(value) for name, value in params.items()}
        pairs = [Param(name, value) for name, value in named.items()]
        for chunk in _chunks(pairs, PARAMS_PER_BATCH):
            _patiently(self.client.log_batch, self.runs[event["job"]], params=chunk)
        if digest:
            self._tag(self.runs[event["job"]], code=digest)

    def _kill(self, event: dict[str, Any]) -> None:
        self._terminate(self.runs[event["job"]], "KILLED", event["time"])

    def _end(self, event: dict[str, Any]) -> None:
        self.finish(event["status"], event["time"])

    def finish(self, status: str, when: float) -> None:
        """Close the invocation; what still runs was killed."""
        for job, run in self.runs.items():
            if job and run not in self.settled:
                self._terminate(run, "KILLED", when)
        self._terminate(self.parent, status, when)
        self.open = False

    def close_abandoned(self, folder: str, kept: set[str]) -> None:
        """Mark as KILLED what dead processes left running here. kept: invocations that have a journal."""
        for run in self._search(f"attributes.status = 'RUNNING' and tags.`winnow.folder` = '{folder}'"):
            tags = run.data.tags
            invocation = tags["winnow.invocation"]
            if invocation in kept or journal.is_alive(tags["winnow.process"]):
                continue
            mine = f"attributes.status = 'RUNNING' and tags.`winnow.invocation` = '{invocation}'"
            for left in self._search(mine):
                _patiently(self.client.set_terminated, left.info.run_id, "KILLED", _milliseconds(time.time()))

    def _search(self, condition: str) -> list[Any]:
        return list(_patiently(self.client.search_runs, [self.experiment_id], condition, max_results=50_000))

    def _tag(self, run: str, **tags: str) -> None:
        _patiently(self.client.log_batch, run, tags=[RunTag(k, v[-TAG_LENGTH:]) for k, v in tags.items()])

    def _terminate(self, run: str, status: str, when: float) -> None:
        _patiently(self.client.set_terminated, run, status, _milliseconds(when))
        if status in SETTLED:
            self.settled.add(run)


def job_name(event: dict[str, Any]) -> str:
    """What a person reads in the list of runs: the rule and what tells its jobs apart."""
    tags = event["tags"]
    parts = [tags[name] for name in ("workload", "variant") if name in tags]
    parts += [f"seed{tags['seed']}"] if "seed" in tags else []
    parts += [f"{name}={value}" for name, value in event["wildcards"].items() if name not in journal.PATH_TAGS]
    return " ".join([event["rule"], "/".join(parts)]).strip()


def named_params(literals: Iterable[str]) -> tuple[dict[str, str], str]:
    """Params by name, and the code digest; "" without one.

    literals: Python literals as Snakemake records them, without names. The keys of a dict become names,
    nested ones joined by dots; a list becomes JSON; a hexadecimal digest is the code's; the rest is numbered.
    """
    params: dict[str, str] = {}
    digest = ""
    for number, literal in enumerate(literals):
        try:
            value = ast.literal_eval(literal)
        except (ValueError, SyntaxError):
            value = literal  # a value such as nan, which Python prints and does not read
        if isinstance(value, dict):
            params |= _flattened(value)
        elif isinstance(value, str) and DIGEST.fullmatch(value):
            digest = value
        else:
            params[f"param{number}"] = _as_text(value)
    return params, digest


def _flattened(values: dict[Any, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _as_text(value)
    return flat


def _as_text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value)


def metric_points(paths: list[Path], when: int) -> list[Metric]:
    """Points of all metrics, history and timings tables among a job's outputs.

    Named split/metric, after the value of each column of system, workload, variant and seed that varies
    within the tables of one file name, so that a sweep's rows stay apart. A null value is left out, a null
    step is 0. when: milliseconds since the epoch. Raises InputError for a table that is not one.
    """
    points = []
    for name in METRIC_FILES:
        table = read_metrics(path for path in paths if path.name == name)
        columns = {column: table[column].to_pylist() for column in table.column_names}
        varying = [c for c in ("system", "workload", "variant", "seed") if len(set(columns[c])) > 1]
        labels = zip(*(_labels(column, columns[column]) for column in (*varying, "split", "metric")), strict=True)
        names: dict[tuple[str, ...], str] = {}
        for label, value, step in zip(labels, columns["value"], columns["step"], strict=True):
            if value is not None:
                key = names.setdefault(label, _clean("/".join(filter(None, label))))
                points.append(Metric(key, value, when, step or 0))
    return points


def _labels(column: str, values: list[Any]) -> list[str]:
    prefix = "seed" if column == "seed" else ""
    return ["" if value is None else f"{prefix}{value}" for value in values]


def artefacts(paths: list[Path]) -> list[tuple[Path, str | None]]:
    """Plots and small JSON files, each with the folder to log it in: where it lies below all the outputs."""
    chosen = [p for p in paths if p.suffix in (".svg", ".png") or _is_small_json(p)]
    common = PurePath(os.path.commonpath([path.parent for path in paths])) if paths else PurePath()
    folders = [path.parent.relative_to(common).as_posix() for path in chosen]
    return [(path, None if folder == "." else folder) for path, folder in zip(chosen, folders, strict=True)]


def _is_small_json(path: Path) -> bool:
    return path.suffix == ".json" and path.stat().st_size < ARTEFACT_BYTES


def _unchanged(path: str, outputs: list[list[Any]]) -> bool:
    return [list(stamp) for stamp in journal.stamps([path])] == [list(o) for o in outputs if o[0] == path]


def _clean(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w\-. /]", "_", name)[:NAME_LENGTH]


def _shortened(value: str) -> str:
    return value if len(value) <= PARAM_LENGTH else value[: PARAM_LENGTH - 3] + "..."


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def record(events: Iterable[dict[str, Any]], recorder: Recorder) -> None:
    """Write the events of one invocation; without an `end` among them its process was killed."""
    when = 0.0
    for event in events:
        recorder.apply(event)
        when = event["time"]
    if recorder.open:
        recorder.finish("KILLED", when)


def replay(path: Path, recorder: Recorder) -> None:
    """Write a journal that was left behind, and remove it."""
    record(journal.read_events(path.read_text(encoding="utf-8")), recorder)
    remove(path)


def remove(path: Path) -> None:
    """Forget a journal that is in the store."""
    for file in (path, path.with_suffix(".log")):
        file.unlink(missing_ok=True)
