"""A process that has loaded torch, of which jobs are forks: each of hundreds starts in a tenth of a second, not in two.

    python -m winnow.pipeline.warm SOCKET

Started by the Snakefile before the first job, and ended with its Snakemake. A job's script that finds it hands itself
over: a fork runs it with the script's own descriptors, environment and folder, and its exit status is the script's.
Where there is none (few jobs, another machine, a container, other systems than Linux) scripts run as they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

from winnow.pipeline.runner import THREAD_VARIABLES

VARIABLE = "WINNOW_WARM"
"""Where it listens, and for whom."""
FEWEST = 6
"""Jobs from which on loading torch once more pays."""
STATUS = struct.Struct("i")
SIZE = struct.Struct("I")
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl

_started: list[tuple[subprocess.Popen[bytes], Path]] = []


def start(jobs: int) -> None:
    """Start it for so many jobs, unless these are few."""
    if jobs < FEWEST or sys.platform != "linux":
        return
    path = Path(tempfile.mkdtemp(prefix="winnow-")) / "socket"  # nobody else may look into such a folder
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    command = [sys.executable, "-P", "-m", "winnow.pipeline.warm", str(path)]
    _started.append((subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL), path.parent))
    os.environ[VARIABLE] = f"{path}{os.pathsep}{_surroundings()}"


def stop() -> None:
    """End it, if it was started."""
    os.environ.pop(VARIABLE, None)
    while _started:
        process, folder = _started.pop()
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)  # it may have been ended before it could do so


def _surroundings() -> str:
    """What a fork takes over from its parent and a script must have too: the installation, and the files it sees."""
    return f"{sys.prefix} {os.readlink('/proc/self/ns/mnt')}"


def hand_over() -> int | None:
    """The exit status of this script, after a fork of the warm process has run it; None where there is no such."""
    path, _, surroundings = os.environ.get(VARIABLE, "").partition(os.pathsep)
    if not path or surroundings != _surroundings():
        return None
    told = {"script": sys.argv[0], "folder": os.getcwd(), "environment": dict(os.environ)}
    message = json.dumps(told).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError:
            return None  # it is not ready yet
        sys.stdout.flush()
        sys.stderr.flush()
        socket.send_fds(connection, [SIZE.pack(len(message))], [0, 1, 2])
        connection.sendall(message)
        answer = connection.recv(STATUS.size)
    if not answer:
        print("the process that jobs are forks of has ended; run again", file=sys.stderr)
        return 1
    (status,) = STATUS.unpack(answer)
    return status if status >= 0 else 128 - status


class _Job(NamedTuple):
    pid: int
    ended: int
    """Descriptor that can be read when the fork has ended."""
    connection: socket.socket


def serve(path: Path) -> None:
    """Fork for every script that connects, until the process that started this one is gone."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, meant for Snakemake
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _load()
    poll, jobs = select.poll(), dict[int, _Job]()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        poll.register(listener, select.POLLIN)
        while os.getppid() == parent:
            for descriptor, _ in poll.poll(500):
                if descriptor == listener.fileno():
                    job = _forked(listener.accept()[0], listener)
                    jobs |= {job.ended: job, job.connection.fileno(): job}
                    poll.register(job.ended, select.POLLIN)
                    poll.register(job.connection, select.POLLRDHUP)
                elif descriptor in jobs:
                    _follow(jobs[descriptor], descriptor, poll, jobs)


def _follow(job: _Job, descriptor: int, poll: select.poll, jobs: dict[int, _Job]) -> None:
    """Tell a script how its fork has ended; end a fork whose script has gone."""
    if descriptor != job.ended:
        poll.unregister(job.connection)
        os.kill(job.pid, signal.SIGKILL)
        return
    _, status = os.waitpid(job.pid, 0)
    with contextlib.suppress(OSError):  # nobody is left to be told
        job.connection.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))
    for known in (job.ended, job.connection.fileno()):
        jobs.pop(known)
        with contextlib.suppress(KeyError):
            poll.unregister(known)
    os.close(job.ended)
    job.connection.close()


def _load() -> None:
    """What nearly every job needs of libraries, and nothing of this project's own code beyond this package."""
    for name in ("torch", "pyarrow.compute", "pyarrow.parquet", "snakemake.script"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pages of what lives for ever stay shared


def _forked(connection: socket.socket, listener: socket.socket) -> _Job:
    pid = os.fork()
    if not pid:
        listener.close()
        _run(connection)
    return _Job(pid, os.pidfd_open(pid), connection)


def _run(connection: socket.socket) -> NoReturn:
    """Be the script that connected, from its start to its end."""
    ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    status = 1
    try:
        head, descriptors, _, _ = socket.recv_fds(connection, SIZE.size, 3)
        (size,), message = SIZE.unpack(head), b""
        while len(message) < size:
            message += connection.recv(size - len(message))
        told = json.loads(message)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(told["environment"])
        os.environ.pop(VARIABLE)
        os.chdir(told["folder"])
        sys.argv, script = [told["script"]], told["script"]
        sys.path.insert(0, str(Path(script).parent))
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # the last resort of a process: what Python prints of it, and its status
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    socket_path = Path(sys.argv[1])
    try:
        serve(socket_path)
    finally:
        shutil.rmtree(socket_path.parent, ignore_errors=True)
