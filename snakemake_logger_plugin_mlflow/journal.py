"""The journal of one invocation: events as JSON lines, and what they are made of. Imports nothing heavy."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PENDING = Path(".snakemake/winnow/mlflow-pending")
PATH_TAGS = ("workload", "family", "variant", "seed")
RESULT_PATH = re.compile(
    r"(?:^|/)results/(?P<workload>[^/]+)/(?P<family>[^/]+)/(?P<variant>[^/]+)/(?:seed(?P<seed>\d+)/)?"
)
CLOCK_TOLERANCE_SECONDS = 1.0


class Journal:
    """A file that grows by whole lines and survives whatever ends the process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def add(self, event: str, when: float, **fields: Any) -> None:
        """Append one event. when: seconds since the epoch."""
        self._file.write(json.dumps({"event": event, "time": when, **fields}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing follows."""
        self._file.close()


def read_events(text: str) -> list[dict[str, Any]]:
    """The events of whole lines; a line cut short by a crash is left out."""
    events = []
    for line in text.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if need be. It ends with the process at the latest."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(path: Path) -> Iterator[dict[str, Any] | None]:
    """Hold a journal that nobody writes or reads any more; yields its first event, or None for one in use."""
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        first = read_events(file.readline())
        yield first[0] if first and not is_alive(first[0]["process"]) else None


def tracking_uri(folder: Path) -> str:
    """MLFLOW_TRACKING_URI, or the store that `mlflow ui` opens by itself in the same folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db"


def without_password(uri: str) -> str:
    """A URI as it may be shown and kept."""
    return re.sub(r"//[^/@]*@", "//", uri)


def sqlite_path(uri: str) -> Path | None:
    """The database file of a SQLite URI, None for any other store."""
    if not urlsplit(uri).scheme.startswith("sqlite"):
        return None
    return Path(uri.split(":///", 1)[-1].split("?")[0])


def one_line(error: BaseException) -> str:
    """The start of an error's message, as a person may see it."""
    lines = str(error).strip().splitlines()
    return without_password(lines[0][:160] if lines else type(error).__name__)


def process_identity(process: int) -> str:
    """Names a process uniquely on this machine, also after its number is used again."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{process}:{_start_ticks(process)}"


def is_alive(identity: str) -> bool:
    """Whether the process so named still runs."""
    process = int(identity.split(":")[1])
    return _start_ticks(process) != "" and process_identity(process) == identity


def _start_ticks(process: int) -> str:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    # The name stands in parentheses and may hold spaces; then come the state and, as field 22, the start.
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state == "Z" else rest[18]


def folder_digest(folder: Path) -> str:
    """Names this folder of this machine without telling either."""
    return blake2b(f"{platform.node()}\0{folder.resolve()}".encode(), digest_size=8).hexdigest()


def path_tags(paths: list[str]) -> dict[str, str]:
    """Workload, family, variant and seed, where all result paths agree on them."""
    matches = [match.groupdict() for path in paths if (match := RESULT_PATH.search(path))]
    values = {name: {match[name] for match in matches} for name in PATH_TAGS}
    return {name: found.pop() for name, found in values.items() if len(found) == 1 and None not in found}


def recorded_params(output: str, since: float) -> list[str] | None:
    """Python literals of a job's params, from Snakemake's record of an output; None without a new one.

    Snakemake's events carry no params, and its records keep their values but not their names.
    """
    from winnow.pipeline.provenance import metadata_path

    try:
        record = json.loads(metadata_path(output).read_text())
    except (OSError, ValueError):
        return None
    fresh = (record.get("starttime") or 0) >= since - CLOCK_TOLERANCE_SECONDS
    return [str(value) for value in record.get("params") or []] if fresh else None


def stamps(paths: list[str]) -> list[tuple[str, int, int]]:
    """Path, size in bytes and mtime in ns of each file, by which a later replay knows whether it changed."""
    found = []
    for path in paths:
        if os.path.isfile(path):
            state = os.stat(path)
            found.append((path, state.st_size, state.st_mtime_ns))
    return found


def tail(paths: list[str], limit: int) -> str:
    """The last bytes of the first log that has any."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                file.seek(max(0, os.path.getsize(path) - limit))
                text = file.read().decode(errors="replace").strip()
        except OSError:
            continue
        if text:
            return text
    return ""
