"""Two runs are as unlike as they can be, begin from what git knows alone, and are compared whole."""

import json
import subprocess
import sys

import pytest

from winnow.pipeline import verify

SNAKEMAKE = """
import json, os, sys
mask = os.umask(0)
names = ("TZ", "LC_ALL", "PYTHONHASHSEED", "WINNOW_CACHE", "OMP_NUM_THREADS")
told = {"arguments": sys.argv[1:], "umask": mask, "environment": {name: os.environ.get(name) for name in names}}
open("told.json", "w").write(json.dumps(told))
sys.exit(3 if "fail" in sys.argv else 0)
"""


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "work"
    root.mkdir()
    for name, text in (
        (".gitignore", "results/\n"),
        ("a.txt", "tracked"),
        ("deep/er/b.py", "tracked too"),
        ("gone.txt", "tracked and deleted"),
        ("new file.txt", "not yet tracked"),
        ("results/made.txt", "ignored"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", ".gitignore", "a.txt", "deep", "gone.txt"], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *command], check=True)
    (root / "gone.txt").unlink()
    return root


def test_a_copy_has_what_git_tracks_or_would_track(repository, tmp_path):
    (repository / "a.txt").write_text("changed")
    copy = verify.copy_checkout(repository, tmp_path / "deep/copy")
    found = {str(path.relative_to(copy)): path.read_text() for path in copy.rglob("*") if path.is_file()}
    assert found == {
        ".gitignore": "results/\n",
        "a.txt": "changed",
        "deep/er/b.py": "tracked too",
        "new file.txt": "not yet tracked",
    }


def test_a_run_computes_every_job_with_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_CACHE", "on")
    (tmp_path / "snakemake.py").write_text(SNAKEMAKE)  # found before the installed one
    verify.run(tmp_path, 2, verify.ODD, 0o077, ["--config", "scale=smoke"])
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["arguments"] == ["--cores", "2", "--config", "scale=smoke"] and told["umask"] == 0o077
    assert told["environment"] == {
        "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "271828", "OMP_NUM_THREADS": "2", "WINNOW_CACHE": "off"
    }  # fmt: skip
    with pytest.raises(subprocess.CalledProcessError):
        verify.run(tmp_path, 1, {}, 0o022, ["fail"])


def compared(monkeypatch, repository, contents, *arguments):
    """(exit code, what the two runs were given) where each run makes a file of its own content."""
    given = []

    def run(checkout, cores, environment, umask, more):
        assert not (checkout / "results").exists()
        folder = checkout / "results/digits"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(contents[len(given)])
        (folder / "timings.parquet").write_text(str(len(given)))  # seconds differ and do not count
        given.append((checkout, cores, environment, umask, more))

    monkeypatch.setattr(verify, "run", run)
    monkeypatch.setattr(sys, "argv", ["verify", *arguments])
    monkeypatch.chdir(repository)
    return verify.main(), given


def test_equal_bytes_pass_and_are_counted(repository, monkeypatch, capsys):
    code, given = compared(monkeypatch, repository, ["one", "one"], "--scale", "smoke", "digits")
    assert code == 0 and capsys.readouterr().out == "2 files compared: the same bytes in both runs\n"
    (first, cores, plain, mask, arguments), (second, more, odd, other, same) = given
    assert arguments == same == ["--config", "scale=smoke", "--quiet", "all", "--", "digits"]
    assert (cores, more) == (1, 2) and mask != other
    # Time zone, language, order of hashes and depth of the folder: all that a result must not depend on.
    assert all(plain[name] != odd[name] for name in plain)
    assert len(first.parts) != len(second.parts) and not first.exists() and not second.exists()


def test_other_bytes_are_named_and_fail(repository, monkeypatch, capsys):
    code, _ = compared(monkeypatch, repository, ["one", "two"])
    told = capsys.readouterr().out
    assert code == 1 and told.startswith("results/digits/a.txt: ") and "timings" not in told
