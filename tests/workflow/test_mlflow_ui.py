"""What a person sees in MLflow's UI after a run: the invocation, its jobs under it and their curves."""

import os
import signal
import socket
import subprocess
from urllib.error import URLError
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from tests.workflow.chromium import chromium, click, needs_chromium, requested, see, wait, with_text
from tests.workflow.conftest import ENVIRONMENT

JOB = "results/digits/train/mlp/seed0"
PLOT = "*[contains(@class, 'js-plotly-plot')]"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as driver:
        yield driver


@pytest.fixture
def logged(sources_only):
    """A checkout in which one model was trained, and MLflow's store has been told."""
    sources_only.snakemake(f"{JOB}/metrics.parquet", "--logger-mlflow-wait", "60")
    return sources_only


@pytest.fixture
def ui(logged, browser):
    """Address of `mlflow ui` on the store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(logged.path / "ui.log", "w") as log:
        server = subprocess.Popen(
            ["mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=logged.path,
            env=ENVIRONMENT | QUIET,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # its workers end with it
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(browser, lambda _: server.poll() is not None or answers(f"{address}/health"), "an answer of mlflow ui")
        assert server.poll() is None, (logged.path / "ui.log").read_text()
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        return urlopen(address, timeout=5).status == 200
    except (URLError, OSError):
        return False


def rows(browser) -> dict[str, str]:
    """Run id -> name of the runs that the experiment's table shows, from top to bottom."""
    table = browser.find_elements("css selector", ".ag-pinned-left-cols-container [row-id]")
    found = {row.get_attribute("row-id"): row.find_element("css selector", "a") for row in table}
    return {run: link.text for run, link in sorted(found.items(), key=lambda item: item[1].location["y"])}


def indent(browser, run: str) -> int:
    return browser.find_element("css selector", f"[row-id='{run}'] a").location["x"]


def plotted(plot) -> list[list[float]]:
    """Steps and values of the first line that the plot holds."""
    script = "return arguments[0].data.map(line => [Array.from(line.x), Array.from(line.y)])[0]"
    return plot.parent.execute_script(script, plot)


def test_the_ui_nests_jobs_under_their_invocation_and_draws_their_curves(logged, ui, browser):
    client = MlflowClient(f"sqlite:///{logged.path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("winnow").experiment_id])
    names = {run.info.run_id: run.info.run_name for run in runs}
    [parent] = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    [trained] = [run for run, name in names.items() if name == "train_adamw digits/mlp/seed0"]
    assert len(names) == 4

    browser.get(ui)
    click(browser, with_text("Model training"))  # the UI begins with its pages for language models
    click(browser, with_text("winnow", "a"))
    wait(browser, lambda d: set(rows(d)) == {parent}, "the invocation alone")
    click(browser, f"[row-id='{parent}'] [col-id*='Run Name'] button")
    wait(browser, lambda d: rows(d) == names, "its jobs")
    assert list(rows(browser))[0] == parent
    assert all(indent(browser, run) > indent(browser, parent) for run in names if run != parent)

    click(browser, f"[row-id='{trained}'] a")
    see(browser, with_text(names[trained]))
    click(browser, with_text("Model metrics"))
    history = pq.read_table(logged.path / JOB / "history.parquet").to_pylist()
    losses = {row["step"]: row["value"] for row in history if row["metric"] == "loss"}
    assert len(losses) > 2
    chart = "//h4[@title='train/loss']/ancestor::*[@data-testid='experiment-view-compare-runs-card']"
    curve = [list(losses), pytest.approx(list(losses.values()))]
    wait(browser, lambda d: plotted(see(d, f"{chart}//{PLOT}")) == curve, "the loss of every step")
    line = see(browser, f"{chart}//*[contains(@class, 'js-line')]")
    assert line.rect["width"] > 50 and line.rect["height"] > 50
    assert [url for url in requested(browser) if not url.startswith(f"{ui}/")] == []
