"""A folder of PNG and JPEG files becomes a raw table, whatever lies in it."""

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from winnow.curate.images import check_raw_images, curate_images
from winnow.errors import InputError
from winnow.workloads import folders
from winnow.workloads.folders import folder_digest, read_image_folder
from winnow.workloads.image_tables import image_meta, pixel_array


def grey(seed, height=6, width=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for i in range(12):
        save(root / ("cat" if i < 6 else "dog") / f"{i:02}.png", grey(i))
    return root


def images(table):
    meta = image_meta(table)
    return pixel_array(table, meta).reshape(-1, meta.height, meta.width, meta.channels)


def test_grey_files_are_read_exactly_in_the_order_of_their_paths(pets):
    table, unreadable = read_image_folder(pets)
    assert unreadable == []
    check_raw_images(table, "pets")
    assert image_meta(table).classes == ("cat", "dog")
    assert table["source"].to_pylist() == [f"{'cat' if i < 6 else 'dog'}/{i:02}.png" for i in range(12)]
    assert table["label"].to_pylist() == [0] * 6 + [1] * 6
    assert np.array_equal(images(table)[..., 0], np.stack([grey(i) for i in range(12)]))
    assert "split" not in table.schema.names
    assert curate_images(table, workload="pets").report["kept"] == 12


def test_one_colour_file_makes_all_of_them_colour(pets):
    colour = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    save(pets / "cat/00.png", colour)
    table, _ = read_image_folder(pets)
    assert image_meta(table).channels == 3
    assert np.array_equal(images(table)[0], colour)
    assert np.array_equal(images(table)[1], np.repeat(grey(1)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("mode", "value", "expected", "channels"),
    [
        ("1", 1, [255], 1),
        ("L", 77, [77], 1),
        ("LA", (10, 0), [255], 1),
        ("LA", (10, 255), [10], 1),
        ("I;16", 257 * 77, [77], 1),
        ("RGB", (1, 2, 3), [1, 2, 3], 3),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3], 3),
        ("RGBA", (1, 2, 3, 0), [255, 255, 255], 3),
        ("P", 0, [0, 0, 0], 3),
    ],
)
def test_every_mode_becomes_grey_or_colour(pets, mode, value, expected, channels):
    image = Image.new(mode, (5, 6), value)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(pets / "cat/00.png")
    table, unreadable = read_image_folder(pets)
    assert unreadable == [] and image_meta(table).channels == channels
    assert (images(table)[0] == np.array(expected)).all()


def test_a_colour_jpeg_is_near_its_picture_and_its_orientation_is_followed(pets):
    picture = np.zeros((6, 5, 3), np.uint8)
    picture[:3] = (200, 100, 50)
    exif = Image.Exif()
    exif[0x0112] = 3  # to be shown upside down
    Image.fromarray(picture[::-1, ::-1]).save(pets / "cat/00.JPEG", quality=100, subsampling=0, exif=exif)
    table, _ = read_image_folder(pets)
    row = table["source"].to_pylist().index("cat/00.JPEG")
    assert np.abs(images(table)[row].astype(int) - picture).mean() < 8  # JPEG loses a little at the edge


def test_images_of_differing_size_are_brought_to_one(pets):
    save(pets / "cat/00.png", np.full((70, 90), 33, np.uint8))
    halves = np.zeros((100, 80), np.uint8)
    halves[:50] = 200
    save(pets / "cat/01.png", halves)
    table, _ = read_image_folder(pets, size=[6, 5])
    assert images(table).shape == (12, 6, 5, 1)
    assert (images(table)[0] == 33).all()
    # Antialiased: each pixel is an average of what it covers, mixed only beside the edge.
    assert (images(table)[1][:2] == 200).all() and (images(table)[1][4:] == 0).all()
    assert np.array_equal(images(table)[2, ..., 0], grey(2))


