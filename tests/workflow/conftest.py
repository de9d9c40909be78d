"""Throwaway repositories on which whole workflows run at smoke scale."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.preloaded import LONGEST, snakemake
from winnow.pipeline.verify import copy_checkout

ROOT = Path(__file__).parents[2]
BIN = str(Path(sys.executable).parent)
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "SNAKEMAKE_"))},
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}


class Checkout:
    """A copy of this repository in which commands are run and their effects counted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        environment = {**ENVIRONMENT, **variables}
        if command[0] == "snakemake":
            done = snakemake(list(command[1:]), self.path, environment)
        else:
            done = subprocess.run(
                command,
                cwd=self.path,
                env=environment,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=LONGEST,
            )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def snakemake(self, *arguments: str, **variables: str) -> Counter:
        """Run Snakemake; the jobs it ran (or would run, with -n) by rule, without the targets."""
        done = self.run("snakemake", *arguments, **variables)
        return planned(done.stdout + done.stderr)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.path / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    def copy(self, target: Path) -> "Checkout":
        shutil.copytree(self.path, target, symlinks=True)
        return Checkout(target)


def planned(output: str) -> Counter:
    """Rule -> number of jobs, from Snakemake's table of jobs; empty where there was nothing to do."""
    counts: Counter = Counter()
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", output, re.S)
    for line in table.group(1).splitlines() if table else []:
        rule, count = line.split()[:2]
        counts[rule] = int(count)
    if not table:
        assert "Nothing to be done" in output, output[-3000:]
    targets = {
        "total",
        "all",
        "everything",
        "digits",
        "planted",
        "curate",
        "train",
        "compress",
        "dictionaries",
        "evaluate",
    }
    return Counter({rule: n for rule, n in counts.items() if rule not in targets and not rule.startswith("digits_")})


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Checkout:
    """A repository in which the whole workflow has run at smoke scale; tests copy it and leave it alone."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # built once for all workers
    with FileLock(shared / "built.lock"):
        path = shared / "built" / "winnow"
        if not (shared / "built" / "complete").exists():
            shutil.rmtree(path, ignore_errors=True)
            build(path)
            (shared / "built" / "complete").touch()
    return Checkout(path)


def build(path: Path) -> None:
    checkout = Checkout(copy_checkout(ROOT, path))
    checkout.edit("params.yaml", "scale: laptop", "scale: smoke")
    # MLflow has tests of its own; here each of a hundred runs would start a process for it.
    checkout.edit("profiles/default/config.yaml", "logger: [mlflow]", "")
    for lock in ("provenance.lock", "dvc.lock"):
        (path / lock).unlink(missing_ok=True)
    checkout.run("git", "init", "-q", "-b", "main")
    checkout.run("git", "add", "-A")
    checkout.run("git", "commit", "-qm", "start")
    checkout.snakemake()


@pytest.fixture
def checkout(built, tmp_path) -> Checkout:
    """A copy of the built repository that a test may change."""
    return built.copy(tmp_path / "winnow")


@pytest.fixture
def sources_only(built, tmp_path) -> Checkout:
    """A copy of this repository's files alone, at smoke scale, in which nothing has run."""
    return fresh(built, tmp_path / "winnow")


def fresh(built: Checkout, path: Path) -> Checkout:
    checkout = Checkout(copy_checkout(ROOT, path))
    known = Path(".snakemake/winnow/code.json")  # by content, and seconds of parsing
    (checkout.path / known).parent.mkdir(parents=True)
    shutil.copy2(built.path / known, checkout.path / known)
    checkout.edit("params.yaml", "scale: laptop", "scale: smoke")
    return checkout
