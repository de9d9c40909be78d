"""The process that jobs are forks of: scripts run in it as they would alone, and end with what they belong to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from winnow.pipeline import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux alone")

HAND_OVER = """
import os, sys, time
from winnow.pipeline.warm import hand_over
loaded = "torch" in sys.modules
if (status := hand_over()) is not None:
    sys.exit(status)
"""


@pytest.fixture(scope="module")
def running():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        warm.start(warm.FEWEST)
        path = Path(os.environ[warm.VARIABLE].partition(os.pathsep)[0])
        wait_for(path.exists)
        yield path, warm._started[-1][0]
        warm.stop()
    assert not path.parent.exists() and warm.VARIABLE not in os.environ


def wait_for(what, seconds=30):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def script(folder, text):
    path = folder / "script.py"
    path.write_text(HAND_OVER + text)
    return [sys.executable, str(path)]


def test_a_script_has_its_own_folder_environment_and_descriptors_with_torch_loaded(running, tmp_path):
    told = 'print(loaded, os.getcwd(), os.environ["ASKED"], __name__, sys.argv[0])\nprint("said", file=sys.stderr)\n'
    command, environment = script(tmp_path, told + "sys.exit(3)"), {**os.environ, "ASKED": "yes"}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.split() == ["True", str(tmp_path), "yes", "__main__", command[1]]
    assert (found.stderr, found.returncode) == ("said\n", 3)
    alone = subprocess.run(command, cwd=tmp_path, env=environment | {warm.VARIABLE: ""}, capture_output=True, text=True)
    assert alone.stdout.split() == ["False", *found.stdout.split()[1:]] and alone.returncode == 3


@pytest.mark.parametrize(
    ("text", "status"),
    [("", 0), ("os._exit(7)", 7), ("sys.exit('no')", 1), ("os.kill(os.getpid(), 9)", 137), ("1 / 0", 1)],
)
def test_the_status_is_what_the_script_alone_would_have(running, tmp_path, text, status):
    found = subprocess.run(script(tmp_path, text), capture_output=True, text=True)
    assert found.returncode == status
    assert ("ZeroDivisionError" in found.stderr) == (text == "1 / 0")


def test_scripts_run_side_by_side_and_a_fork_ends_with_its_script(running, tmp_path):
    command = script(tmp_path, 'open(sys.argv[0] + str(os.getpid()), "w")\ntime.sleep(60)')
    processes = [subprocess.Popen(command) for _ in range(2)]
    wait_for(lambda: len(list(tmp_path.glob("script.py?*"))) == 2)
    forks = [psutil.Process(int(path.name.removeprefix("script.py"))) for path in tmp_path.glob("script.py?*")]
    assert {fork.ppid() for fork in forks} == {running[1].pid}
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: not any(fork.is_running() for fork in forks))


def test_forks_end_with_the_warm_process_and_it_with_who_started_it(tmp_path):
    starter = [
        sys.executable,
        "-c",
        "import os, time; from winnow.pipeline import warm; warm.start(9); "
        "print(os.environ[warm.VARIABLE], flush=True);"
        "print(warm._started[0][0].pid, flush=True); time.sleep(60)",
    ]
    parent = subprocess.Popen(starter, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    told, process = parent.stdout.readline().strip(), psutil.Process(int(parent.stdout.readline()))
    path = Path(told.partition(os.pathsep)[0])
    wait_for(path.exists)
    environment = {**os.environ, warm.VARIABLE: told, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = script(tmp_path, 'open(sys.argv[0] + str(os.getpid()), "w")\ntime.sleep(60)')
    job = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("script.py?*")))
    (left,) = tmp_path.glob("script.py?*")
    fork = psutil.Process(int(left.name.removeprefix("script.py")))
    parent.kill()
    parent.wait()
    wait_for(lambda: not process.is_running() and not fork.is_running())
    assert "run again" in job.communicate()[1] and job.returncode == 1
    assert not path.parent.exists()


def test_nothing_is_started_for_few_jobs_and_scripts_run_alone_where_it_is_not_theirs(tmp_path, monkeypatch):
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    monkeypatch.setattr(warm, "_started", [])
    warm.start(warm.FEWEST - 1)
    assert not warm._started and warm.VARIABLE not in os.environ and warm.hand_over() is None
    monkeypatch.setenv(warm.VARIABLE, f"{tmp_path / 'socket'}{os.pathsep}{warm._surroundings()}")
    assert warm.hand_over() is None  # nobody listens there yet
    monkeypatch.setenv(warm.VARIABLE, f"{tmp_path / 'socket'}{os.pathsep}another installation")
    monkeypatch.setattr(warm.socket, "socket", None)
    assert warm.hand_over() is None
