"""Images go through a table and come back the same, in either column, and what is no image table is named."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet, write_parquet
from winnow.workloads.image_tables import (
    METADATA_KEY,
    ImageMeta,
    decode_png,
    encode_png,
    image_column,
    image_meta,
    metadata_of,
    pixel_array,
    raw_image_table,
)

META = ImageMeta(2, 3, 1, ("a", "b"), "w")


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@given(array_shapes(min_dims=2, max_dims=2, max_side=9), st.sampled_from([None, 1, 3]), st.data())
def test_a_png_holds_what_was_put_in_and_has_one_form(shape, channels, data):
    kind = bool if channels is None else np.uint8
    image = data.draw(arrays(kind, shape if channels is None else (*shape, channels)))
    found = decode_png(encode_png(image))
    np.testing.assert_array_equal(found, image)
    assert found.dtype == image.dtype and encode_png(image.copy()) == encode_png(image)


@settings(max_examples=20)
@given(st.integers(0, 5), st.sampled_from([(64, 3), (3, 64), (65, 2), (2, 65)]), st.sampled_from([1, 3]), st.data())
def test_pixels_come_back_from_either_column_of_a_whole_table_or_a_part(count, sides, channels, data):
    images = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, (count, *sides, channels), np.uint8)
    table = raw_image_table(images, [0] * count, ["s"] * count, ["a"])
    meta = image_meta(table)
    assert meta == ImageMeta(*sides, channels, ("a",)) and meta.column == ("png" if max(sides) > 64 else "pixels")
    assert table.schema.field(meta.column).type == meta.type
    flat = images.reshape(count, meta.pixels)
    np.testing.assert_array_equal(pixel_array(table, meta), flat)
    first, last = sorted((data.draw(st.integers(0, count)), data.draw(st.integers(0, count))))
    np.testing.assert_array_equal(pixel_array(table.slice(first, last - first), meta), flat[first:last])
    parts = pa.concat_tables([table, table.slice(first)])  # several chunks
    np.testing.assert_array_equal(pixel_array(parts, meta), np.concatenate([flat, flat[first:]]))


def test_flat_images_make_the_same_column_as_shaped_ones():
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3, 1)
    assert image_column(images, META).equals(image_column(images.reshape(2, 6), META))


@pytest.mark.parametrize("sides", [(2, 3), (65, 3)])
def test_a_table_without_a_chunk_has_no_images(sides):
    meta = ImageMeta(*sides, 1, ("a",))
    found = pixel_array(pa.table({meta.column: pa.chunked_array([], meta.type)}), meta)
    assert found.shape == (0, sides[0] * sides[1]) and found.dtype == np.uint8


def test_metadata_survive_a_file_also_in_other_scripts(tmp_path):
    meta = ImageMeta(2, 3, 1, ("Möwe", "海燕"), "vögel")
    table = raw_image_table(np.zeros((1, 2, 3, 1), np.uint8), [1], ["s"], meta.classes)
    write_parquet(table, tmp_path / "a.parquet", meta.encode())
    again = read_parquet(tmp_path / "a.parquet")
    assert image_meta(again) == meta
    assert metadata_of(again)[METADATA_KEY.decode()] == meta.encode()[METADATA_KEY.decode()]
    assert metadata_of(pa.table({"x": [1]})) == {}


def test_equal_metadata_are_equal_bytes_that_a_person_can_read():
    (text,) = ImageMeta(2, 3, 1, ("Möwe",), "w").encode().values()
    assert text == '{"channels": 1, "classes": ["Möwe"], "height": 2, "kind": "images", "width": 3, "workload": "w"}'


def test_a_record_has_what_is_known_of_it_and_only_then_a_column():
    images = np.zeros((2, 2, 3, 1), np.uint8)
    plain = raw_image_table(images, [0, None], ["p", "q"], ["a"])
    assert plain.schema.names == ["row", "pixels", "label", "source"] and plain["label"].to_pylist() == [0, None]
    told = raw_image_table(
        images, [0, 0], ["p", "q"], ["a"], present=np.array([True, False]), splits=["test", None], groups=["g", None],
        annotations={"depth": pa.array([1.5, 2.5])},
    )  # fmt: skip
    assert told.schema.names == [*plain.schema.names, "split", "group", "readable", "depth"]
    assert told["readable"].to_pylist() == [True, False] and told["split"].to_pylist() == ["test", None]
    whole = raw_image_table(images, [0, 0], ["p", "q"], ["a"], present=np.array([True, True]))
    assert "readable" not in whole.schema.names


FIELDS = json.loads(META.encode()[METADATA_KEY.decode()])


@pytest.mark.parametrize(
    "fields",
    [
        "no json",
        [],
        FIELDS | {"kind": "text"},
        FIELDS | {"height": 0},
        FIELDS | {"width": 2.5},
        FIELDS | {"channels": "1"},
        FIELDS | {"classes": []},
        FIELDS | {"depth": 3},
        {key: value for key, value in FIELDS.items() if key != "classes"},
        {key: value for key, value in FIELDS.items() if key != "kind"},
    ],
)
def test_metadata_that_describe_no_images_are_named(fields):
    text = fields if isinstance(fields, str) else json.dumps(fields)
    table = pa.table({"x": [1]}).replace_schema_metadata({METADATA_KEY: text})
    with pytest.raises(
        InputError, match=r"birds\.parquet: its metadata does not describe images .*; make it with"
    ) as e:
        image_meta(table, "birds.parquet")
    assert "\n" not in str(e.value)


def test_a_table_without_metadata_is_named():
    with pytest.raises(InputError, match=r"birds: not an image table \(no metadata 'winnow'\); make it with"):
        image_meta(pa.table({"x": [1]}), "birds")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a readable PNG"),
        (b"GIF89a", "not a readable PNG"),
        (encode_png(np.zeros((3, 3, 1), np.uint8))[:45], "not a readable PNG"),
        (png(Image.new("RGBA", (3, 2))), "a PNG of mode RGBA; save it as grey or RGB of 8 bits"),
        (png(Image.new("P", (3, 2))), "a PNG of mode P;"),
        (png(Image.new("I;16", (3, 2))), "a PNG of mode I;16;"),
    ],
)
def test_data_that_is_no_plain_png_is_told_and_the_row_named(data, said):
    with pytest.raises(InputError, match=said) as error:
        decode_png(data)
    assert "\n" not in str(error.value)
    meta = ImageMeta(65, 3, 1, ("a",))
    table = pa.table({"png": pa.array([encode_png(np.zeros((65, 3, 1), np.uint8)), data])})
    with pytest.raises(InputError, match=f"test: column 'png', row 1: {said}"):
        pixel_array(table, meta, "test")


def test_an_image_of_another_shape_is_named():
    meta = ImageMeta(65, 3, 1, ("a",))
    for shape in ((65, 4, 1), (65, 3, 3)):
        table = pa.table({"png": pa.array([encode_png(np.zeros(shape, np.uint8))])})
        with pytest.raises(InputError, match=r"row 0: \(65, .* where all are \(65, 3, 1\); make it again"):
            pixel_array(table, meta)
