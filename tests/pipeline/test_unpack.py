"""Archives are read without trusting them."""

import gzip
import io
import lzma
import shutil
import stat
import subprocess
import tarfile
import warnings
import zipfile

import pytest

from winnow.errors import InputError
from winnow.pipeline._unpack import gunzip, read_members


def zip_of(path, *entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries:
            file.writestr(name, content)
    return path


def tar_of(*entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for entry, content in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def deb_of(path, tar, pack=lzma.compress, suffix=".xz"):
    """A Debian package written by the format's manual page: an ar archive of three members."""
    data = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", b"odd"),
        (f"data.tar{suffix}", pack(tar)),
    ):
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    path.write_bytes(data)
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_file_and_a_folder_are_read_by_name_from_a_wheel(tmp_path):
    wheel = zip_of(tmp_path / "a.whl", ("d/b.txt", b"bee"), ("d/a.txt", b"ay"), ("dd/c.txt", b"sea"), ("d/e/", b""))
    assert read_members(wheel, "d/b.txt") == {"d/b.txt": b"bee"}
    assert list(read_members(wheel, "d").items()) == [("d/a.txt", b"ay"), ("d/b.txt", b"bee")]


@pytest.mark.parametrize(("pack", "suffix"), [(lzma.compress, ".xz"), (gzip.compress, ".gz"), (lambda data: data, "")])
def test_a_debian_package_is_read_however_its_content_is_packed(tmp_path, pack, suffix):
    deb = deb_of(tmp_path / "a.deb", tar_of(("./usr/share/x", b"ex"), ("./etc/y", b"why")), pack, suffix)
    assert read_members(deb, "usr") == {"usr/share/x": b"ex"}


def test_a_source_archive_is_a_gzipped_tar(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(tar_of(("a-1/d/x", b"ex"), ("a-1/y", b"why"))))
    assert read_members(archive, "a-1/d") == {"a-1/d/x": b"ex"}
    with pytest.raises(InputError, match="expands to more than 100 bytes"):
        read_members(archive, "a-1/d", limit=100)
    archive.write_bytes(gzip.compress(tar_of((link("a-1/d", "/etc"), b""))))
    with pytest.raises(InputError, match="is a link"):
        read_members(archive, "a-1/d")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_package_made_by_dpkg_is_read_as_dpkg_reads_it(tmp_path):
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: tiny\n"
    )
    (root / "usr/share/tiny").mkdir(parents=True)
    (root / "usr/share/tiny/odd.bin").write_bytes(bytes(range(255)))
    deb = tmp_path / "tiny.deb"
    subprocess.run(["dpkg-deb", "-Zxz", "--root-owner-group", "-b", root, deb], check=True, capture_output=True)
    assert read_members(deb, "usr/share/tiny") == {"usr/share/tiny/odd.bin": bytes(range(255))}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "a\\..\\evil", "/abs/../x"])
def test_an_unsafe_path_anywhere_in_an_archive_is_refused(tmp_path, name):
    wheel = zip_of(tmp_path / "a.whl", ("good.txt", b"good"), (name, b"evil"))
    with pytest.raises(InputError, match="unsafe path"):
        read_members(wheel, "good.txt")
    deb = deb_of(tmp_path / "a.deb", tar_of(("good.txt", b"good"), (name, b"evil")))
    with pytest.raises(InputError, match="unsafe path"):
        read_members(deb, "good.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.deb", "a.whl"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_device_is_refused_where_a_file_is_wanted_and_passed_over_elsewhere(tmp_path, kind):
    odd = link("d/passwd", "/etc/passwd", kind)
    deb = deb_of(tmp_path / "a.deb", tar_of((odd, b""), ("good.txt", b"good")))
    with pytest.raises(InputError, match="d/passwd is a link or a device"):
        read_members(deb, "d")
    assert read_members(deb, "good.txt") == {"good.txt": b"good"}


def test_a_symbolic_link_in_a_wheel_is_refused(tmp_path):
    info = zipfile.ZipInfo("d/passwd")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    wheel = zip_of(tmp_path / "a.whl", (info, b"/etc/passwd"))
    with pytest.raises(InputError, match="link or a device"):
        read_members(wheel, "d/passwd")


def test_a_file_that_a_wheel_marks_as_a_file_is_read(tmp_path):
    info = zipfile.ZipInfo("d/plain")
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    assert read_members(zip_of(tmp_path / "a.whl", (info, b"x")), "d/plain") == {"d/plain": b"x"}


def test_what_expands_beyond_the_limit_is_refused_and_what_just_fits_is_read(tmp_path):
    content = bytes(1000)
    wheel = zip_of(tmp_path / "a.whl", ("d/a", content), ("d/b", content))
    with pytest.raises(InputError, match="more than 1999 bytes"):
        read_members(wheel, "d", limit=1999)
    assert len(read_members(wheel, "d", limit=2000)) == 2
    assert len(read_members(wheel, "d/a", limit=1000)) == 1
    with pytest.raises(InputError, match="more than 999 bytes"):
        gunzip(gzip.compress(content), "a.gz", limit=999)
    assert gunzip(gzip.compress(content), "a.gz", limit=1000) == content


def test_a_bomb_in_a_debian_package_is_refused_before_it_is_expanded(tmp_path):
    deb = deb_of(tmp_path / "a.deb", tar_of(("d/a", bytes(10_000_000))))
    assert deb.stat().st_size < 10_000
    with pytest.raises(InputError, match="more than 100000 bytes"):
        read_members(deb, "d/a", limit=100_000)


def test_a_wheel_that_lies_about_a_size_is_refused(tmp_path):
    wheel = zip_of(tmp_path / "a.whl", ("d/a", bytes(5000)))
    wheel.write_bytes(wheel.read_bytes().replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(InputError, match="not a readable archive"):
        read_members(wheel, "d/a", limit=100)


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    wheel = zip_of(tmp_path / "a.whl", ("a", b"one"), ("a", b"two"))
    with pytest.raises(InputError, match="holds a twice"):
        read_members(wheel, "a")


def test_truncated_and_foreign_files_are_input_errors_that_name_the_file(tmp_path):
    wheel = zip_of(tmp_path / "a.whl", ("a", b"one" * 100))
    deb = deb_of(tmp_path / "a.deb", tar_of(("a", b"one" * 100)))
    for path in (wheel, deb):
        whole = path.read_bytes()
        for length in (0, 5, 70, len(whole) // 2, len(whole) - 30):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=path.name):
                read_members(path, "a")


def test_a_damaged_byte_in_compressed_content_is_an_input_error(tmp_path):
    packed = bytearray(gzip.compress(bytes(range(256)) * 10))
    packed[-6] ^= 1
    with pytest.raises(InputError, match=r"a\.gz: cannot be decompressed"):
        gunzip(bytes(packed), "a.gz")


def test_unknown_packing_and_an_absent_member_are_named(tmp_path):
    deb = deb_of(tmp_path / "a.deb", tar_of(("a", b"x")), suffix=".zst")
    with pytest.raises(InputError, match=r"data\.tar\.zst"):
        read_members(deb, "a")
    with pytest.raises(InputError, match="holds no 'b'"):
        read_members(zip_of(tmp_path / "a.whl", ("a", b"x")), "b")
