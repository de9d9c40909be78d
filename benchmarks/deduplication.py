"""Documents per CPU second from texts to candidate pairs of near duplicates, beside datasketch and rensa.

    python benchmarks/deduplication.py

All tools take the same texts, words and runs of words in turn, in one process (_deduplication_tools.py), in the virtual
environment .cache/benchmarks/deduplication, made on first use from deduplication_peers.txt. Counted is
time.process_time, of all threads that a tool starts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from winnow.pipeline.benchmarks import machine

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".cache" / "benchmarks" / "deduplication"
PEERS = ROOT / "benchmarks" / "deduplication_peers.txt"
PYTHON = FOLDER / "bin" / "python"
MEASURED = """\
Texts of 300 words that follow Zipf's law, of which a third are copies with up to eight words exchanged, from
strings to candidate pairs: words, runs of five words, 128 hashes, 32 bands of 4 rows, the same for each tool. Speed
is documents per CPU second: the median of the repeats, with the lowest and the highest. Recall is the share of
planted copies with a Jaccard similarity of 0.8 or more that are among the candidates; near is the share of
candidates that are so similar."""
COLUMNS = [
    ("tool", "tool"),
    ("speed", "documents per CPU s"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("ratio", "times datasketch"),
    ("recall", "recall"),
    ("candidates", "candidates"),
    ("near", "near"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/deduplication.json")
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    environment()
    tools = ROOT / "benchmarks/_deduplication_tools.py"
    command = [PYTHON, tools, str(arguments.documents), str(arguments.repeats)]
    found = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"the comparison failed:\n{found.stdout[-1000:]}{found.stderr[-3000:]}")
    table = json.loads(found.stdout)
    for row in table:
        print(*(row[key] for key, _ in COLUMNS), file=sys.stderr)
    pins = dict(line.split("==") for line in PEERS.read_text().splitlines() if "==" in line)
    versions = ", ".join(f"{name} {pins[name]}" for name in ("datasketch", "rensa", "numba"))
    report = {
        "title": "Near duplicates: documents per CPU second",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": f"{machine()}, {versions}",
        "problem": {"documents": arguments.documents, "hashes": 128, "repeats": arguments.repeats},
        "table": table,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def environment() -> None:
    """Make the virtual environment, once for each text of the pins."""
    done, wanted = FOLDER / "installed", PEERS.read_text()
    if done.exists() and done.read_text() == wanted:
        return
    print(f"installing {PEERS.relative_to(ROOT)} into {FOLDER.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    pins = [line for line in wanted.splitlines() if "==" in line]
    subprocess.run([PYTHON, "-m", "pip", "install", "-q", *pins], check=True)
    done.write_text(wanted)


if __name__ == "__main__":
    main()
