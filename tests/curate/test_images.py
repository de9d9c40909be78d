"""Curation drops with a reason, counts add up, and no copy reaches two splits."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.images import REASONS, check_raw_images, curate_images, image_ids
from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet, write_parquet
from winnow.workloads.image_tables import (
    SPLITS,
    ImageMeta,
    encode_png,
    image_meta,
    metadata_of,
    pixel_array,
    raw_image_table,
)

CLASSES = ("cat", "dog")


def distinct(count, seed=0, shape=(6, 5, 1)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def raw(images, labels=None, present=None, splits=None, classes=CLASSES, **more):
    labels = [i % len(classes) for i in range(len(images))] if labels is None else labels
    sources = [f"file{i}" for i in range(len(images))]
    return raw_image_table(images, labels, sources, classes, present=present, splits=splits, **more)


def curate(table, **settings):
    return curate_images(table, workload="pets", **settings)


def kept_images(curated):
    """Split -> set of pixel bytes."""
    return {s: {bytes(p) for p in curated.tables[s]["pixels"].to_pylist()} for s in SPLITS}


def reasons(curated):
    return dict(zip(curated.dropped["row"].to_pylist(), curated.dropped["reason"].to_pylist(), strict=True))


def assert_adds_up(table, curated):
    report, total = curated.report, table.num_rows
    sizes = {s: curated.tables[s].num_rows for s in SPLITS}
    assert report["rows_in"] == total == report["kept"] + sum(report["dropped"].values())
    assert report["kept"] == sum(sizes.values()) and {s: report["splits"][s]["kept"] for s in SPLITS} == sizes
    parts = [*report["classes"].values(), report["unlabelled"]]
    for part in [*parts, *report["published_splits"].values()]:
        assert part["rows_in"] == part["kept"] + sum(part["dropped"].values())
    for reason in REASONS:
        assert report["dropped"][reason] == sum(part["dropped"][reason] for part in parts)
        assert report["dropped"][reason] == curated.dropped["reason"].to_pylist().count(reason)
    for name, part in report["classes"].items():
        assert part["kept"] == sum(report["splits"][s]["classes"][name] for s in SPLITS)
        label = list(report["classes"]).index(name)
        for s in SPLITS:
            assert report["splits"][s]["classes"][name] == curated.tables[s]["label"].to_pylist().count(label)
    json.dumps(report, allow_nan=False)


def test_clean_images_are_all_kept_unchanged_with_their_labels():
    images = distinct(40)
    curated = curate(raw(images))
    expected = {image.tobytes(): i % 2 for i, image in enumerate(images)}
    found = {}
    for s in SPLITS:
        table = curated.tables[s]
        assert table.schema.names == ["image_id", "pixels", "label", "quality"]
        assert [f.type for f in table.schema][0::2] == [pa.int64(), pa.int32()]
        assert table["quality"].type == pa.float32() and table["quality"].null_count == table.num_rows
        ids = table["image_id"].to_pylist()
        assert ids == sorted(set(ids))
        found |= {
            bytes(p): label for p, label in zip(table["pixels"].to_pylist(), table["label"].to_pylist(), strict=True)
        }
    assert found == expected
    assert [curated.tables[s].num_rows for s in SPLITS] == [28, 4, 8]
    assert curated.dropped.num_rows == 0
    assert curated.classes.to_pylist() == [{"label": 0, "name": "cat"}, {"label": 1, "name": "dog"}]


def test_each_reason_is_given_once_the_first_that_applies_and_counts_add_up():
    images = distinct(50)
    images[40:44] = 7  # constant: also unlabelled, also unreadable
    images[44] = images[0]  # exact copy, same label
    images[45] = images[1]
    images[46] = images[2] ^ 1  # one grey level away everywhere
    labels = [i % 2 for i in range(50)]
    labels[41] = labels[42] = labels[47] = None
    labels[45] = 0  # image 1 says dog, its copy says cat
    present = np.ones(50, bool)
    present[[42, 48]] = False
    table = raw(images, labels, present)
    curated = curate(table)
    near = (
        2
        if image_ids(images[[2]].reshape(1, -1), image_meta(table))[0]
        > image_ids(images[[46]].reshape(1, -1), image_meta(table))[0]
        else 46
    )
    assert reasons(curated) == {
        1: "conflicting_label",
        45: "conflicting_label",
        near: "near_duplicate",
        40: "constant",
        41: "no_label",
        42: "unreadable",
        43: "constant",
        44: "exact_duplicate",
        47: "no_label",
        48: "unreadable",
    }
    assert curated.report["conflicting_images"] == 1
    assert curated.report["near_duplicates"] == {"clusters": 1, "rows": 2, "largest": 2, "mixed_labels": 0}
    assert_adds_up(table, curated)
    dropped = {row["row"]: row for row in curated.dropped.to_pylist()}
    assert dropped[44]["kept"] == dropped[44]["image_id"] and dropped[44]["source"] == "file44"
    assert dropped[near]["kept"] not in (None, dropped[near]["image_id"])
    assert dropped[42]["image_id"] is None and dropped[42]["kept"] is None and dropped[42]["label"] is None
    assert dropped[45]["kept"] is None and dropped[45]["label"] == 0


def test_an_image_without_a_label_goes_also_where_there_is_a_single_class():
    curated = curate(raw(distinct(20), [0] * 19 + [None], classes=("cat",)))
    assert reasons(curated) == {19: "no_label"}
    assert curated.report["unlabelled"]["rows_in"] == 1 and curated.report["classes"]["cat"]["kept"] == 19


def test_near_duplicates_of_differing_label_are_counted():
    images = distinct(30)
    images[29] = images[0] ^ 1
    curated = curate(raw(images))
    assert curated.report["near_duplicates"]["mixed_labels"] == 1
    assert curated.report["dropped"]["near_duplicate"] == 1


def test_the_lowest_hash_of_a_cluster_stays_and_distance_zero_keeps_all_but_exact_copies():
    images = distinct(30)
    images[20:30] = images[0]
    images[np.arange(20, 30), 0, 0, 0] ^= np.arange(1, 11, dtype=np.uint8)
    table = raw(images, [0] * 10 + [1] * 10 + [0] * 10)
    ids = image_ids(images.reshape(30, -1), image_meta(table))
    cluster = [0, *range(20, 30)]
    curated = curate(table)
    assert set(reasons(curated)) == {i for i in cluster if ids[i] != min(ids[cluster])}
    assert set(curated.dropped["kept"].to_pylist()) == {min(ids[cluster])}
    assert curate(table, near_duplicate_distance=0).dropped.num_rows == 0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_order_of_rows_copies_and_noise_never_let_an_image_reach_two_splits(data):
    images = distinct(30)
    picks = data.draw(st.lists(st.integers(0, 29), max_size=25))
    noise = data.draw(st.lists(st.integers(0, 1), min_size=len(picks), max_size=len(picks)))
    everything = np.concatenate([images, images[picks] ^ np.array(noise, np.uint8).reshape(-1, 1, 1, 1)])
    labels = [i % 2 for i in [*range(30), *picks]]
    order = data.draw(st.permutations(range(len(everything))))
    straight = curate(raw(everything, labels))
    shuffled = curate(raw(everything[order], [labels[i] for i in order]))
    assert all(straight.tables[s].equals(shuffled.tables[s]) for s in SPLITS)
    assert straight.report == shuffled.report
    assert_adds_up(raw(everything, labels), straight)
    kept = np.concatenate([pixel_array(straight.tables[s], image_meta(straight.tables[s])) for s in SPLITS])
    distance = np.sqrt(((kept[:, None].astype(float) - kept[None]) ** 2).mean(2)) / 255
    assert len(kept) == 30 and (distance[~np.eye(30, dtype=bool)] > 0.02).all()


def test_a_smaller_limit_gives_a_subset_of_each_split():
    table = raw(distinct(60))
    whole, some, few = curate(table), curate(table, limit=5), curate(table, limit=2)
    for s in SPLITS:
        assert kept_images(few)[s] < kept_images(some)[s] < kept_images(whole)[s]
        assert few.tables[s].num_rows == 2
    assert few.report["dropped"]["beyond_limit"] == 54
    assert_adds_up(table, few)


def test_another_salt_changes_every_split_and_shares_are_followed():
    table = raw(distinct(60))
    one, other = curate(table, split_salt="a"), curate(table, split_salt="b")
    assert all(kept_images(one)[s] != kept_images(other)[s] for s in SPLITS)
    halves = curate(table, fractions=(0.5, 0.3, 0.2))
    assert [halves.tables[s].num_rows for s in SPLITS] == [30, 18, 12]


def test_a_published_test_split_is_kept_whole_and_valid_is_cut_from_train():
    images = distinct(100)
    published = ["test" if i >= 80 else "train" for i in range(100)]
    curated = curate(raw(images, splits=published))
    assert kept_images(curated)["test"] == {image.tobytes() for image in images[80:]}
    assert [curated.tables[s].num_rows for s in SPLITS] == [70, 10, 20]
    counts = {s: (c["rows_in"], c["kept"]) for s, c in curated.report["published_splits"].items()}
    assert counts == {"train": (80, 80), "test": (20, 20)}


def test_a_class_of_which_only_the_published_test_split_has_images_is_refused():
    table = raw(distinct(40), [0] * 30 + [1] * 10, splits=["train"] * 30 + ["test"] * 10)
    with pytest.raises(InputError, match="class 'dog' has no image left to train on"):
        curate(table)


def test_of_copies_in_published_splits_the_one_in_test_stays_then_the_one_in_valid():
    images = distinct(60)
    published = ["train"] * 40 + ["valid"] * 10 + ["test"] * 10
    images[50], images[51] = images[0], images[40]  # test repeats train and valid exactly
    images[41], images[49] = images[1] ^ 1, images[5]  # valid repeats train
    images[52] = images[42] ^ 1  # test nearly repeats valid
    table = raw(images, [0] * 30 + [1] * 10 + [0] * 20, splits=published)
    curated = curate(table)
    assert reasons(curated) == {
        0: "exact_duplicate",
        5: "exact_duplicate",
        40: "exact_duplicate",
        1: "near_duplicate",
        42: "near_duplicate",
    }
    assert_adds_up(table, curated)


def test_a_published_train_alone_is_cut_into_all_three():
    curated = curate(raw(distinct(40), splits=["train"] * 40))
    assert [curated.tables[s].num_rows for s in SPLITS] == [28, 4, 8]


def split_of_rows(curated, images):
    """Split of every image, None where it was dropped."""
    kept = kept_images(curated)
    return [next((s for s in SPLITS if image.tobytes() in kept[s]), None) for image in images]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 11), max_size=36), st.randoms(use_true_random=False))
def test_a_group_never_straddles_splits_whatever_the_order_of_rows(numbers, random):
    groups = [f"line{n}" for n in [*range(12), *range(12), *numbers]]
    images, labels = distinct(len(groups)), [i // 12 % 2 for i in range(len(groups))]
    curated = curate(raw(images, labels, groups=groups))
    place = {}
    for group, split in zip(groups, split_of_rows(curated, images), strict=True):
        assert place.setdefault(group, split) == split
    # Twelve groups, all of the stratum 0: the exact cuts of 12 keys.
    assert sorted(place.values()) == ["test"] * 2 + ["train"] * 8 + ["valid"] * 2
    order = list(range(len(groups)))
    random.shuffle(order)
    again = curate(raw(images[order], [labels[i] for i in order], groups=[groups[i] for i in order]))
    assert all(again.tables[s].equals(curated.tables[s]) for s in SPLITS)


def test_images_without_a_group_go_each_for_itself_as_if_there_were_no_groups():
    images = distinct(60)
    plain, empty = curate(raw(images)), curate(raw(images, groups=[None] * 60))
    assert kept_images(plain) == kept_images(empty)
    some = curate(raw(images, groups=["line"] * 10 + [None] * 50))
    assert len(set(split_of_rows(some, images)[:10])) == 1
    assert len(set(split_of_rows(some, images)[10:])) == 3


def test_groups_and_annotations_travel_with_their_images():
    images = distinct(40)
    groups = [None if i % 5 == 0 else f"line{i // 4}" for i in range(40)]
    boxes = pa.array([[i, i + 1] for i in range(40)], pa.list_(pa.int32(), 2))
    table = raw(images, groups=groups, annotations={"box": boxes, "range_m": pa.array(range(40), pa.float32())})
    curated = curate(table)
    where = {image.tobytes(): i for i, image in enumerate(images)}
    for split in SPLITS:
        columns = ["image_id", "pixels", "label", "quality", "group", "box", "range_m"]
        assert curated.tables[split].schema.names == columns
        for row in curated.tables[split].to_pylist():
            i = where[bytes(row["pixels"])]
            assert (row["group"], row["box"], row["range_m"]) == (groups[i], [i, i + 1], i)


def test_a_group_that_a_published_split_divides_is_refused():
    published = ["train"] * 30 + ["test"] * 10
    groups = [f"a{i % 5}" for i in range(29)] + ["b"] * 11
    with pytest.raises(InputError, match="raw images: group 'b' lies in train and in test; publish it in one split"):
        curate(raw(distinct(40), splits=published, groups=groups))
    groups[29] = "a0"
    tables = curate(raw(distinct(40), splits=published, groups=groups)).tables
    assert set(tables["test"]["group"].to_pylist()) == {"b"}
    assert not set(tables["train"]["group"].to_pylist()) & set(tables["valid"]["group"].to_pylist())


def test_image_ids_are_the_documented_hash_and_know_the_shape():
    from hashlib import blake2b

    pixels = distinct(3).reshape(3, -1)
    tall, wide = ImageMeta(6, 5, 1, CLASSES), ImageMeta(5, 6, 1, CLASSES)
    prefix = b"".join(n.to_bytes(4, "little") for n in (6, 5, 1))
    expected = [int.from_bytes(blake2b(prefix + p.tobytes(), digest_size=8).digest(), "big") >> 1 for p in pixels]
    assert image_ids(pixels, tall).tolist() == expected
    assert not np.isin(image_ids(pixels, wide), expected).any()
    assert np.array_equal(image_ids(np.asfortranarray(pixels), tall), expected)


def test_tables_survive_parquet_with_their_description(tmp_path):
    curated = curate(raw(distinct(30, shape=(4, 3, 3))))
    write_parquet(curated.tables["test"], tmp_path / "t.parquet", curated.metadata)
    table = read_parquet(tmp_path / "t.parquet")
    assert image_meta(table) == ImageMeta(4, 3, 3, CLASSES, "pets")
    assert table.equals(curated.tables["test"])


def replaced(table, column, values):
    i = table.schema.get_field_index(column)
    return table.set_column(i, column, values)


def without_metadata(table):
    return table.replace_schema_metadata(None)


def with_inner_null(table):
    rows = table["pixels"].to_pylist()
    rows[1][2] = None
    return replaced(table, "pixels", pa.array(rows, pa.list_(pa.uint8(), 30)))


def without_an_image(table):
    rows = table["pixels"].to_pylist()
    rows[1] = None
    return replaced(table, "pixels", pa.array(rows, pa.list_(pa.uint8(), 30)))


def marked(*readable):
    return lambda table: table.append_column("readable", pa.array(readable))


def labelled(*labels):
    return lambda table: replaced(table, "label", pa.array(labels, pa.int32()))


def described(text):
    return lambda table: table.replace_schema_metadata({"winnow": text})


def shaped(height, width):
    return lambda table: table.replace_schema_metadata(ImageMeta(height, width, 1, CLASSES).encode())


def numbered(*rows):
    return lambda table: replaced(table, "row", pa.array(rows, pa.int64()))


def published(*splits):
    return lambda table: table.append_column("split", pa.array(splits))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_metadata, "not an image table"),
        (described("{}"), "does not describe images"),
        (described("["), "does not describe images"),
        (shaped(0, 5), "does not describe images"),
        (shaped(7, 5), r"column 'pixels' is .*\[30\]"),
        (lambda t: t.drop_columns(["label"]), "no column 'label'; it has row, pixels, source"),
        (lambda t: replaced(t, "label", pa.array([0] * 20)), "column 'label' is int64; it must be int32"),
        (labelled(*[0] * 7, 2, *[1] * 12), "column 'label', row 7: 2; it must be null or 0 to 1"),
        (labelled(*[-1] * 20), "column 'label', row 0: -1"),
        (labelled(*[0] * 5, 2, -7, *[1] * 13), "column 'label', row 5: 2"),
        (numbered(*range(19), None), "column 'row', row 19: None"),
        (numbered(0, *range(19)), "column 'row' repeats"),
        (published(*["dev"] * 20), "column 'split', row 0: 'dev'; it must be one of train, valid, test"),
        (published(*["train"] * 19, None), "column 'split', row 19: None"),
        (published(*["test"] * 20), "has no 'train'"),
        (lambda t: t.append_column("group", pa.array(range(20))), "column 'group' is int64; it must be string"),
        (lambda t: t.slice(0, 0), "no rows"),
        (with_inner_null, "missing value"),
        (without_an_image, "missing value"),
        (marked(*[1] * 20), "column 'readable' is int64; it must be bool"),
        (marked(*[True] * 19, None), "column 'readable', row 19: None"),
        (lambda t: t.slice(0, 2), "no image is left for"),
        (labelled(*[0] * 20), "class 'dog' has no image left to train on"),
        (labelled(*[None] * 20), "no image is left for train"),
    ],
)
def test_a_table_that_cannot_be_curated_is_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        curate(change(raw(distinct(20))))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("pets: raw images")


def test_a_sliced_table_is_read_where_it_starts():
    table = raw(distinct(40))
    meta = check_raw_images(table, "x")
    assert np.array_equal(pixel_array(table.slice(5, 9), meta), pixel_array(table, meta)[5:14])


def test_what_cannot_be_read_is_still_so_after_parquet(tmp_path):
    present = np.ones(40, bool)
    present[7] = False
    table = raw(distinct(40), present=present)
    write_parquet(table, tmp_path / "raw.parquet", metadata_of(table))
    again = read_parquet(tmp_path / "raw.parquet")
    assert again["readable"].to_numpy().tolist() == present.tolist()
    assert check_raw_images(again, "x") == check_raw_images(table, "x")


def test_images_above_64_pixels_travel_as_png_and_are_curated_like_others():
    images = distinct(20, shape=(70, 66, 3))
    images[10] = images[0]
    images[11] = 9
    table = raw(images)
    assert "pixels" not in table.schema.names and table.schema.field("png").type == pa.binary()
    curated = curate(table, near_duplicate_distance=0.0)
    assert reasons(curated) == {10: "exact_duplicate", 11: "constant"} or reasons(curated) == {
        0: "exact_duplicate",
        11: "constant",
    }
    meta = image_meta(table)
    stored = dict(zip(image_ids(images.reshape(20, -1), meta).tolist(), images, strict=True))
    for split in SPLITS:
        found = curated.tables[split]
        pixels = pixel_array(found, meta).reshape(-1, 70, 66, 3)
        assert all(np.array_equal(p, stored[i]) for p, i in zip(pixels, found["image_id"].to_pylist(), strict=True))
        assert set(found["png"].to_pylist()) <= set(table["png"].to_pylist())
    small = distinct(20, shape=(64, 64, 3))
    assert "png" not in raw(small).schema.names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda png: [None, *png[1:]], "column 'png' has a missing value"),
        (lambda png: [b"junk", *png[1:]], "column 'png', row 0: not a readable PNG"),
        (lambda png: [png[0][:200], *png[1:]], "column 'png', row 0: not a readable PNG"),
        (lambda png: [encode_png(np.zeros((3, 3, 3), np.uint8)), *png[1:]], r"row 0: \(3, 3, 3\) where all are \(70,"),
    ],
)
def test_a_png_that_is_absent_damaged_or_of_another_shape_is_named(change, message):
    table = raw(distinct(20, shape=(70, 66, 3)))
    png = pa.array(change(table["png"].to_pylist()), pa.binary())
    with pytest.raises(InputError, match=message):
        curate(table.set_column(table.schema.get_field_index("png"), "png", png))
