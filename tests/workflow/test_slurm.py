"""profiles/slurm on a real Slurm of one node.

Opt in with WINNOW_TEST_SLURM=1: it needs root, and installs Debian's Slurm where there is none. The cluster has a
folder, a key, a socket and ports of its own; only /etc/slurm/slurm.conf it shares, and it skips where that is taken.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.workflow.conftest import ENVIRONMENT, Checkout
from winnow.pipeline.hashing import file_sha256
from winnow.pipeline.provenance import read_lock

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
# Snakemake takes SLURM_CONF from the environment of its jobs, so they look here.
SYSTEM_CONFIGURATION = Path("/etc/slurm/slurm.conf")
PATHS = os.pathsep.join([ENVIRONMENT["PATH"], "/usr/sbin", "/sbin"])
CONFIGURATION = """\
ClusterName=winnow
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
{node} NodeAddr=127.0.0.1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""
JOB = r"JobState=(\w+) .* Comment=rule_(\w+?)_wildcards"
TARGET = "results/digits/compress/mlp-magnitude-s80/seed0/metrics.parquet"
JOBS = Counter(acquire=1, curate_images=1, train_adamw=1, prune=1)
# Without accounting there is neither an account to charge nor sacct to ask.
SLURM = (
    *("--workflow-profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue"),
    # Jobs take less; each question that comes too early makes the next wait 10 s longer.
    *("--slurm-init-seconds-before-status-checks", "10", "--logger-mlflow-wait", "60"),
)

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.environ.get("WINNOW_TEST_SLURM") != "1", reason="WINNOW_TEST_SLURM is not 1"),
]


class Cluster:
    """The daemons of a Slurm of one node, and what reaches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {"PATH": PATHS}
        self.daemons: list[subprocess.Popen] = []

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=ENVIRONMENT | self.variables, capture_output=True, text=True, timeout=60)
        return done.stdout

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        node = self.ask("slurmd", "-C").splitlines()[0]
        host, folder = socket.gethostname().partition(".")[0], self.folder
        text = CONFIGURATION.format(host=host, folder=folder, node=node, ports=free_ports(2))
        (folder / "slurm.conf").write_text(text)
        SYSTEM_CONFIGURATION.parent.mkdir(exist_ok=True)
        SYSTEM_CONFIGURATION.unlink(missing_ok=True)  # the link of a test that was killed
        SYSTEM_CONFIGURATION.symlink_to(folder / "slurm.conf")
        key, munge = folder / "munge.key", folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self.daemon("munged", "--foreground", f"--socket={munge}", *files)
        self.until(munge.is_socket, "munged's socket")
        self.daemon("slurmctld", "-D")
        self.daemon("slurmd", "-D")
        self.until(lambda: self.ask("sinfo", "--noheader", "--format=%T").strip() == "idle", "an idle node")

    def daemon(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "w") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            started = subprocess.Popen(command, env=ENVIRONMENT | self.variables, start_new_session=True, **streams)
        self.daemons.append(started)

    def until(self, condition, what: str, seconds: float = 60) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            ended = [daemon.args for daemon in self.daemons if daemon.poll() is not None]
            if ended or time.monotonic() > limit:
                told = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.out"))
                pytest.fail(f"no {what}; ended: {ended}\n{told}")
            time.sleep(0.2)

    def jobs(self) -> Counter:
        """(rule, state) -> number of the jobs that the cluster has had."""
        records = self.ask("scontrol", "--oneliner", "show", "jobs")
        return Counter((rule, state) for state, rule in re.findall(JOB, records))

    def stop(self) -> None:
        if len(self.daemons) == 3:
            self.ask("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()
        SYSTEM_CONFIGURATION.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def missing() -> list[str]:
    return [name for name in PROGRAMS if not shutil.which(name, path=PATHS)]


@pytest.fixture(scope="module")
def cluster():
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons need root")
    if missing() and shutil.which("apt-get"):
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
        quiet = ENVIRONMENT | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(install, env=quiet, stdin=subprocess.DEVNULL, timeout=600)
    if missing():
        pytest.skip(f"no {', '.join(missing())}; apt-get install {' '.join(PACKAGES)} brings them")
    if SYSTEM_CONFIGURATION.exists():
        pytest.skip(f"a Slurm is configured here already ({SYSTEM_CONFIGURATION})")
    # Of a short name: the path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="winnow-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def results(checkout: Checkout) -> dict[str, str]:
    """Path -> digest of every file that stages have made."""
    found = [path for name in ("data/raw", "results") for path in (checkout.path / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(checkout.path)): file_sha256(path) for path in found}


def test_the_slurm_profile_runs_jobs_on_the_cluster_and_leaves_what_a_local_run_leaves(cluster, sources_only, tmp_path):
    alone = sources_only.copy(tmp_path / "alone")
    assert sources_only.snakemake(TARGET, *SLURM, **cluster.variables) == JOBS
    assert cluster.jobs() == {(rule, "COMPLETED"): 1 for rule in JOBS}

    made = results(sources_only)
    assert TARGET in made
    alone.edit("profiles/default/config.yaml", "logger: [mlflow]", "")
    alone.snakemake(TARGET)
    assert made == results(alone)

    recorded = read_lock(sources_only.path / "provenance.lock")[0]
    assert made.items() <= {output: record["sha256"] for output, record in recorded.items()}.items()
    for profile in ((), SLURM):
        assert sources_only.snakemake(TARGET, "--dry-run", *profile, **cluster.variables) == Counter()

    client = MlflowClient(f"sqlite:///{sources_only.path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("winnow").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert Counter(run.data.tags.get("rule", "invocation") for run in runs) == JOBS + Counter(invocation=1)
