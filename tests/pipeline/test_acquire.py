"""Archives are pinned, verified and kept; nothing half-written is ever taken for data."""

import io
import logging
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from winnow.errors import InputError
from winnow.pipeline import acquire as module
from winnow.pipeline.acquire import acquire, default_cache, load_sources, sources_table

PIN = {
    "kind": "folder",
    "package": "tiny.whl",
    "version": "1.0",
    "member": "tiny/data.csv",
    "reader": "mnist_csv",
    "classes": ["a", "b"],
    "licence": "MIT",
    "redistribute": True,
    "citation": "A. Author, 2020",
}


def wheel(folder, name="tiny", content=b"1,2"):
    """The smallest wheel that pip takes for one."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo(f"{name}/data.csv"), content)
        info = f"{name}-1.0.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        file.writestr(zipfile.ZipInfo(f"{info}/METADATA"), metadata)
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(zipfile.ZipInfo(f"{info}/WHEEL"), tags)
        file.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
    return path


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


def sources(folder, **fields):
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump({"tiny": PIN | fields}))
    return path


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """pip sees one folder and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


@pytest.fixture
def offline(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a program was started")

    return lambda: monkeypatch.setattr(module, "_run", refuse)


def test_a_wheel_is_downloaded_verified_and_then_found_without_a_network(tmp_path, local_index, offline):
    made = wheel(local_index)
    pins = sources(tmp_path, kind="pip", package="tiny", sha256=digest(made))
    path = acquire("tiny", pins, tmp_path / "cache")
    assert path == tmp_path / "cache/archives" / digest(made) / made.name
    assert path.read_bytes() == made.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [made.name]
    offline()
    assert acquire("tiny", pins, tmp_path / "cache") == path


def test_a_wheel_whose_hash_is_wrong_is_refused_and_leaves_nothing(tmp_path, local_index):
    wheel(local_index)
    pins = sources(tmp_path, kind="pip", package="tiny", sha256="0" * 64)
    with pytest.raises(InputError, match="tiny: the index offers tiny==1.0 with another sha256"):
        acquire("tiny", pins, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache/archives").iterdir()] == ["0" * 64 + ".lock"]


def source_archive(folder, setup):
    """The smallest archive that pip takes for a source distribution."""
    path = folder / "tiny-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, content in (("setup.py", setup), ("PKG-INFO", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")):
            info = tarfile.TarInfo(f"tiny-1.0/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content.encode()))
    return path


def test_a_source_archive_is_downloaded_with_what_its_setup_imports(tmp_path, local_index):
    setup = "import tool\nfrom setuptools import setup\nsetup(name='tiny', version='1.0')\n"
    made = source_archive(local_index, setup)
    tool = wheel(local_index, "tool")
    with zipfile.ZipFile(tool, "a") as file:
        file.writestr(zipfile.ZipInfo("tool/__init__.py"), "")
    build = [f"tool==1.0 --hash=sha256:{digest(tool)}"]
    pins = sources(tmp_path, kind="sdist", package="tiny", sha256=digest(made), build=build)
    path = acquire("tiny", pins, tmp_path / "cache")
    assert path.read_bytes() == made.read_bytes() and [p.name for p in path.parent.iterdir()] == [made.name]
    wrong = sources(
        tmp_path, kind="sdist", package="tiny", sha256=digest(made), build=[f"tool==1.0 --hash=sha256:{'0' * 64}"]
    )
    with pytest.raises(InputError, match="tiny: .* with another sha256"):
        acquire("tiny", wrong, tmp_path / "other")


def test_a_source_archive_of_another_hash_is_not_run(tmp_path, local_index):
    ran = tmp_path / "ran"
    source_archive(local_index, f"open({str(ran)!r}, 'w')\n")
    pins = sources(tmp_path, kind="sdist", package="tiny", sha256="0" * 64)
    with pytest.raises(InputError, match="with another sha256"):
        acquire("tiny", pins, tmp_path / "cache")
    assert not ran.exists()


def test_a_wheel_that_the_index_lacks_is_named(tmp_path, local_index):
    pins = sources(tmp_path, kind="pip", package="absent", sha256="0" * 64)
    with pytest.raises(InputError, match=r"pip could not download absent==1\.0 .*check the network"):
        acquire("tiny", pins, tmp_path / "cache")


def test_the_hash_is_checked_here_also_where_the_program_did_not(tmp_path, monkeypatch):
    def deliver(command, folder=None, environment=None):
        (Path(command[-1]) / "tiny.whl").write_bytes(b"something else")
        return 0, ""

    monkeypatch.setattr(module, "_run", deliver)
    pins = sources(tmp_path, kind="pip", package="tiny", sha256="0" * 64)
    with pytest.raises(InputError, match=r"tiny\.whl has sha256 .*pinned is 0000"):
        acquire("tiny", pins, tmp_path / "cache")
    assert not (tmp_path / "cache/archives" / ("0" * 64)).exists()


def test_a_cut_off_download_leaves_nothing_and_the_next_run_is_whole(tmp_path, monkeypatch):
    made = wheel(tmp_path)
    pins = sources(tmp_path, package=made.name, sha256=digest(made))

    def cut_off(source, target):
        Path(target).write_bytes(b"hal")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.shutil, "copyfile", cut_off)
        acquire("tiny", pins, tmp_path / "cache")
    assert [p.suffix for p in (tmp_path / "cache/archives").iterdir()] == [".lock"]
    # A killed process cannot clean up after itself.
    left = tmp_path / "cache/archives" / f"{digest(made)}.partial"
    left.mkdir()
    (left / "rubbish").write_bytes(b"hal")
    assert acquire("tiny", pins, tmp_path / "cache").read_bytes() == made.read_bytes()
    assert not left.exists()


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(b"x"), Path.unlink, lambda p: (p.parent / "y").touch()])
def test_a_damaged_cache_is_fetched_again(tmp_path, damage, caplog):
    made = wheel(tmp_path)
    pins = sources(tmp_path, package=made.name, sha256=digest(made))
    damage(acquire("tiny", pins, tmp_path / "cache"))
    with caplog.at_level(logging.INFO):
        assert acquire("tiny", pins, tmp_path / "cache").read_bytes() == made.read_bytes()
    assert "is damaged and is fetched again" in caplog.text


