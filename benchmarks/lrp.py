"""CPU milliseconds an image of input relevance (LRP) against zennit and captum.

    python benchmarks/lrp.py

All tools explain the same images of the same models in turn, in one process (_lrp_tools.py), on one thread, in the
virtual environment .cache/benchmarks/lrp, made on first use from lrp_peers.txt. Before that, their maps must agree.
Counted is time.process_time of everything from images to maps: winnow's graph and folding, zennit's hooks.
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
FOLDER = ROOT / ".cache" / "benchmarks" / "lrp"
PEERS = ROOT / "benchmarks" / "lrp_peers.txt"
PYTHON = FOLDER / "bin" / "python"
ALONE = "zennit"
"""Installed without what it asks for: torchvision, which only its canonizers of torchvision's models use."""
MEASURED = """\
Relevance of the pixels of 128 images for their class, by layer-wise relevance propagation, on one thread. Time is CPU
milliseconds an image, the median of the repeats, with the lowest and the highest. Apart is the largest difference from
winnow's map, as a share of the largest relevance of the image; captum has no rule for batch norm."""
COLUMNS = [
    ("model", "model"),
    ("rule", "rule"),
    ("tool", "tool"),
    ("milliseconds", "CPU ms an image"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("times_zennit", "times zennit"),
    ("apart", "apart"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/lrp.json")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--torch-index", default=os.environ.get("TORCH_INDEX"), help="package index to take torch from")
    arguments = parser.parse_args()
    environment(arguments.torch_index)
    command = [PYTHON, ROOT / "benchmarks/_lrp_tools.py", str(arguments.repeats)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    found = subprocess.run(command, env=surroundings, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"the comparison failed:\n{found.stdout[-1000:]}{found.stderr[-3000:]}")
    table = json.loads(found.stdout)
    for row in table:
        print(*(row[key] for key, _ in COLUMNS), file=sys.stderr)
    report = {
        "title": "Layer-wise relevance propagation: CPU milliseconds an image",
        "measured": " ".join(MEASURED.split()),
        "columns": COLUMNS,
        "command": "make bench",
        "machine": f"{machine()}, {versions()}",
        "problem": {"images": 128, "side": 28, "repeats": arguments.repeats},
        "table": table,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")


def environment(torch_index: str | None) -> None:
    """Make the virtual environment, once for each text of the pins."""
    done, wanted = FOLDER / "installed", PEERS.read_text()
    if done.exists() and done.read_text() == wanted:
        return
    print(f"installing {PEERS.relative_to(ROOT)} into {FOLDER.relative_to(ROOT)}", flush=True)
    pip = [PYTHON, "-m", "pip", "install", "-q"]
    pins = [line for line in wanted.splitlines() if "==" in line]
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    if torch_index:
        torch = next(pin for pin in pins if pin.startswith("torch=="))
        subprocess.run([*pip, "--index-url", torch_index, torch], check=True)
    subprocess.run([*pip, *(pin for pin in pins if not pin.startswith(ALONE))], check=True)
    subprocess.run([*pip, "--no-deps", *(pin for pin in pins if pin.startswith(ALONE))], check=True)
    done.write_text(wanted)


def versions() -> str:
    pins = dict(line.split("==") for line in PEERS.read_text().splitlines() if "==" in line)
    return ", ".join(f"{name} {pins[name]}" for name in ("torch", "zennit", "captum"))


if __name__ == "__main__":
    main()
