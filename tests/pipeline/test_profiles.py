"""The cluster profiles are read by Snakemake and its executor plugins as they stand."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = """
rule count:
    input: "made.txt"
    output: "count.txt"
    threads: 2
    shell: "wc {input} >{output}"

rule make:
    output: "made.txt"
    shell: "seq 10 >{output}"
"""


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_a_dry_run_with_the_profile_plans_the_jobs(tmp_path, profile):
    if not find_spec(f"snakemake_executor_plugin_{profile}"):
        pytest.skip(f"snakemake-executor-plugin-{profile} is not installed")
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--workflow-profile",
        str(ROOT / "profiles" / profile),
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr + run.stdout
    shown = run.stdout + run.stderr
    assert "rule count:" in shown and "rule make:" in shown
    assert not list(tmp_path.glob("*.txt"))
