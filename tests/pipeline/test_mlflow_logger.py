"""The MLflow logger, part by part: what events become, and what the store then holds."""

import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import TestLogHandlerBase

from snakemake_logger_plugin_mlflow import LogHandler, LogHandlerSettings, journal, sync, tracking, worker
from winnow.errors import InputError
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows, write_json, write_parquet

DIGEST = "0123456789abcdef0123456789abcdef"
IDENTITY = {"system": "s", "workload": "digits", "variant": "mlp", "seed": 0}
DEAD = f"{'0' * 8}:1:1"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setattr(sys, "argv", ["pytest"])


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """One database for all tests, as making it takes seconds; each test has its own invocation."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    client, experiment = tracking.open_store(uri, "winnow")
    return SimpleNamespace(uri=uri, client=client, experiment=experiment, folder=folder)


def run_event(name, process=DEAD, folder="here", **fields):
    event = {"event": "run", "time": 100.0, "invocation": name, "name": f"all {name}", "folder": folder}
    tags = {"jobs": "2", "git_commit": "abc"}
    return event | {"process": process, "uri": "", "experiment": "winnow", "tags": tags} | fields


def start(job, when=101.0, **tags):
    return {"event": "start", "time": when, "job": job, "rule": "train", "tags": tags, "wildcards": {}}


def finish(job, params=(), outputs=(), when=103.0):
    stamped = journal.stamps([str(path) for path in outputs])
    return {"event": "finish", "time": when, "job": job, "params": list(params), "outputs": stamped}


def fail(job, log="", when=103.0):
    return {"event": "fail", "time": when, "job": job, "log": log}


def end(status, when=104.0):
    return {"event": "end", "time": when, "status": status}


def written(store, events):
    """The runs of an invocation by job, after its events went through a journal's text."""
    events = journal.read_events("".join(json.dumps(event) + "\n" for event in events))
    tracking.record(events, tracking.Recorder(store.client, store.experiment))
    return runs(store, events[0]["invocation"])


def runs(store, invocation):
    found = MlflowClient(store.uri).search_runs([store.experiment], f"tags.`winnow.invocation` = '{invocation}'")
    by_job = {run.data.tags["winnow.job"]: run for run in found}
    assert len(by_job) == len(found), "a job has two runs"
    return by_job


def states(found):
    return {job: run.info.status for job, run in found.items()}


def history(store, run, key):
    return [(p.step, p.value) for p in store.client.get_metric_history(run.info.run_id, key)]


class TestThatSnakemakesOwnInterfaceTestsPass(TestLogHandlerBase):
    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return LogHandlerSettings()

    def _create_handler(self):
        handler = super()._create_handler()
        handler._off = True  # no worker for each of its events
        return handler


# What is logged for a job


def test_a_finished_job_has_its_params_metrics_tags_and_plots(store, tmp_path):
    folder = tmp_path / "results/digits/train/mlp/seed0"
    folder.mkdir(parents=True)
    loss = [("loss", 1 / (step + 1), step) for step in range(2500)]
    write_parquet(metric_rows({"accuracy": 0.75}, split="test", **IDENTITY), folder / "metrics.parquet")
    write_parquet(metric_rows(loss, split="train", **IDENTITY), folder / "history.parquet")
    write_json({"a": 1}, folder / "model.json")
    write_json(["x" * 1_100_000], folder / "large.json")
    (folder / "plot.svg").write_text("<svg/>")
    (folder / "model.safetensors").write_bytes(b"0")
    params = [repr(DIGEST), repr({"lr": 0.1, "hidden": [300, 100], "optimizer": {"name": "adamw"}})]
    outputs = sorted(folder.iterdir())
    events = [
        run_event("job"),
        start("1", workload="digits", family="train", variant="mlp", seed="0"),
        finish("1", params=params, outputs=outputs),
        end("FINISHED"),
    ]
    found = written(store, events)
    parent, child = found[""], found["1"]
    assert states(found) == {"": "FINISHED", "1": "FINISHED"}
    assert parent.info.run_name == "all job" and child.info.run_name == "train digits/mlp/seed0"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {"lr": "0.1", "hidden": "[300, 100]", "optimizer.name": "adamw"}
    named = {"workload": "digits", "family": "train", "variant": "mlp", "seed": "0", "rule": "train"}
    assert child.data.tags.items() >= (named | {"code": DIGEST, "git_commit": "abc"}).items()
    assert "note" not in child.data.tags
    assert child.data.metrics == {"test/accuracy": 0.75, "train/loss": 1 / 2500}
    assert history(store, child, "train/loss") == [(step, value) for _, value, step in loss]
    logged = {entry.path for entry in store.client.list_artifacts(child.info.run_id)}
    assert logged == {"model.json", "plot.svg"}
    assert (child.info.start_time, child.info.end_time) == (101_000, 103_000)
    assert (parent.info.start_time, parent.info.end_time) == (100_000, 104_000)


