"""Annotations are read as they were written, by name, whatever the order in which an image lists them."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads.annotations import CONCEPTS, PARTS_SEEN, concept_labels, masks, part_points, read_annotations
from winnow.workloads.folders import folder_digest, read_image_folder
from winnow.workloads.image_tables import decode_png, encode_png

MASK = np.eye(4, dtype=bool)


def table():
    parts = [
        [{"part": "head", "x": 1.5, "y": 2.5, "visible": True, "mask": encode_png(MASK)}, {"part": "tail"}],
        [],
        [{"part": "tail", "x": 3.0, "y": 0.0, "visible": False}, {"part": "head", "visible": True}],
    ]
    concepts = [
        [{"concept": "red", "present": True, "area": 0.25, "mask": encode_png(MASK)}],
        [{"concept": "blue", "present": True}, {"concept": "red", "present": False}],
        [{"concept": "blue", "present": None}],
    ]
    return pa.table({"parts": pa.array(parts, PARTS_SEEN), "concepts": pa.array(concepts, CONCEPTS)})


def test_points_are_gathered_by_name_and_what_is_unknown_is_not_visible():
    points = part_points(table())
    assert points.names == ("head", "tail")
    assert points.visible.tolist() == [[True, False], [False, False], [False, False]]
    assert points.xy[0, 0].tolist() == [1.5, 2.5] and points.xy[2, 1].tolist() == [3.0, 0.0]
    assert np.isnan(points.xy[0, 1]).all() and np.isnan(points.xy[1]).all() and np.isnan(points.xy[2, 0]).all()


def test_a_slice_of_the_table_gives_the_slice_of_the_annotations():
    points, labels = part_points(table().slice(2)), concept_labels(table().slice(1))
    assert points.names == ("tail", "head") and points.xy[0, 0].tolist() == [3.0, 0.0]
    assert labels.names == ("blue", "red") and labels.present.tolist() == [[True, False], [False, False]]


def test_concepts_are_given_in_the_order_asked_for():
    labels = concept_labels(table(), ["blue", "red"])
    assert labels.present.tolist() == [[False, True], [True, False], [False, False]]
    assert labels.area.tolist() == [[0, 0.25], [0, 0], [0, 0]]
    with pytest.raises(InputError, match="names no 'green'; it has red, blue"):
        concept_labels(table(), ["green"])


def test_masks_are_placed_by_name_and_must_have_the_size_of_the_image():
    found = masks(table(), "concepts", ["blue", "red", "green"], (4, 4))
    assert found.shape == (3, 3, 4, 4) and np.array_equal(found[0, 1], MASK) and found.sum() == 4
    assert np.array_equal(masks(table(), "parts", ["head"], (4, 4))[0, 0], MASK)
    with pytest.raises(InputError, match=r"a mask is \(4, 4\), its image \(5, 4\)"):
        masks(table(), "parts", ["head"], (5, 4))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[{"part": "a"}, {"part": "a"}]], PARTS_SEEN), "names one part twice"),
        (pa.array([[{"part": None}]], PARTS_SEEN), "an entry has no part"),
    ],
)
def test_entries_without_a_name_or_with_one_twice_are_refused(column, message):
    with pytest.raises(InputError, match=message):
        part_points(pa.table({"parts": column}))


def test_images_without_annotations_say_what_to_bring():
    with pytest.raises(InputError, match=r"no column 'parts'; give parts\.parquet beside them"):
        part_points(pa.table({"image_id": [1]}))


@pytest.mark.parametrize("shape", [(5, 7, 1), (3, 3, 3), (4, 6)])
def test_png_gives_back_what_it_was_given(shape):
    generator = np.random.default_rng(0)
    image = generator.random(shape) < 0.5 if len(shape) == 2 else generator.integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(decode_png(encode_png(image)), image) and decode_png(encode_png(image)).dtype == image.dtype
    assert encode_png(image) == encode_png(image.copy())


def test_what_is_no_png_of_eight_bits_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a readable PNG"):
        decode_png(b"\x89PNG nothing more")
    Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a PNG of mode RGBA"):
        decode_png((tmp_path / "a.png").read_bytes())


@pytest.fixture
def birds(tmp_path):
    """Six images in two classes, and a head on each but one."""
    paths = [f"{c}/{i}.png" for c in ("finch", "robin") for i in range(3)]
    for i, path in enumerate(paths):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / path)
    heads = [p for p in paths[::-1] if p != "finch/1.png"]
    rows = {"image": heads, "part": ["head"] * 5, "x": [float(p[-5]) for p in heads], "y": [2] * 5}
    rows["visible"] = [True] * 5
    write_parquet(pa.table(rows), tmp_path / "parts.parquet")
    return tmp_path


def test_files_beside_a_folder_of_images_become_columns(birds):
    found, unreadable = read_image_folder(birds)
    assert not unreadable and found["source"].to_pylist()[1] == "finch/1.png"
    points = part_points(found)
    assert points.visible[:, 0].tolist() == [True, False, True, True, True, True]
    assert points.xy[[0, 2, 3, 4, 5], 0, 0].tolist() == [0, 2, 0, 1, 2]
    assert "concepts" not in found.schema.names


def test_the_digest_of_a_folder_follows_its_annotations(birds):
    before = folder_digest(birds)
    write_parquet(pa.table({"image": ["finch/1.png"], "concept": ["red"]}), birds / "concepts.parquet")
    after = folder_digest(birds)
    (birds / "parts.parquet").unlink()
    assert len({before, after, folder_digest(birds)}) == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"image": ["finch/9.png", "x.png"], "part": ["a", "a"]}, "2 images are not in the folder: finch/9.png, x.png"),
        ({"image": ["finch/0.png"]}, "column 'part' is absent"),
        ({"part": ["a"]}, "column 'image' is absent"),
        ({"image": ["finch/0.png"], "part": [None]}, "column 'part' is absent or has nulls"),
        ({"image": ["finch/0.png"], "part": ["a"], "z": [1]}, "unknown column 'z'; it can have image, part, x, y"),
        ({"image": ["finch/0.png"], "part": ["a"], "x": ["left"]}, "its fields are"),
    ],
)
def test_annotations_that_do_not_fit_name_the_file_and_what_is_wrong(birds, rows, message):
    write_parquet(pa.table(rows), birds / "parts.parquet")
    with pytest.raises(InputError, match=rf"parts\.parquet: .*{message}"):
        read_image_folder(birds)


def test_images_with_places_are_not_resized(birds):
    with pytest.raises(InputError, match="leave out `size`"):
        read_image_folder(birds, size=[4, 4])


def test_entries_of_an_image_are_sorted_by_name(tmp_path):
    rows = {"image": ["a", "b", "a"], "concept": ["z", "q", "c"], "present": [True, True, False]}
    write_parquet(pa.table(rows), tmp_path / "concepts.parquet")
    column = read_annotations(tmp_path, ["b", "c", "a"])["concepts"].to_pylist()
    assert [[e["concept"] for e in entries] for entries in column] == [["q"], [], ["c", "z"]]
