"""Follows the journal of a running invocation and writes it to MLflow: python -m ...worker JOURNAL.

Standard input is a pipe from Snakemake's process that nothing is written to: its end tells that the process
is gone, whichever way. Prints one line if the store cannot be used; the journal then stays.
"""

from __future__ import annotations

import os
import select
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakemake_logger_plugin_mlflow import journal

POLL_SECONDS = 0.5
PRIORITY = 10  # lower than the jobs', yet it ends soon after them on a busy machine


def follow(path: Path, watched: int) -> Iterator[dict[str, Any]]:
    """Events of a journal as they are written, until the descriptor `watched` reaches its end.

    The last is always an `end`: a process that could not write its own was killed.
    """
    rest, ended, last = "", False, ""
    with open(path, encoding="utf-8") as file:
        while True:
            ended = ended or bool(select.select([watched], [], [], POLL_SECONDS)[0])
            text = file.read()
            *lines, rest = (rest + text).split("\n")
            for event in journal.read_events("\n".join(lines)):
                last = event["event"]
                yield event
            if ended and not text:
                break
    if last != "end":
        yield {"event": "end", "time": time.time(), "status": "KILLED"}


def work(path: Path) -> None:
    """Write the journal at `path`, and before it those that dead processes left for the same store."""
    from snakemake_logger_plugin_mlflow import tracking

    first = journal.read_events(path.read_text(encoding="utf-8").partition("\n")[0])[0]
    client, experiment = tracking.open_store(os.environ["MLFLOW_TRACKING_URI"], first["experiment"])
    others = [other for other in sorted(path.parent.glob("*.jsonl")) if other != path]
    for other in others:
        with journal.claimed(other) as begun:
            if begun and (begun["uri"], begun["experiment"]) == (first["uri"], first["experiment"]):
                tracking.replay(other, tracking.Recorder(client, experiment))
    recorder = tracking.Recorder(client, experiment)
    recorder.close_abandoned(first["folder"], kept={path.stem, *(other.stem for other in others)})
    tracking.record(follow(path, sys.stdin.fileno()), recorder)
    tracking.remove(path)


def main() -> int:
    """0 once all is written."""
    os.nice(PRIORITY)
    path = Path(sys.argv[1])
    with journal.locked(path):
        try:
            work(path)
        except Exception as error:
            traceback.print_exc()
            print(journal.one_line(error), flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