def test_the_same_events_again_change_nothing(store, tmp_path):
    table = tmp_path / "metrics.parquet"
    write_parquet(metric_rows({"accuracy": 0.5}, split="test", **IDENTITY), table)
    begun = [run_event("again"), start("1"), start("2"), finish("1", ["{'a': 1}"], [table])]
    events = [*begun, fail("2", "oops"), end("FAILED")]
    cut_short = written(store, begun)
    assert states(cut_short) == {"": "KILLED", "1": "FINISHED", "2": "KILLED"}
    first = written(store, events)
    second = written(store, events)
    assert states(first) == states(second) == {"": "FAILED", "1": "FINISHED", "2": "FAILED"}
    for job in first:
        assert first[job].info.run_id == second[job].info.run_id == cut_short[job].info.run_id
        assert first[job].data.to_dictionary() == second[job].data.to_dictionary()
    assert history(store, second["1"], "test/accuracy") == [(0, 0.5)]


def test_a_failed_job_shows_the_tail_of_its_log(store):
    log = "\n".join(f"line {number}" for number in range(2000))
    found = written(store, [run_event("fail"), start("1"), fail("1", log), end("FAILED")])
    error = found["1"].data.tags["error"]
    assert error.endswith("line 1999") and len(error) == tracking.TAG_LENGTH
    path = store.client.download_artifacts(found["1"].info.run_id, "log_tail.txt")
    assert Path(path).read_text() == log + "\n"


def test_jobs_that_ctrl_c_broke_are_killed_not_failed(store):
    events = [run_event("ctrl-c"), start("1"), start("2"), fail("1", "log")]
    events += [{"event": "kill", "time": 103.0, "job": "1"}, end("KILLED")]
    assert states(written(store, events)) == {"": "KILLED", "1": "KILLED", "2": "KILLED"}


def test_outputs_that_changed_since_are_not_logged_as_the_jobs_own(store, tmp_path):
    table, gone = tmp_path / "metrics.parquet", tmp_path / "plot.svg"
    gone.write_text("<svg/>")
    write_parquet(metric_rows({"accuracy": 0.5}, split="test", **IDENTITY), table)
    finished = finish("1", outputs=[table, gone])
    write_parquet(metric_rows({"accuracy": 0.9, "brier": 0.1}, split="test", **IDENTITY), table)
    gone.unlink()
    run = written(store, [run_event("changed"), start("1"), finished, end("FINISHED")])["1"]
    assert run.data.metrics == {}
    assert run.data.tags["note"] == f"{table} has changed since; {gone} has changed since"


def test_a_broken_table_is_noted_and_the_rest_is_logged(store, tmp_path):
    table, plot = tmp_path / "metrics.parquet", tmp_path / "plot.png"
    table.write_bytes(b"not parquet")
    plot.write_bytes(b"png")
    events = [run_event("broken"), start("1"), finish("1", ["{'a': 1}"], [table, plot]), end("FINISHED")]
    run = written(store, events)["1"]
    assert run.info.status == "FINISHED" and run.data.params == {"a": "1"}
    assert "not a readable parquet file" in run.data.tags["note"]
    assert [entry.path for entry in store.client.list_artifacts(run.info.run_id)] == ["plot.png"]


def test_params_beyond_mlflows_limits_are_shortened_and_split(store):
    many = {f"layer{number}": number for number in range(250)}
    odd = {"text": "x" * 7000, "empty": "", "a:b?": 1, "a;b!": 2, "n" * 300: 3}
    run = written(store, [run_event("limits"), start("1"), finish("1", [repr(many | odd)]), end("FINISHED")])["1"]
    assert run.data.params.items() >= {name: str(value) for name, value in many.items()}.items()
    assert len(run.data.params) == 250 + 4
    assert run.data.params["text"] == "x" * 5997 + "..."
    assert run.data.params["a_b_"] == "2" and run.data.params["n" * 250] == "3"


