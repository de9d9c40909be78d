"""The repository keeps its own rules: nothing generated or large in git, no dead link, all is pinned."""

import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=str)
GENERATED = {
    ".db",
    ".gz",
    ".ipynb",
    ".npy",
    ".npz",
    ".parquet",
    ".pt",
    ".pyc",
    ".safetensors",
    ".so",
    ".whl",
    ".zip",
}
PICTURES = {".png"}
LARGEST = 1_000_000
LOCKS = 5_000_000  # of text, a row for each job that the published figures come from
# These come with torch's CUDA build, which pins each of them itself.
CUDA = ("nvidia-", "cuda-", "triton")


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def tracked():
    listed = git("ls-files", "-z")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    if not files:
        pytest.skip("not a git checkout")
    return files


def pins(name):
    lines = (ROOT / "envs" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def wanted(name):
    lines = (ROOT / "envs" / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def targets():
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def headings(page):
    """Anchors as a forge makes them: lower case, punctuation dropped, blanks to hyphens."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_tracked_file_is_large(tracked):
    large = [path for path in tracked if path.stat().st_size > (LOCKS if path.suffix == ".lock" else LARGEST)]
    assert [str(path.relative_to(ROOT)) for path in large] == []


def test_no_tracked_file_is_generated_or_binary(tracked):
    generated = [path for path in tracked if path.suffix in GENERATED]
    binary = [path for path in tracked if path.suffix not in PICTURES and b"\0" in path.read_bytes()[:8192]]
    assert [str(path.relative_to(ROOT)) for path in generated + binary] == []


@pytest.mark.parametrize(
    "path",
    [".venv/x", "results/x", "data/raw/x", "logs/x", "mlflow.db", "report.html", "crate.zip", ".snakemake/x"],
)
def test_what_a_run_makes_is_ignored_by_git(tracked, path):
    assert git("check-ignore", "-q", path).returncode == 0


@pytest.mark.parametrize(
    "path", ["provenance.lock", "dvc.lock", "params.yaml", "docs/papers.md", "envs/requirements.lock"]
)
def test_what_travels_with_the_code_is_not_ignored(tracked, path):
    assert git("check-ignore", "-q", path).returncode == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_that_pages_name_exist(page):
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(), flags=re.MULTILINE))
    assert named - targets() == set()


def test_every_phony_target_is_listed_by_make_help():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(phony[1].split()) == targets()


def test_every_requirement_is_pinned_within_its_bounds():
    runtime, test = pins("requirements.lock"), pins("requirements-test.lock")
    assert not runtime.keys() & test.keys()
    for name, locked in (("requirements.in", runtime), ("requirements-test.in", test)):
        versions = {canonicalize_name(package): version for package, version in locked.items()}
        for requirement in wanted(name):
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_no_dependency_of_a_pinned_package_is_left_unpinned():
    locked = {**pins("requirements.lock"), **pins("requirements-test.lock")}
    names = {canonicalize_name(name) for name in locked}
    loose = set()
    for package in locked:
        try:
            needed = [Requirement(line) for line in requires(package) or []]
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed here; make test installs the lock")
        needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
        loose |= {canonicalize_name(r.name) for r in needed} - names
    assert {name for name in loose if not name.startswith(CUDA)} == set()


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_profiles_agree_on_what_makes_a_job_rerun(profile):
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    other = yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())
    for key in ("rerun-triggers", "rerun-incomplete", "max-checksum-file-size", "keep-going", "logger"):
        assert other.get(key) == default.get(key), key
