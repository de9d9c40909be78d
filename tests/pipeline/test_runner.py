"""Around a stage's function: outputs appear whole or not at all, and what fails says so in one line."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

from winnow.errors import InputError
from winnow.pipeline import provenance, runner


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_CACHE", "on")
    monkeypatch.delenv("WINNOW_PARENT", raising=False)
    for name, text in (("in/a.txt", "a"), ("in/b.txt", "b"), ("in/c.txt", "c")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    return tmp_path


def a_job(settings=None, seed="3"):
    inputs = InputFiles(["in/a.txt", "in/b.txt", "in/c.txt"])
    inputs._set_name("one", 0)
    inputs._set_name("several", 1, end=3)
    return SimpleNamespace(
        rule="fit",
        input=inputs,
        output=OutputFiles(fromdict={"model": "results/x/model.bin", "table": "results/y/table.txt"}),
        params=Params(fromdict={"settings": settings or {"torch_threads": 2, "arms": [{"k": 1}], "deep": {"k": 2}}}),
        wildcards=Wildcards(fromdict={"workload": "digits", "seed": seed}),
        log=["logs/fit.log"],
    )


def run(function, job=None):
    """Exit status and stderr of a job, in a process of its own, which it ends."""
    pid = os.fork()
    if not pid:
        error = os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(error, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        try:
            runner.run_job(function, job or a_job(), lambda seed, threads: None)
        finally:
            os._exit(99)  # else it would go on as a second pytest
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), Path("stderr.txt").read_text()


def writes(inputs, outputs, params, log):
    log.info("a line of the log")
    log.warning("a warning")
    outputs.model.write_text("weights")
    outputs.table.write_text(f"{inputs.one.read_text()} {[path.read_text() for path in inputs.several]}")


def files():
    return sorted(str(path) for path in Path("results").rglob("*") if path.is_file())


def test_outputs_appear_where_they_belong_with_their_records_and_nothing_else_stays(here):
    status, error = run(writes)
    assert status == 0 and error == "a warning\n"
    assert files() == ["results/x/model.bin", "results/y/table.txt"]
    assert Path("results/y/table.txt").read_text() == "a ['b', 'c']"
    assert not list(Path("results").rglob(f"{runner.PARTIAL}*"))
    log = Path("logs/fit.log").read_text().splitlines()
    assert [line.split(" ", 2)[1:] for line in log[:2]] == [["INFO", "a line of the log"], ["WARNING", "a warning"]]
    assert "fit: done in" in log[-1]
    known = Path("results/x/model.bin").stat()
    assert known.st_mode & 0o777 == 0o644
    assert provenance.reconcile(after_run=True) == []
    assert set(provenance.read_lock()[0]) == {"results/x/model.bin", "results/y/table.txt"}


def test_a_function_is_told_its_settings_wildcards_and_seed_and_writes_elsewhere_first(here):
    def looks(inputs, outputs, params, log):
        assert (params.workload, params.seed, params.deep.k, params.arms[0].k) == ("digits", 3, 2, 1)
        assert isinstance(inputs.one, Path) and [path.name for path in inputs.several] == ["b.txt", "c.txt"]
        assert [os.environ[name] for name in runner.THREAD_VARIABLES] == ["2"] * 4
        assert outputs.model.parent.parent == Path("results/x") and outputs.model.name == "model.bin"
        assert params.resume_folder.is_dir()
        assert log is logging.getLogger("winnow") and not Path("results/x/model.bin").exists()
        writes(inputs, outputs, params, log)

    assert run(looks)[0] == 0
    assert not list((provenance.STATE / "resume").iterdir())  # a job that is done has nothing to go on from


def test_a_seed_is_0_where_a_rule_has_none(here):
    def looks(inputs, outputs, params, log):
        outputs.model.write_text(str(params.seed))
        outputs.table.write_text("")

    job = a_job()
    job.wildcards = Wildcards(fromdict={"workload": "digits"})
    assert run(looks, job)[0] == 0 and Path("results/x/model.bin").read_text() == "0"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("in/a.txt: is empty; fill it"), "fit: in/a.txt: is empty; fill it\n"),
        (ValueError("first\nsecond"), "fit: ValueError: first (traceback in logs/fit.log)\n"),
    ],
)
def test_what_fails_says_so_in_one_line_and_leaves_what_was_there(here, error, told):
    Path("results/x").mkdir(parents=True)
    Path("results/x/model.bin").write_text("of yesterday")

    def fails(inputs, outputs, params, log):
        outputs.model.write_text("half")
        (params.resume_folder / "checkpoint").write_text("so far")
        raise error

    status, said = run(fails)
    assert files() == ["results/x/model.bin"] and Path("results/x/model.bin").read_text() == "of yesterday"
    assert not list(Path("results").rglob(f"{runner.PARTIAL}*"))
    assert list((provenance.STATE / "resume").rglob("checkpoint"))  # what it can go on from stays
    assert (status, said) == (1, told)
    assert ("Traceback" in Path("logs/fit.log").read_text()) == (type(error) is ValueError)


def test_outputs_that_were_not_all_written_do_not_appear(here):
    def forgets(inputs, outputs, params, log):
        outputs.model.write_text("weights")

    assert run(forgets) == (1, "fit: output 'table' was not written; correct the stage\n")
    assert files() == [] and not (provenance.STATE / "records").exists()


def test_equal_jobs_are_taken_from_the_cache_and_others_are_not(here, monkeypatch):
    def counts(inputs, outputs, params, log):
        with Path("runs.txt").open("a") as file:
            file.write("x")
        writes(inputs, outputs, params, log)

    def runs(job=None):
        before = len(Path("runs.txt").read_text()) if Path("runs.txt").exists() else 0
        assert run(counts, job)[0] == 0
        return len(Path("runs.txt").read_text()) - before

    assert runs() == 1
    Path("results/x/model.bin").unlink()
    assert runs() == 0 and files() == ["results/x/model.bin", "results/y/table.txt"]  # the same, from what was kept
    assert runs(a_job(seed="4")) == 1 and runs(a_job({"torch_threads": 1})) == 1
    Path("in/c.txt").write_text("other")
    assert runs() == 1 and Path("results/y/table.txt").read_text() == "a ['b', 'other']"
    Path("in/c.txt").write_text("c")
    assert runs() == 0 and Path("results/y/table.txt").read_text() == "a ['b', 'c']"
    monkeypatch.setenv("WINNOW_CACHE", "off")
    assert runs() == 1


def test_what_killed_jobs_left_goes_and_what_a_running_one_writes_stays(here):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    dead, alive = (Path(f"results/x/{runner.PARTIAL}{pid}") for pid in (ended.pid, os.getpid()))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "model.bin").write_text("half")
    assert run(writes)[0] == 0
    assert not dead.exists() and (alive / "model.bin").read_text() == "half"


def test_a_job_whose_snakemake_is_gone_does_not_begin(here, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    monkeypatch.setenv("WINNOW_PARENT", str(ended.pid))
    assert run(writes)[0] == 1 and not Path("results").exists()