def test_special_values_reach_the_store(store, tmp_path):
    values = {"nan": math.nan, "inf": math.inf, "null": None, "odd:name": 1.0}
    write_parquet(metric_rows(values, split="", **IDENTITY), tmp_path / "metrics.parquet")
    events = [run_event("special"), start("1"), finish("1", outputs=[tmp_path / "metrics.parquet"])]
    metrics = written(store, [*events, end("FINISHED")])["1"].data.metrics
    assert set(metrics) == {"nan", "inf", "odd_name"} and math.isnan(metrics["nan"])


# How things are named


@pytest.mark.parametrize(
    ("literals", "expected"),
    [
        ([], ({}, "")),
        ([repr(DIGEST)], ({}, DIGEST)),
        (["{'a': {'b': {'c': None}}, 'd': {}}"], ({"a.b.c": "None", "d": "{}"}, "")),
        (["{'a': [1, 'x'], 't': (1, 2)}", "{'s': 'v'}"], ({"a": '[1, "x"]', "t": "[1, 2]", "s": "v"}, "")),
        (
            ["'short'", "0.1", "[1]", "nan"],
            ({"param0": "short", "param1": "0.1", "param2": "[1]", "param3": "nan"}, ""),
        ),
        (["{'digest': '" + DIGEST + "'}"], ({"digest": DIGEST}, "")),
    ],
)
def test_params_are_named_by_the_keys_of_their_dicts(literals, expected):
    assert tracking.named_params(literals) == expected


def table_of(path, *rows):
    columns = {name: [] for name in METRICS_SCHEMA.names}
    for row in rows:
        for name in columns:
            columns[name].append(row.get(name))
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(pa.table(columns, schema=METRICS_SCHEMA), path)
    return path


def row(**fields):
    return {**IDENTITY, "split": "test", "metric": "fvu", "value": 1.0} | fields


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([row()], ["test/fvu"]),
        ([row(split=None)], ["fvu"]),
        ([row(), row(split="train")], ["test/fvu", "train/fvu"]),
        ([row(variant="a"), row(variant="b")], ["a/test/fvu", "b/test/fvu"]),
        ([row(seed=0), row(seed=1)], ["seed0/test/fvu", "seed1/test/fvu"]),
        ([row(system="x"), row(system=None)], ["x/test/fvu", "test/fvu"]),
        (
            [row(workload="w", variant="a"), row(variant="b", seed=2)],
            ["w/a/seed0/test/fvu", "digits/b/seed2/test/fvu"],
        ),
    ],
)
def test_metric_names_begin_with_the_columns_that_vary(tmp_path, rows, names):
    points = tracking.metric_points([table_of(tmp_path / "metrics.parquet", *rows)], 5)
    assert [point.key for point in points] == names
    assert {(point.step, point.timestamp, point.value) for point in points} == {(0, 5, 1.0)}


def test_metric_tables_of_one_job_are_told_apart_and_other_tables_left_alone(tmp_path):
    paths = [table_of(tmp_path / variant / "metrics.parquet", row(variant=variant)) for variant in "ab"]
    paths += [table_of(tmp_path / "timings.parquet", row(variant="a", metric="seconds"))]
    paths += [table_of(tmp_path / "train.parquet", row())]
    assert [point.key for point in tracking.metric_points(paths, 0)] == [
        "a/test/fvu",
        "b/test/fvu",
        "test/seconds",
    ]


def test_a_metrics_table_of_another_shape_is_refused(tmp_path):
    import pyarrow as pa

    write_parquet(pa.table({"metric": ["x"]}), tmp_path / "metrics.parquet")
    with pytest.raises(InputError, match="not a metrics table"):
        tracking.metric_points([tmp_path / "metrics.parquet"], 0)