def test_jobs_side_by_side_fetch_an_archive_once(tmp_path, monkeypatch):
    made = wheel(tmp_path)
    pins = sources(tmp_path, package=made.name, sha256=digest(made))
    fetch, fetched, found = module._fetch, [], []

    def counted(*arguments):
        fetched.append(1)
        threading.Event().wait(0.2)
        return fetch(*arguments)

    monkeypatch.setattr(module, "_fetch", counted)
    jobs = [threading.Thread(target=lambda: found.append(acquire("tiny", pins, tmp_path / "cache"))) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(fetched) == 1 and len(found) == 4 and len(set(found)) == 1


def fake_apt(folder, monkeypatch, script):
    folder.mkdir()
    program = folder / "apt-get"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_debian_package_is_downloaded_by_name_and_version(tmp_path, monkeypatch):
    made = tmp_path / "made.deb"
    made.write_bytes(b"!<arch>\nmade")
    fake_apt(tmp_path / "bin", monkeypatch, f'[ "$*" = "download tiny=1.0" ] && cp {made} tiny_1.0_all.deb')
    pins = sources(tmp_path, kind="apt", package="tiny", sha256=digest(made))
    path = acquire("tiny", pins, tmp_path / "cache")
    assert path.name == "tiny_1.0_all.deb" and path.read_bytes() == made.read_bytes()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo \"E: Version '1.0' for 'tiny' was not found\"; exit 100",
            "no longer offers tiny=1.0; run apt-get update",
        ),
        ("echo 'W: odd'; echo 'E: no network'; exit 100", r"could not download tiny=1\.0 \(E: no network\)"),
        ("true", "one archive was expected and nothing arrived"),
        ("touch a b", "one archive was expected and a, b arrived"),
        ("touch a", "a has sha256 e3b0c442"),
    ],
)
def test_an_apt_that_cannot_deliver_is_one_line(tmp_path, monkeypatch, script, message):
    fake_apt(tmp_path / "bin", monkeypatch, script)
    pins = sources(tmp_path, kind="apt", package="tiny", sha256="0" * 64)
    with pytest.raises(InputError, match=message) as caught:
        acquire("tiny", pins, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_where_apt_is_absent_the_message_says_what_remains(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    pins = sources(tmp_path, kind="apt", package="tiny", sha256="0" * 64)
    with pytest.raises(InputError, match="apt-get is not on this machine; .*kind folder, or use a source of kind pip"):
        acquire("tiny", pins, tmp_path / "cache")


def test_a_file_that_is_not_there_and_a_source_that_is_not_pinned_are_named(tmp_path):
    with pytest.raises(InputError, match=r"tiny: no file .*tiny\.whl"):
        acquire("tiny", sources(tmp_path, sha256="0" * 64), tmp_path / "cache")
    with pytest.raises(InputError, match="no source 'tinny'; known are tiny"):
        acquire("tinny", sources(tmp_path, sha256="0" * 64), tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made .*XDG_CACHE_HOME"):
        acquire("tiny", sources(tmp_path, sha256="0" * 64), tmp_path / "file")


def test_a_program_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    assert module._run([sys.executable, "-c", "import time; time.sleep(5)"]) == (
        1,
        "no answer in 0.05 seconds",
    )


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "winnow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache/winnow"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sha256": "0" * 63}, "tiny.sha256"),
        ({"sha256": "G" * 64}, "tiny.sha256"),
        ({"kind": "url"}, "tiny.kind"),
        ({"reader": "pickle"}, "tiny.reader"),
        ({"largest": 256}, "tiny.largest"),
        ({"reader": "idx", "largest": 16}, "tiny: .*largest belongs to reader mnist_csv, and the reader is idx"),
        ({"version": 1.0}, "tiny.version"),
        ({"package": "tiny --index-url=x"}, "tiny.package"),
        ({"package": "-r"}, "tiny.package"),
        ({"classes": ["a"]}, "classes has 1; name two or more"),
        ({"reader": "torch_state"}, "classes belong to images"),
        ({"reader": "table"}, "tiny: .*a section table belongs to reader table"),
        ({"table": {}}, "tiny: .*a section table belongs to reader table"),
        ({"reader": "table", "table": {"separator": "::"}}, "tiny.table.separator"),
        ({"reader": "table", "table": {"colour": 1}}, "tiny.table.colour"),
        ({"licence": ""}, "tiny.licence"),
        ({"build": ["tool==1.0 --hash=sha256:" + "0" * 64]}, "build belongs to kind sdist, and the kind is folder"),
        ({"kind": "sdist", "build": ["tool==1.0"]}, "tiny.build"),
        ({"kind": "sdist", "build": ["tool==1.0 --index-url=x --hash=sha256:" + "0" * 64]}, "tiny.build"),
        ({"colour": "red"}, "tiny.colour"),
    ],
)
def test_a_pin_that_is_wrong_is_named(tmp_path, fields, message):
    path = sources(tmp_path, **({"sha256": "0" * 64} | fields))
    with pytest.raises(InputError, match=message) as caught:
        load_sources(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\udcff"])
def test_a_sources_file_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "sources.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="sources.yaml") as caught:
        load_sources(path)
    assert "\n" not in str(caught.value)


def test_the_licences_table_holds_each_source_once():
    table = sources_table(["mnist_5k", "fashion_mnist", "mnist_5k"], "data/sources.yaml")
    assert table["source"].to_pylist() == ["fashion_mnist", "mnist_5k"]
    assert table["licence"].to_pylist()[0] == "MIT"
    assert table["redistribute"].to_pylist() == [True, True]
    assert table.schema.names == ["source", "licence", "redistribute", "citation", "sha256"]


def test_pip_here_can_download(tmp_path):
    """acquire starts pip as a module of this interpreter."""
    assert subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0


def test_the_page_on_licences_holds_every_pin():
    page = " ".join(Path("docs/data-licences.md").read_text(encoding="utf-8").split())
    for source_id, pin in load_sources("data/sources.yaml").items():
        for text in (f"`{source_id}`", f"{pin.package} {pin.version}", pin.licence, pin.sha256):
            assert text in page
        assert f"| {pin.licence} | {'yes' if pin.redistribute else 'no'} |" in page
