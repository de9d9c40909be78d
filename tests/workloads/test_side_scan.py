"""Sonar recordings against bytes written by the format, and the rule against patches made for it."""

import struct

import numpy as np
import pytest

from winnow.errors import InputError
from winnow.workloads import side_scan as module
from winnow.workloads.side_scan import (
    CLASSES,
    PIXEL,
    PULSE,
    Pings,
    class_of,
    despeckled,
    patch_corners,
    pixels_of,
    read_pings,
    side_scan,
    texture,
)


def ping(samples, depth=18, time=0, tags=((0x80, 7), (0x50, 2), (0x92, 455000), (0x53, 7), (0x57, 3))):
    """One ping as the recorder writes it."""
    data = b"\xc0\xde\xab\x21"
    for tag, value in (*tags, (0x81, time), (0x87, depth), (0xA0, len(samples))):
        one_byte = tag in (0x50, 0x51, 0x53, 0x54, 0x56, 0x57)
        data += bytes([tag]) + (bytes([value]) if one_byte else struct.pack(">i", value))
    return data + b"\x21" + bytes(samples)


def test_pings_are_read_as_they_were_written_and_cut_to_the_shortest():
    data = ping([1, 2, 3, 0x21], depth=18, time=0) + ping([255, 0, 7], depth=-1, time=44)
    found = read_pings(data, "a.SON")
    assert found.samples.tolist() == [[1, 2, 3], [255, 0, 7]] and found.samples.dtype == np.uint8
    assert found.depth.tolist() == [1.8, -0.1] and found.time.tolist() == [0, 44]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.SON: holds no ping"),
        (b"RIFF" + ping([1]), "no ping starts at byte 0"),
        (ping([1, 2]) + b"\xc0\xde", "no ping starts at byte 38"),
        (ping([1, 2, 3])[:-1], "the ping at byte 0 promises 3 samples"),
        (ping([]), "promises 0 samples"),
        (ping([1])[:20], "a header is cut off at byte"),
        (ping([1])[:11], "a header is cut off at byte"),
        (ping([1]).replace(b"\x87", b"\x88"), "has no tag 0x87"),
        (ping([1]).replace(b"\x81", b"\x82"), "has no tag 0x81"),
        (ping([1]).replace(b"\xa0", b"\xa1"), "promises -1 samples"),
    ],
)
def test_a_file_that_is_not_a_recording_is_named(data, message):
    with pytest.raises(InputError, match=message):
        read_pings(data, "a.SON")


def test_pixels_are_means_of_two_samples():
    samples = np.arange(10, dtype=np.uint8).reshape(2, 5)
    assert pixels_of(Pings(samples, None, None)).tolist() == [[0.5, 2.5], [5.5, 7.5]]


def test_texture_is_what_is_left_beside_a_line_over_range():
    ramp = np.tile(100 - 0.7 * np.arange(64), (64, 1))
    assert texture(ramp) == pytest.approx(0, abs=1e-9)
    rows = np.where(np.arange(64) % 2, 1.0, -1.0)[:, None]
    assert texture(ramp + 3 * rows) == pytest.approx(3)


def patch(level, spread=0.0, dark_rows=0):
    calm = np.full((64, 64), float(level)) + spread * np.where(np.arange(64) % 2, 1, -1)[:, None]
    calm[:dark_rows] = 50
    return calm


@pytest.mark.parametrize(
    ("calm", "first", "bottom", "expected"),
    [
        (patch(125, 5), 16, 100, "water"),
        (patch(125, 5), 26, 100, "water"),  # ends at 90 of 100
        (patch(125, 5), 27, 100, None),
        (patch(125, 5), 15, 100, None),  # the pulse still rings
        (patch(125, 15), 16, 100, None),  # something stands in the water
        (patch(150, 3), 115, 100, "smooth"),
        (patch(150, 3), 114, 100, None),  # touches the first return
        (patch(150, 7), 115, 100, "smooth"),
        (patch(150, 8), 115, 100, None),
        (patch(150, 10.01), 115, 100, "rough"),
        (patch(60), 115, 100, "shadow"),
        (patch(150, 3, 52), 115, 100, "shadow"),  # 81 % dark
        (patch(150, 3, 51), 115, 100, None),
        (patch(150, 3, 6), 115, 100, "rough"),  # 9 % dark, and so textured
        (patch(150, 3, 7), 115, 100, None),
        (patch(80), 115, 100, "smooth"),  # not yet dark
    ],
)
def test_the_rule_says(calm, first, bottom, expected):
    assert class_of(calm, first, np.full(64, float(bottom))) == expected


def test_the_rule_heeds_the_shallowest_and_the_deepest_ping():
    bottom = np.full(64, 100.0)
    bottom[5] = 85
    assert class_of(patch(125, 5), 16, bottom) is None
    bottom[5] = 110
    assert class_of(patch(150, 3), 115, bottom) is None


def test_patches_start_behind_the_pulse_overlap_by_half_in_range_and_not_along_the_track():
    found = patch_corners((200, 180))
    assert found == [(p, f) for p in (0, 64, 128) for f in (16, 48, 80, 112)]
    assert patch_corners((63, 180)) == []


def beams(depth_metres=5.0):
    rng = np.random.default_rng(0)
    bottom = int(depth_metres / module.METRES_PER_SAMPLE)
    made = {}
    for name, spread in (("port", 4), ("starboard", 25)):
        samples = np.clip(rng.normal(150, spread, (150, 1000)), 0, 255)
        samples[:, :bottom] = np.clip(rng.normal(125, 8, (150, bottom)), 0, 255)
        rough = np.repeat(np.repeat(rng.normal(0, spread, (19, 125)), 8, 0), 8, 1)[:150]
        samples[:, bottom:] += rough[:, bottom:]
        samples[64:128, 800:] = 40
        made[name] = Pings(np.clip(samples, 0, 255).astype(np.uint8), np.full(150, depth_metres), np.arange(150))
    return made


def test_the_table_holds_every_patch_with_its_block_and_its_distance():
    made = beams()
    table = side_scan(made, "sonar")
    corners = patch_corners((150, 500))
    assert table.num_rows == 2 * len(corners) == 2 * 2 * 14
    rows = table.to_pylist()
    for row, (name, (ping_, first)) in zip(rows, [(name, corner) for name in made for corner in corners], strict=True):
        assert row["source"] == f"sonar/{name}" and row["group"] == f"pings {ping_}"
        assert row["range_m"] == pytest.approx(first * PIXEL, rel=1e-6) and row["altitude_m"] == pytest.approx(5)
        pixels = pixels_of(made[name])
        window = pixels[ping_ : ping_ + 64, first : first + 64]
        assert row["pixels"] == np.rint(window).astype(int).ravel().tolist()
        calm = despeckled(pixels)[ping_ : ping_ + 64, first : first + 64]
        kind = class_of(calm, first, made[name].depth[ping_ : ping_ + 64] / PIXEL)
        assert row["label"] == (None if kind is None else CLASSES.index(kind))
    found = {(row["source"], row["label"]) for row in rows}
    assert {("sonar/port", 0), ("sonar/port", 1), ("sonar/starboard", 2), ("sonar/port", 3)} <= found
    assert ("sonar/port", 2) not in found and ("sonar/starboard", 1) not in found
    assert min(row["range_m"] for row in rows) == pytest.approx(PULSE * PIXEL, rel=1e-6)