def test_artefacts_of_one_name_lie_in_their_own_folders(tmp_path):
    paths = [tmp_path / name for name in ("a/plot.svg", "b/plot.svg", "b/metrics.parquet")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert tracking.artefacts(paths) == [(paths[0], "a"), (paths[1], "b")]
    assert tracking.artefacts(paths[1:]) == [(paths[1], None)]
    assert tracking.artefacts([]) == []


@pytest.mark.parametrize(
    ("paths", "tags"),
    [
        (
            ["results/w/train/v/seed3/m.json"],
            {"workload": "w", "family": "train", "variant": "v", "seed": "3"},
        ),
        (["results/w/evaluate/v/metrics.parquet"], {"workload": "w", "family": "evaluate", "variant": "v"}),
        (
            ["/x/results/w/train/v/seed3/deep/m.json"],
            {"workload": "w", "family": "train", "variant": "v", "seed": "3"},
        ),
        (
            ["results/w/train/a/seed1/m", "results/w/train/b/seed1/m"],
            {"workload": "w", "family": "train", "seed": "1"},
        ),
        (
            ["results/w/train/a/seed1/m", "results/w/train/a/m"],
            {"workload": "w", "family": "train", "variant": "a"},
        ),
        (["results/claims.parquet", "data/raw/w.parquet", "myresults/w/train/v/x"], {}),
    ],
)
def test_paths_say_workload_family_variant_and_seed_where_they_agree(paths, tags):
    assert journal.path_tags(paths) == tags


# What survives a crash


def test_runs_that_dead_processes_left_open_are_closed(store):
    alive = journal.process_identity(os.getpid())
    for name, process, folder in [("d", DEAD, "f"), ("k", DEAD, "f"), ("l", alive, "f"), ("o", DEAD, "g")]:
        recorder = tracking.Recorder(store.client, store.experiment)
        for event in (run_event(f"left-{name}", process, folder), start("1")):
            recorder.apply(event)
    tracking.Recorder(store.client, store.experiment).close_abandoned("f", kept={"left-k"})
    found = {name: set(states(runs(store, f"left-{name}")).values()) for name in "dklo"}
    assert found == {"d": {"KILLED"}, "k": {"RUNNING"}, "l": {"RUNNING"}, "o": {"RUNNING"}}


def test_a_process_is_known_by_more_than_its_number():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = journal.process_identity(process.pid)
    assert journal.is_alive(identity)
    boot, number, began = identity.split(":")
    assert not journal.is_alive(f"{boot}:{number}:{int(began) - 1}")
    assert not journal.is_alive(f"{boot[::-1]}:{number}:{began}")
    process.stdin.close()
    time.sleep(0.5)
    assert not journal.is_alive(identity)  # dead, though nobody has waited for it yet
    process.wait()
    assert not journal.is_alive(identity)


def test_a_journal_is_followed_line_by_line_until_its_writer_is_gone(tmp_path):
    reader, writer = os.pipe()
    lines = journal.Journal(tmp_path / "run.jsonl")
    lines.add("run", 1.0)
    seen, done = [], threading.Event()

    def read():
        seen.extend(event["event"] for event in worker.follow(lines.path, reader))
        done.set()

    threading.Thread(target=read, daemon=True).start()
    lines._file.write('{"event": "start", "time"')
    lines._file.flush()
    time.sleep(0.7)
    lines._file.write(': 2.0}\n{"event": "fin')
    lines.close()
    assert not done.is_set()
    os.close(writer)
    assert done.wait(5)
    assert seen == ["run", "start", "end"]


def test_the_end_that_a_killed_writer_could_not_note_is_added(tmp_path):
    reader, writer = os.pipe()
    os.close(writer)
    for name, last, expected in [("a", "start", "KILLED"), ("b", "end", "FINISHED")]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"event": last, "time": 1.0, "status": "FINISHED"}) + "\n")
        assert [event["status"] for event in worker.follow(path, reader)][-1] == expected


