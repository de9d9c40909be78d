"""Whatever is killed, whenever: the next run ends with the same bytes, and nothing half-written is ever seen."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.workflow.conftest import ENVIRONMENT
from winnow.pipeline.compare import differences

TARGET = "digits_compress"


@pytest.mark.parametrize("victim", ["parent", "child", "both"])
def test_a_killed_run_resumes_to_the_same_bytes(built, tmp_path, victim):
    checkout = built.copy(tmp_path / "winnow")
    for name in ("results", "data/raw", ".snakemake", "summaries", "provenance.lock"):
        path = checkout.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copytree(built.path / "data/raw", checkout.path / "data/raw")
    process = subprocess.Popen(
        ["snakemake", TARGET, "--quiet", "all"],
        cwd=checkout.path,
        env={**ENVIRONMENT, "WINNOW_CACHE": "off"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kill(process, victim, random.Random(victim).uniform(4, 14))
    wait_for_orphans(checkout.path)
    assert not [p for p in checkout.path.joinpath("results").rglob("*") if p.stat().st_size == 0 and p.is_file()]
    checkout.run("snakemake", "--unlock", check=False)
    checkout.snakemake(TARGET, WINNOW_CACHE="off")
    lines = [line for line in differences(built.path, checkout.path) if "only in" not in line]
    assert lines == []
    made = {
        p.relative_to(checkout.path) for p in (checkout.path / "results/digits/compress").rglob("*.*") if p.is_file()
    }
    assert made == {
        p.relative_to(built.path) for p in (built.path / "results/digits/compress").rglob("*.*") if p.is_file()
    }


def kill(process: subprocess.Popen, victim: str, after: float) -> None:
    deadline = time.monotonic() + after
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    if process.poll() is not None:
        return
    parent = psutil.Process(process.pid)
    children = parent.children(recursive=True)
    doomed = {"parent": [parent], "child": children, "both": [parent, *children]}[victim]
    for one in doomed:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(timeout=300)


def wait_for_orphans(root: Path) -> None:
    """Jobs end by themselves when the Snakemake that started them is gone."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = [p for p in psutil.process_iter(["cmdline"]) if str(root) in " ".join(p.info["cmdline"] or [])]
        if not left:
            return
        time.sleep(0.1)
    pytest.fail(f"still running 20 s after their parent's end: {left}")
