"""Logs what MLflow missed: python -m snakemake_logger_plugin_mlflow.sync, in the folder where Snakemake ran.

Goes to MLFLOW_TRACKING_URI if it is set, else to the store that the run meant. What is there already is not
repeated.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from snakemake_logger_plugin_mlflow import journal


def replay_pending(folder: Path) -> tuple[int, list[str]]:
    """Number of invocations written, and a line for each that was not."""
    pending = sorted((folder / journal.PENDING).glob("*.jsonl"))
    if not pending:
        return 0, []
    from snakemake_logger_plugin_mlflow import tracking

    stores: dict[tuple[str, str], Any] = {}
    written, problems = 0, []
    for path in pending:
        with journal.claimed(path) as first:
            if first is None:
                problems.append(f"{path.name}: its run is not over yet, or the file is empty")
                continue
            key = (os.environ.get("MLFLOW_TRACKING_URI") or first["uri"], first["experiment"])
            try:
                stores[key] = stores.get(key) or tracking.open_store(*key)
                tracking.replay(path, tracking.Recorder(*stores[key]))
                written += 1
            except Exception as error:
                problems.append(f"{path.name}: {journal.one_line(error)}")
    return written, problems


def main() -> int:
    """0 if nothing is left to log."""
    written, problems = replay_pending(Path.cwd())
    print(f"MLflow: {written} run{'' if written == 1 else 's'} logged, {len(problems)} left")
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