def pending(name, *events):
    path = journal.PENDING / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_sync_logs_what_is_pending_once_and_leaves_what_still_runs(store, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    done = pending("a", run_event("sync-a"), start("1"), finish("1"), end("FINISHED"))
    killed = pending("b", run_event("sync-b"), start("1"))
    running = pending("c", run_event("sync-c", journal.process_identity(os.getpid())))
    empty = pending("d")
    assert sync.main() == 1
    assert states(runs(store, "sync-a")) == {"": "FINISHED", "1": "FINISHED"}
    assert states(runs(store, "sync-b")) == {"": "KILLED", "1": "KILLED"}
    assert runs(store, "sync-c") == {}
    assert [path.exists() for path in (done, killed, running, empty)] == [False, False, True, True]
    assert "2 runs logged, 2 left" in capsys.readouterr().out


def test_sync_with_nothing_pending_does_not_load_mlflow():
    code = (
        "import sys; from snakemake_logger_plugin_mlflow import sync; "
        "assert sync.main() == 0; print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1] == "False"


def test_a_journal_in_use_is_not_claimed():
    path = pending("a", run_event("claim"))
    with journal.locked(path), journal.claimed(path) as first:
        assert first is None
    with journal.claimed(path) as first:
        assert first["invocation"] == "claim"
    with journal.claimed(path.with_name("absent.jsonl")) as first:
        assert first is None and not path.with_name("absent.jsonl").exists()


# Stores that do not work


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:////proc/none/mlflow.db", "/proc/none"),
        ("sqlite:///{folder}", "is a folder"),
        ("sqlite:///{folder}/text", "file is not a database"),
        ("http://127.0.0.1:9", "127.0.0.1:9"),
        ("http://me:secret@127.0.0.1:9", "127.0.0.1:9"),
        ("nonsense://x", "nonsense"),
    ],
)
def test_an_unusable_store_is_told_soon_in_one_line_without_its_password(tmp_path, uri, reason):
    (tmp_path / "text").write_text("not a database, only text" * 100)
    begun = time.monotonic()
    with pytest.raises(tracking.StoreError, match=reason) as error:
        tracking.open_store(uri.format(folder=tmp_path), "winnow")
    assert time.monotonic() - begun < 30
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_deleted_experiment_is_refused(store):
    _, other = tracking.open_store(store.uri, "other")
    store.client.delete_experiment(other)
    with pytest.raises(tracking.StoreError, match="'other' is deleted"):
        tracking.open_store(store.uri, "other")


def test_a_locked_database_is_waited_for():
    from mlflow.exceptions import MlflowException

    answers = [MlflowException("(sqlite3.OperationalError) database is locked"), None]

    def call():
        answer = answers.pop(0)
        if answer:
            raise answer
        return "written"

    assert tracking._patiently(call) == "written"
    answers = [MlflowException("no such table")]
    with pytest.raises(MlflowException):
        tracking._patiently(call)


# The handler itself


@pytest.fixture
def handler(monkeypatch):
    """A handler whose worker is a process that only waits for the end of its input."""

    def wait_only(path, folder):
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr("snakemake_logger_plugin_mlflow._start_worker", wait_only)
    made = LogHandler(SimpleNamespace(dryrun=False), LogHandlerSettings())
    yield made
    made.close()


def emit(handler, event, **fields):
    handler.emit(logging.makeLogRecord({"event": event, "msg": fields.pop("msg", None), **fields}))


def job_info(handler, job, output="out"):
    outputs = [output] if output else []
    emit(handler, LogEvent.JOB_INFO, jobid=job, rule_name="train", output=outputs, wildcards={}, log=[])


def noted(handler, *fields):
    handler.close()
    path = next(journal.PENDING.glob("*.jsonl"))
    return [tuple(event.get(field) for field in fields) for event in journal.read_events(path.read_text())]


def test_without_a_job_nothing_is_written(handler):
    emit(handler, None, msg="Nothing to be done")
    handler.close()
    assert not Path(".snakemake").exists()


def test_a_dry_run_and_a_touch_write_nothing(monkeypatch):
    monkeypatch.setattr("snakemake_logger_plugin_mlflow._start_worker", pytest.fail)
    for dryrun, arguments in [(True, []), (False, ["--touch"]), (False, ["-t"])]:
        monkeypatch.setattr(sys, "argv", ["snakemake", *arguments])
        made = LogHandler(SimpleNamespace(dryrun=dryrun), LogHandlerSettings())
        emit(made, LogEvent.RUN_INFO, stats={"total": 1})
        job_info(made, 1)
        made.close()
    assert not Path(".snakemake").exists()


