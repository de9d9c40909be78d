"""The MLflow logger under real Snakemake: what the store holds after runs that end well or badly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LEFT_OUT = ("MLFLOW_", "SNAKEMAKE_", "WINNOW_")
DIGEST = "0123456789abcdef0123456789abcdef"

SNAKEFILE = """
rule all:
    input: expand("results/digits/train/mlp/seed{s}/metrics.parquet", s=[0, 1])
rule train:
    output: metrics="results/digits/train/{variant}/seed{seed}/metrics.parquet",
            card="results/digits/train/{variant}/seed{seed}/model.json",
    log: "logs/{variant}{seed}.log"
    params: settings={"lr": 0.1, "hidden": [300, 100]}, code="CODE"
    script: "train.py"
rule breaks:
    output: "results/digits/evaluate/broken/metrics.parquet"
    log: "logs/broken.log"
    params: settings={"lr": 0.2}
    shell: "for i in 1 2 3; do echo line $i; done >{log}; exit 3"
rule lasts:
    output: "results/digits/evaluate/long/{name}.json"
    log: "logs/{name}.log"
    shell: "echo $$ >{log}; [ {wildcards.name} = short ] || sleep 60; echo 1 >{output}"
""".replace("CODE", DIGEST)
SCRIPT = """
import sys
from winnow.pipeline.tables import metric_rows, write_json, write_parquet
assert "mlflow" not in sys.modules
job = snakemake
names = dict(system="s", workload="digits", variant=job.wildcards.variant, seed=int(job.wildcards.seed))
write_parquet(metric_rows({"accuracy": 0.5 + names["seed"] / 4}, split="test", **names), job.output.metrics)
write_json({"a": 1}, job.output.card)
"""


class Clone:
    """A folder with the small workflow, whose profile turns the logger on."""

    def __init__(self, path: Path, **variables: str) -> None:
        self.path = path
        (path / "profiles/default").mkdir(parents=True)
        (path / "profiles/default/config.yaml").write_text("logger: [mlflow]\nlogger-mlflow-wait: 60\n")
        (path / "Snakefile").write_text(SNAKEFILE)
        (path / "train.py").write_text(SCRIPT)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        paths = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        self.environment = kept | paths | variables

    def begin(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["snakemake", "--cores", "2", *arguments],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            # A background process of some shells ignores it, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def snakemake(self, *arguments: str, status: int = 0) -> str:
        return finished(self.begin(*arguments), status)

    def pending(self) -> list[Path]:
        return list(self.path.glob(".snakemake/winnow/mlflow-pending/*.jsonl"))

    def runs(self, uri: str = "") -> list:
        client = MlflowClient(uri or f"sqlite:///{self.path}/mlflow.db")
        experiment = client.get_experiment_by_name("winnow")
        return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]))


def finished(process: subprocess.Popen, status: int = 0) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == status, output
    return output


def states(runs) -> dict[str, str]:
    return {" ".join(run.info.run_name.split()[:2]): run.info.status for run in runs}


@pytest.fixture(scope="module")
def two_clones(tmp_path_factory):
    """Two clones that ran at once into one store that did not exist before."""
    folder = tmp_path_factory.mktemp("clones")
    uri = f"sqlite:///{folder}/shared/mlflow.db"
    clones = [Clone(folder / name, MLFLOW_TRACKING_URI=uri) for name in ("one", "two")]
    for clone in clones:
        subprocess.run(["git", "init", "-q"], cwd=clone.path, check=True)
        author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "add", "-A"], cwd=clone.path, check=True)
        subprocess.run(["git", *author, "commit", "-qm", "start"], cwd=clone.path, check=True)
    outputs = [finished(process) for process in [clone.begin() for clone in clones]]
    return clones, uri, outputs


def test_two_clones_log_to_one_new_store_at_once(two_clones):
    clones, uri, outputs = two_clones
    runs = clones[0].runs(uri)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 2 and len(runs) == 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    for parent in parents:
        assert parent.info.run_name.startswith("all 2")
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert {run.info.run_name for run in children} == {"train digits/mlp/seed0", "train digits/mlp/seed1"}
    for clone, output in zip(clones, outputs, strict=True):
        assert not clone.pending()
        assert "Finished jobid: 1 (Rule: train)" in output and "3 of 3 steps (100%) done" in output


def test_a_job_is_logged_with_what_it_was_made_from_and_what_it_measured(two_clones):
    clones, uri, _ = two_clones
    head = ["git", "rev-parse", "HEAD"]
    commits = {subprocess.check_output(head, cwd=clone.path, text=True).strip() for clone in clones}
    children = [run for run in clones[0].runs(uri) if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["git_commit"] for run in children} == commits
    for run in children:
        seed = run.data.tags["seed"]
        expected = {
            "workload": "digits",
            "family": "train",
            "variant": "mlp",
            "rule": "train",
            "code": DIGEST,
        }
        assert run.data.tags.items() >= expected.items()
        assert run.data.params == {"lr": "0.1", "hidden": "[300, 100]"}
        assert run.data.metrics == {"test/accuracy": 0.5 + int(seed) / 4}
        client = MlflowClient(uri)
        assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["model.json"]
        assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(
            clones[0].path.parent / "shared/mlartifacts"
        )


@pytest.mark.parametrize("arguments", [[], ["-n", "-F"], ["--touch"], ["--unlock"], ["--quiet", "all"]])
def test_what_runs_no_job_neither_logs_nor_loads_mlflow(two_clones, arguments):
    clones, uri, _ = two_clones
    before = len(clones[0].runs(uri))
    # A process that imported MLflow or asked for a worker would fail on these.
    clones[0].path.joinpath("poison").mkdir(exist_ok=True)
    (clones[0].path / "poison/mlflow.py").write_text("raise SystemExit('mlflow was imported')")
    poisoned = Clone.__new__(Clone)
    poisoned.path = clones[0].path
    poison = f"{clones[0].path}/poison{os.pathsep}{ROOT}"
    poisoned.environment = clones[0].environment | {"PYTHONPATH": poison}
    assert "MLflow" not in poisoned.snakemake(*arguments)
    assert len(clones[0].runs(uri)) == before and not poisoned.pending()


def test_a_failed_job_in_an_unreachable_store_is_logged_by_sync(tmp_path):
    clone = Clone(tmp_path / "clone", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    target = "results/digits/evaluate/broken/metrics.parquet"
    output = clone.snakemake("-k", "--quiet", "progress", "rules", "--", "all", target, status=1)
    assert output.count("MLflow: this run is not logged yet (http://127.0.0.1:9") == 1
    assert len(clone.pending()) == 1
    uri = f"sqlite:///{tmp_path}/later.db"
    sync = [sys.executable, "-m", "snakemake_logger_plugin_mlflow.sync"]
    for said in ("1 run logged, 0 left", "0 runs logged, 0 left"):
        again = clone.environment | {"MLFLOW_TRACKING_URI": uri}
        done = subprocess.run(sync, cwd=clone.path, env=again, capture_output=True, text=True, check=True)
        assert said in done.stdout
    runs = clone.runs(uri)
    trained = {f"train digits/mlp/seed{seed}": "FINISHED" for seed in (0, 1)}
    assert states(runs) == trained | {f"all {target}": "FAILED", "breaks digits/broken": "FAILED"}
    failed = next(run for run in runs if run.info.run_name == "breaks digits/broken")
    assert failed.data.tags["error"] == "line 1\nline 2\nline 3"
    assert failed.data.params == {"lr": "0.2"}
    measured = [run.data.metrics for run in runs if run.info.run_name.startswith("train")]
    assert sorted(metrics["test/accuracy"] for metrics in measured) == [0.5, 0.75]
    assert not clone.pending()


def wait_until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.2)


def test_whatever_ends_snakemake_no_run_stays_open(tmp_path):
    """Ctrl-C, a request to end and a kill, side by side."""
    targets = [f"results/digits/evaluate/long/{name}.json" for name in ("short", "long")]
    ways = {"ctrl-c": signal.SIGINT, "kill": signal.SIGKILL}
    clones = {way: Clone(tmp_path / way) for way in ways}
    processes = {way: clone.begin(*targets) for way, clone in clones.items()}
    jobs = {}
    for way, clone in clones.items():
        log = clone.path / "logs/long.log"
        wait_until(lambda log=log, clone=clone: log.is_file() and log.read_text() and "finish" in journal_of(clone))
        jobs[way] = int(log.read_text())
    for way, process in processes.items():
        if way == "ctrl-c":
            os.killpg(process.pid, ways[way])
        else:
            process.send_signal(ways[way])
    for process in processes.values():
        process.wait(timeout=60)
    os.kill(jobs["kill"], signal.SIGKILL)  # nobody else ends it
    for clone in clones.values():
        wait_until(lambda clone=clone: not clone.pending())
        jobs_of = {run.info.run_name.split()[-1]: run.info.status for run in clone.runs()[1:]}
        assert clone.runs()[0].info.status == "KILLED"
        assert jobs_of == {"name=short": "FINISHED", "name=long": "KILLED"} or set(jobs_of.values()) == {
            "FINISHED",
            "KILLED",
        }


def journal_of(clone: Clone) -> str:
    return "".join(path.read_text() for path in clone.pending())
