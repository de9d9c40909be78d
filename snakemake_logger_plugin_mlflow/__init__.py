"""Snakemake logger plugin `mlflow`: each invocation is a run in MLflow, each job a run under it.

Snakemake's process only appends what happens to a journal, one JSON line an event. A worker process of low
priority follows the journal and writes to MLflow, so importing MLflow and a slow store delay no job. A
journal that reached the store whole is removed; one that did not waits for `make mlflow-sync`.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from uuid import uuid4

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from snakemake_logger_plugin_mlflow import journal

WORKER = "snakemake_logger_plugin_mlflow.worker"
QUIET_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 10.0
WAIT_SHARE = 0.05
LOG_TAIL_BYTES = 16_000
INTERRUPT_SECONDS = 2.0
INTERRUPTED = "Terminating processes on user request"  # Snakemake says so, and has no event for it


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """What `--logger-mlflow-...` sets."""

    experiment: str = field(
        default="winnow",
        metadata={"help": "MLflow experiment that the runs belong to.", "env_var": False, "required": False},
    )
    wait: Optional[float] = field(  # noqa: UP045  # Snakemake reads this annotation
        default=None,
        metadata={
            "help": "Seconds that Snakemake waits at its end for the last records to reach MLflow; the rest "
            "is written in the background. Without it a twentieth of the run's time, from 1 to 10.",
            "env_var": False,
            "required": False,
            "type": float,
        },
    )


class LogHandler(LogHandlerBase):
    """Turns Snakemake's log events into the lines of a journal, and starts the worker that reads it."""

    def __post_init__(self) -> None:
        given = self.settings
        self._settings = given if isinstance(given, LogHandlerSettings) else LogHandlerSettings()
        self._journal: journal.Journal | None = None
        self._worker: subprocess.Popen[str] | None = None
        self._off = bool(self.common_settings.dryrun) or bool({"-t", "--touch"} & set(sys.argv))
        self._warned = False
        self._interrupted_at: float | None = None
        self._expected = 0
        self._begun = 0.0
        self._jobs: dict[int, dict[str, Any]] = {}
        self._actions: dict[LogEvent, Callable[[logging.LogRecord], None]] = {
            LogEvent.RUN_INFO: self._run_begins,
            LogEvent.PROGRESS: self._run_proceeds,
            LogEvent.JOB_INFO: self._job_begins,
            LogEvent.JOB_FINISHED: self._job_finished,
            LogEvent.JOB_ERROR: self._job_failed,
        }

    @property
    def writes_to_stream(self) -> bool:
        """No: Snakemake keeps its own terminal output."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """No file that Snakemake should point at."""
        return False

    @property
    def has_filter(self) -> bool:
        """Yes, none at all: Snakemake's default one would drop events under --quiet."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Yes: records are read field by field, never as text."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """No."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Note one event. Never raises: a run does not fail for want of its log."""
        event = getattr(record, "event", None)
        if event is None and str(record.msg).startswith(INTERRUPTED):
            self._interrupted_at = record.created
        action = self._actions.get(event) if event else None
        if self._off or action is None or (self._journal is None and event != LogEvent.RUN_INFO):
            return
        try:
            action(record)
        except Exception as error:  # whatever it is, the workflow goes on
            self._off = True
            self._warn(f"{type(error).__name__}: {error}")
        self._check_worker()

    def close(self) -> None:
        """Say how the invocation ended and wait, not for long, until the worker has written it."""
        if self._journal is not None and not self._off:
            try:
                self._run_ends(self._journal)
            except Exception as error:
                self._warn(f"{type(error).__name__}: {error}")
        self._journal = None
        if self._worker is not None:
            worker, self._worker = self._worker, None
            assert worker.stdin is not None
            worker.stdin.close()  # how the worker learns that nothing will follow
            self._wait_for(worker)
        super().close()

    def _run_begins(self, record: logging.LogRecord) -> None:
        if self._journal is not None:
            return
        self._expected = record.stats["total"]  # type: ignore[attr-defined]
        self._begun = record.created
        folder = Path.cwd()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self._settings.experiment
        self._journal = journal.Journal(folder / journal.PENDING / f"{uuid4().hex}.jsonl")
        self._journal.add(
            "run",
            record.created,
            invocation=self._journal.path.stem,
            name=f"{_targets()} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))}",
            uri=journal.without_password(journal.tracking_uri(folder)),
            experiment=experiment,
            folder=journal.folder_digest(folder),
            process=journal.process_identity(os.getpid()),
            tags={"jobs": str(self._expected), **_git_tags(folder)},
        )
        self._worker = _start_worker(self._journal.path, folder)

    def _run_proceeds(self, record: logging.LogRecord) -> None:
        self._expected = record.total  # type: ignore[attr-defined]  # a checkpoint may have added jobs

    def _job_begins(self, record: logging.LogRecord) -> None:
        fields = record.__dict__
        earlier = self._jobs.get(fields["jobid"])
        attempt = earlier["attempt"] + 1 if earlier else 1
        key = f"{fields['jobid']}" if attempt == 1 else f"{fields['jobid']}.{attempt}"
        outputs = [str(path) for path in fields["output"]]
        job = {
            "key": key,
            "attempt": attempt,
            "outputs": outputs,
            "begun": record.created,
            "state": "running",
        }
        self._jobs[fields["jobid"]] = job
        if not outputs:  # a target rule such as `all`: it only gathers
            job["state"] = "finished"
            return
        tags = journal.path_tags(outputs) | {
            name: str(value) for name, value in fields["wildcards"].items() if name in journal.PATH_TAGS
        }
        if attempt > 1:
            tags["attempt"] = str(attempt)
        self._add("start", record, job, rule=fields["rule_name"], tags=tags, wildcards=dict(fields["wildcards"]))

    def _job_finished(self, record: logging.LogRecord) -> None:
        job = self._jobs.get(record.job_id)  # type: ignore[attr-defined]
        if job and job["state"] == "running":
            self._finish(job, record.created)

    def _finish(self, job: dict[str, Any], when: float) -> None:
        job["state"] = "finished"
        assert self._journal is not None
        params = journal.recorded_params(job["outputs"][0], job["begun"])
        stamps = journal.stamps(job["outputs"])
        self._journal.add("finish", when, job=job["key"], params=params, outputs=stamps)

    def _job_failed(self, record: logging.LogRecord) -> None:
        fields = record.__dict__
        job = self._jobs.get(fields["jobid"])
        if not job or job["state"] != "running":
            return
        job |= {"state": "failed", "ended": record.created}
        logs = [str(path) for path in fields["log"]]
        self._add("fail", record, job, log=journal.tail(logs, LOG_TAIL_BYTES))

    def _add(self, event: str, record: logging.LogRecord, job: dict[str, Any], **fields: Any) -> None:
        assert self._journal is not None
        self._journal.add(event, record.created, job=job["key"], **fields)

    def _run_ends(self, lines: journal.Journal) -> None:
        for job in self._jobs.values():
            found = journal.recorded_params(job["outputs"][0], job["begun"]) if job["outputs"] else None
            if job["state"] == "failed":
                lines.add("params", job["ended"], job=job["key"], params=found)
                if self._was_interrupted(job):
                    lines.add("kill", job["ended"], job=job["key"])
            elif job["state"] == "running" and found is not None:
                # Under --quiet Snakemake reports no job's end.
                self._finish(job, max((s[2] / 1e9 for s in journal.stamps(job["outputs"])), default=time.time()))
        lines.add("end", time.time(), status=self._status())
        lines.close()

    def _was_interrupted(self, job: dict[str, Any]) -> bool:
        """Ctrl-C reaches the jobs too; Snakemake calls them failed, at times before it tells of Ctrl-C."""
        return self._interrupted_at is not None and job["ended"] >= self._interrupted_at - INTERRUPT_SECONDS

    def _status(self) -> str:
        states = [job["state"] for job in self._jobs.values()]
        if states.count("finished") >= self._expected:
            return "FINISHED"
        return "FAILED" if "failed" in states and self._interrupted_at is None else "KILLED"

    def _check_worker(self) -> None:
        if self._worker is not None and self._worker.poll():
            self._wait_for(self._worker)

    def _wait_for(self, worker: "subprocess.Popen[str]") -> None:
        share = (time.time() - self._begun) * WAIT_SHARE
        limit = min(max(share, QUIET_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
        limit = self._settings.wait if self._settings.wait is not None else limit
        try:
            done = _exited(worker, min(limit, QUIET_WAIT_SECONDS))
            if not done and limit > QUIET_WAIT_SECONDS:
                _say(logging.INFO, f"MLflow: writing the last records (at most {limit:.0f} s)")
                done = _exited(worker, limit - QUIET_WAIT_SECONDS)
            if not done:
                _say(logging.INFO, "MLflow: the last records are being written in the background")
                return
        except KeyboardInterrupt:
            return  # the worker has its own session and goes on
        if worker.returncode:
            assert worker.stdout is not None
            self._warn(worker.stdout.read().strip() or f"its worker ended with status {worker.returncode}")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            remedy = f"make mlflow-sync logs it from {journal.PENDING}"
            _say(logging.WARNING, f"MLflow: this run is not logged yet ({reason}); {remedy}")


def _say(level: int, message: str) -> None:
    from snakemake.logging import logger
    from snakemake.settings.enums import Quietness

    logger.log(level, message, extra={"quietness": Quietness.PROGRESS} if level < logging.WARNING else None)


def _exited(worker: "subprocess.Popen[str]", seconds: float) -> bool:
    try:
        worker.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        return False
    return True


def _start_worker(path: Path, folder: Path) -> "subprocess.Popen[str]":
    """A process of its own session, so that Ctrl-C ends the jobs and not their log."""
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": journal.tracking_uri(folder),
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with open(path.with_suffix(".log"), "w") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=folder,
            text=True,
            start_new_session=True,
        )


def _targets() -> str:
    """What was asked for, as the command line names it."""
    if Path(sys.argv[0]).name not in ("snakemake", "__main__.py"):
        return "all"
    from snakemake.cli import get_argument_parser

    targets = sorted(map(str, get_argument_parser().parse_args(sys.argv[1:]).targets or ["all"]))
    return " ".join(targets[:3]) + (f" and {len(targets) - 3} more" if len(targets) > 3 else "")


def _git_tags(folder: Path) -> dict[str, str]:
    """Commit of the working directory and whether tracked files differ from it; {} outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": commit, "git_dirty": str(dirty).lower(), "mlflow.source.git.commit": commit}