def test_without_a_size_the_file_that_differs_or_is_large_is_named(pets):
    save(pets / "dog/08.png", grey(0, 7, 5))
    with pytest.raises(InputError, match=r"dog/08\.png: is 7 x 5 while images before it are 6 x 5; set `size"):
        read_image_folder(pets)
    save(pets / "cat/00.png", grey(0, 5, 513))
    with pytest.raises(InputError, match=r"cat/00\.png: is 5 x 513, larger than 512 x 512; set `size"):
        read_image_folder(pets)


@pytest.mark.parametrize("size", [[0, 5], [5], [5, 513], [5, 5, 5], [5.0, 5], []])
def test_a_size_that_makes_no_sense_is_refused(pets, size):
    with pytest.raises(InputError, match="give .height, width., each 1 to 512"):
        read_image_folder(pets, size=size)


def png_claiming(width, height):
    """A valid head of a file that claims any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_files_that_cannot_be_read_become_rows_without_pixels_and_a_reason(pets):
    whole = (pets / "cat/00.png").read_bytes()
    (pets / "cat/a_short.png").write_bytes(whole[: len(whole) // 2])
    (pets / "cat/b_empty.png").write_bytes(b"")
    (pets / "cat/c_text.jpg").write_text("hello")
    Image.fromarray(grey(0)).save(pets / "cat/d_gif.gif")
    (pets / "cat/d_gif.gif").rename(pets / "cat/d_gif.png")
    (pets / "cat/e_bomb.png").write_bytes(png_claiming(9000, 9000))
    (pets / "cat/f_bomb.png").write_bytes(png_claiming(60_000, 60_000))
    os.mkfifo(pets / "cat/g_pipe.png")
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    (pets / "cat/h_damaged.png").write_bytes(damaged)
    table, unreadable = read_image_folder(pets)
    found = dict(unreadable)
    assert [name[4] for name in found] == list("abcdefgh")
    assert all("\n" not in reason for reason in found.values())
    assert "claims 9000 x 9000 pixels" in found["cat/e_bomb.png"]
    assert "cannot be decoded" in found["cat/f_bomb.png"]
    assert found["cat/g_pipe.png"] == "not a regular file"
    marked = [s for s, fine in zip(table["source"].to_pylist(), table["readable"].to_pylist(), strict=True) if not fine]
    assert marked == list(found)
    report = curate_images(table, workload="pets").report
    assert report["dropped"]["unreadable"] == 8 and report["kept"] == 12 and report["rows_in"] == 20


def test_hidden_files_other_files_and_links_to_outside_are_not_followed(pets, tmp_path):
    save(tmp_path / "outside/secret.png", grey(99))
    (pets / "cat/link.png").symlink_to(tmp_path / "outside/secret.png")
    (pets / "dog/inside.png").symlink_to(pets / "cat/00.png")
    (pets / "dog/broken.png").symlink_to(pets / "dog/absent.png")
    (pets / "linked").symlink_to(tmp_path / "outside")
    (pets / "dog/linked").symlink_to(tmp_path / "outside")
    save(pets / ".hidden/x.png", grey(0))
    save(pets / "cat/.hidden/x.png", grey(0))
    save(pets / "cat/.x.png", grey(0))
    (pets / "cat/notes.txt").write_text("x")
    table, unreadable = read_image_folder(pets)
    assert dict(unreadable) == {
        "cat/link.png": "symbolic link to outside the folder",
        "dog/broken.png": "not a regular file",
    }
    assert image_meta(table).classes == ("cat", "dog")
    assert table.num_rows == 15
    assert np.array_equal(images(table)[table["source"].to_pylist().index("dog/inside.png"), ..., 0], grey(0))


def test_files_in_no_class_have_no_label_and_deeper_folders_belong_to_their_class(pets):
    save(pets / "lost.png", grey(50))
    save(pets / "dog/more/deep/x.png", grey(51))
    table, _ = read_image_folder(pets)
    labels = dict(zip(table["source"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert labels["lost.png"] is None and labels["dog/more/deep/x.png"] == 1
    assert curate_images(table, workload="pets").report["dropped"]["no_label"] == 1


@pytest.mark.parametrize("valid", ["valid", "val"])
def test_a_level_of_splits_is_honoured(tmp_path, valid):
    for i in range(24):
        split = ("train", "train", valid, "test")[i % 4]
        save(tmp_path / "pets" / split / ("cat" if i < 12 else "dog") / f"{i}.png", grey(i))
    table, _ = read_image_folder(tmp_path / "pets")
    assert image_meta(table).classes == ("cat", "dog")
    named = {"train": "train", valid: "valid", "test": "test"}
    expected = [named[source.split("/")[0]] for source in table["source"].to_pylist()]
    assert table["split"].to_pylist() == expected
    curated = curate_images(table, workload="pets")
    assert {s: t.num_rows for s, t in curated.tables.items()} == {"train": 12, "valid": 6, "test": 6}


def test_classes_named_like_splits_are_classes_where_others_stand_beside_them(pets):
    shutil.copytree(pets / "cat", pets / "train")
    table, _ = read_image_folder(pets)
    assert image_meta(table).classes == ("cat", "dog", "train") and "split" not in table.schema.names


def test_folders_that_hold_no_task_are_named(pets, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_image_folder(tmp_path / "absent")
    with pytest.raises(InputError, match="no such folder"):
        read_image_folder(pets / "cat/00.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no readable PNG or JPEG"):
        read_image_folder(tmp_path / "empty")
    with pytest.raises(InputError, match=r"holds one class \(no sub-folder\)"):
        read_image_folder(pets / "cat")
    for name in ("00", "01", "02"):
        (pets / f"cat/{name}.png").unlink()
    (pets / "cat/03.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="class 'cat' has 2 readable images; it needs 3 or more"):
        read_image_folder(pets)
    shutil.rmtree(pets / "cat")
    with pytest.raises(InputError, match=r"holds one class \(dog\)"):
        read_image_folder(pets)


def test_a_name_that_is_no_utf8_is_read(pets):
    shutil.copy(pets / "cat/00.png", os.fsencode(pets) + b"/cat/\xff.png")
    table, unreadable = read_image_folder(pets)
    assert unreadable == [] and table["source"].to_pylist()[6] == "cat/\ufffd.png"
    folder_digest(pets)


def test_the_digest_follows_all_that_is_read_and_nothing_else(pets, tmp_path):
    before = folder_digest(pets)
    shutil.copytree(pets, tmp_path / "copy/pets")
    os.utime(pets / "cat/00.png", (1, 1))
    (pets / "notes.txt").write_text("x")
    save(pets / ".hidden/x.png", grey(0))
    assert folder_digest(pets) == before == folder_digest(tmp_path / "copy/pets")
    changes = [
        lambda: save(pets / "cat/00.png", grey(77)),
        lambda: (pets / "cat/00.png").rename(pets / "dog/00.png"),
        lambda: (pets / "dog/00.png").unlink(),
        lambda: save(pets / "bird/0.png", grey(5)),
        lambda: (pets / "empty").mkdir(),
        lambda: (pets / "dog/link.png").symlink_to(tmp_path / "copy/pets/cat/00.png"),
    ]
    seen = {before}
    for change in changes:
        change()
        seen.add(folder_digest(pets))
    assert len(seen) == 1 + len(changes)
    with pytest.raises(InputError, match="no such folder"):
        folder_digest(tmp_path / "absent")


def test_the_order_of_the_file_system_does_not_matter(pets, monkeypatch):
    straight, digest = read_image_folder(pets)[0], folder_digest(pets)
    walk = os.walk
    monkeypatch.setattr(folders.os, "walk", lambda *a, **k: ((p, f, n[::-1]) for p, f, n in walk(*a, **k)))
    assert read_image_folder(pets)[0].equals(straight) and folder_digest(pets) == digest
