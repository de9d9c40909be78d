"""`make verify`: run the workflow twice, as unlike as two runs can be, and compare every byte."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from winnow.pipeline.compare import differences
from winnow.pipeline.provenance import OUTPUT_FOLDERS

PLAIN = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
ODD = {
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "PYTHONHASHSEED": "271828",
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
}


def copy_checkout(root: Path, target: Path) -> Path:
    """Copy what git tracks or would track, so that nothing made before comes along."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    return target


def run(checkout: Path, cores: int, environment: dict[str, str], umask: int, arguments: list[str]) -> None:
    """Run the workflow in a checkout from nothing, every job computed; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments]
    variables = {**os.environ, "WINNOW_CACHE": "off", **environment}
    subprocess.run(command, cwd=checkout, env=variables, umask=umask, check=True, stdin=subprocess.DEVNULL)


def main() -> int:
    """Run twice, print the comparison; 0 where all bytes are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="laptop", help="smoke, laptop or paper")
    parser.add_argument("targets", nargs="*", help="Snakemake targets; all of them without one")
    chosen = parser.parse_args()
    arguments = ["--config", f"scale={chosen.scale}", "--quiet", "all", "--", *chosen.targets]
    with tempfile.TemporaryDirectory(prefix="winnow-verify-") as folder:
        first = copy_checkout(Path.cwd(), Path(folder) / "one")
        second = copy_checkout(Path.cwd(), Path(folder) / "two" / "levels" / "further down")
        run(first, 1, PLAIN, 0o022, arguments)
        run(second, 2, ODD, 0o077, arguments)
        lines = differences(first, second)
        compared = sum(1 for f in OUTPUT_FOLDERS for p in (first / f).rglob("*") if p.is_file())
    print("\n".join(lines) if lines else f"{compared} files compared: the same bytes in both runs")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
