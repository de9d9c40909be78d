"""Snakemake in a fork of a process that has imported it, which is a third of what a start of it takes."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 1200
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["snakemake.cli"])


def snakemake(arguments: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run it as the command of that name would, with nothing to read; what it printed, and its status."""
    with tempfile.TemporaryDirectory() as place:
        files = [str(Path(place) / name) for name in ("stdout", "stderr")]
        process = CONTEXT.Process(target=_be, args=(arguments, str(folder), environment, [os.devnull, *files]))
        process.start()
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            process.join()
        told = [Path(file).read_text() for file in files]
    return subprocess.CompletedProcess(["snakemake", *arguments], process.exitcode, *told)


def _be(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # The code of the folder runs, as the Snakefile asks for it, and of this checkout what is installed of it.
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "winnow")]:
        del sys.modules[name]
    sys.path[:] = [*(path for path in sys.path if Path(path).resolve() != ROOT), str(ROOT)]
    sys.argv = [str(Path(sys.executable).with_name("snakemake")), *arguments]
    from snakemake.cli import main

    sys.exit(main())