@pytest.mark.parametrize(
    ("happens", "status"),
    [
        ("finish", "FINISHED"),
        ("fail", "FAILED"),
        ("nothing", "KILLED"),
        ("finish one", "KILLED"),
        ("fail then interrupt", "KILLED"),
        ("fail then finish", "FINISHED"),
    ],
)
def test_an_invocation_ends_as_its_jobs_did(handler, happens, status):
    emit(handler, LogEvent.RUN_INFO, stats={"total": 3})
    job_info(handler, 0, output=None)
    job_info(handler, 1)
    job_info(handler, 2)
    emit(handler, LogEvent.JOB_FINISHED, job_id=1)
    if happens.startswith("fail"):
        emit(handler, LogEvent.JOB_ERROR, jobid=2, log=[])
    if happens == "fail then interrupt":
        emit(handler, None, msg="Terminating processes on user request, this might take some time.")
    if happens == "fail then finish":
        job_info(handler, 2)
    if happens == "finish one":
        emit(handler, LogEvent.PROGRESS, done=3, total=4)
    if happens.endswith(("finish", "finish one")):
        emit(handler, LogEvent.JOB_FINISHED, job_id=2)
    assert noted(handler, "event", "status")[-1] == ("end", status)


def test_each_attempt_at_a_job_is_a_run_of_its_own(handler):
    emit(handler, LogEvent.RUN_INFO, stats={"total": 1})
    job_info(handler, 1)
    emit(handler, LogEvent.JOB_ERROR, jobid=1, log=[])
    job_info(handler, 1)
    emit(handler, LogEvent.JOB_FINISHED, job_id=1)
    keys = [pair for pair in noted(handler, "event", "job") if pair[0] in ("start", "fail", "finish")]
    assert keys == [("start", "1"), ("fail", "1"), ("start", "1.2"), ("finish", "1.2")]


def test_a_job_that_broke_just_before_ctrl_c_was_told_of_counts_as_killed(handler):
    emit(handler, LogEvent.RUN_INFO, stats={"total": 3})
    for job, age in [(1, 30.0), (2, 0.5)]:
        job_info(handler, job)
        emit(handler, LogEvent.JOB_ERROR, jobid=job, log=[], created=time.time() - age)
    emit(handler, None, msg="Terminating processes on user request, this might take some time.")
    assert [job for event, job in noted(handler, "event", "job") if event == "kill"] == ["2"]


def test_an_error_of_the_logger_is_one_warning_and_no_more(handler, caplog):
    emit(handler, LogEvent.RUN_INFO, stats={"total": 1})
    with caplog.at_level(logging.WARNING, "snakemake.logging"):
        emit(handler, LogEvent.JOB_INFO, jobid=1)  # fields are missing
        emit(handler, LogEvent.JOB_INFO, jobid=2)
        handler.close()
    assert len(caplog.records) == 1 and "MLflow" in caplog.text


@pytest.mark.parametrize(("wait", "age", "least"), [(1.5, 0, 1.5), (0.2, 900, 0.2), (None, 0, 1.0), (None, 40, 2.0)])
def test_waiting_for_the_worker_is_bounded(handler, monkeypatch, wait, age, least):
    def never_ends(path, folder):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr("snakemake_logger_plugin_mlflow._start_worker", never_ends)
    handler._settings.wait = wait
    emit(handler, LogEvent.RUN_INFO, stats={"total": 1}, created=time.time() - age)
    process, begun = handler._worker, time.monotonic()
    handler.close()
    assert least - 0.05 <= time.monotonic() - begun < least + 1.5
    process.kill()
    process.wait()


def test_the_tail_of_a_log_is_its_end_whatever_its_encoding(tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "log").write_bytes(b"a" * 50 + b"\xff end\n")
    paths = [str(tmp_path / name) for name in ("absent", "empty", "log")]
    assert journal.tail(paths, 8) == "aa\ufffd end"  # the line's end counts among the eight bytes
    assert journal.tail(paths[:2], 8) == ""


def test_params_are_read_from_a_record_only_if_it_is_of_this_job():
    record = Path(".snakemake/metadata/b3V0")  # "out" in base64, as Snakemake names it
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"params": ["1"], "starttime": 100.0}))
    assert journal.recorded_params("out", since=100.5) == ["1"]
    assert journal.recorded_params("out", since=102.0) is None
    assert journal.recorded_params("other", since=0.0) is None


def test_snakemakes_process_loads_neither_mlflow_nor_tables():
    code = "import sys, snakemake_logger_plugin_mlflow; print(bool({'mlflow', 'pyarrow', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
