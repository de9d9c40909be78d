"""Rendered animals: pictures show what their annotations say, and classes differ in what they are said to differ in."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.draw import polygon2mask

from winnow.curate.images import check_raw_images, curate_images
from winnow.errors import InputError
from winnow.workloads import part_pictures, part_scenes
from winnow.workloads.annotations import concept_labels, masks, part_points
from winnow.workloads.image_tables import image_meta, pixel_array
from winnow.workloads.part_pictures import ANATOMY, PARTS, SHAPES, TEXTURES, outline, part_frames, picture, rgb, texture
from winnow.workloads.part_scenes import COLOURED, HUES, SKEWED, draw_scenes
from winnow.workloads.parts import CONCEPT_NAMES, nearest, probe_set, render_parts, scene_table

SIDE = 96


@pytest.fixture(scope="module")
def table():
    return render_parts(side=SIDE, scenes=32, seed=3)


def test_equal_seeds_give_equal_bytes_and_a_smaller_set_is_the_beginning_of_a_larger(table):
    assert render_parts(side=SIDE, scenes=32, seed=3).equals(table)
    assert render_parts(side=SIDE, scenes=7, seed=3).equals(table.slice(0, 7))
    other = render_parts(side=SIDE, scenes=32, seed=4)
    assert not set(other["png"].to_pylist()) & set(table["png"].to_pylist())
    assert not set(other["group"].to_pylist()) & set(table["group"].to_pylist())


def test_the_table_is_a_raw_image_table_that_curation_takes_and_splits_by_block(table):
    check_raw_images(table, "parts")
    assert image_meta(table).classes == tuple(f"kind{i}" for i in range(1, 9))
    assert table["label"].to_pylist() == [i // 2 % 8 for i in range(32)]
    curated = curate_images(render_parts(side=SIDE, scenes=64), workload="parts", fractions=[0.5, 0.25, 0.25])
    groups = [set(curated.tables[s]["group"].to_pylist()) for s in ("train", "valid", "test")]
    assert [len(g) for g in groups] == [16, 8, 8] and len(set.union(*groups)) == 32
    assert curated.tables["train"].schema.names[-3:] == ["factors", "parts", "concepts"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", PARTS)
def test_the_point_of_a_part_lies_inside_it_whatever_its_shape(part, shape):
    corners = outline(shape)
    assert corners.min(axis=0).tolist() == pytest.approx([0, -0.5], abs=0.02)
    assert corners.max(axis=0).tolist() == pytest.approx([1, 0.5], abs=0.02)
    grid = 400
    inside = polygon2mask((grid, grid), (corners + [0, 0.5]) * (grid - 1))
    x, y = ANATOMY[part].point
    assert inside[int(x * (grid - 1)), int((y + 0.5) * (grid - 1))]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_seen_where_its_outline_lies(part, mirrored):
    """Against the polygon fill of scikit-image, for an animal that has nothing in front of that part."""
    scene = draw_scenes(1, seed=5, planted="absence", part="crest")[0]
    look = next(iter(draw_scenes(1, seed=5)[0].looks.values()))
    alone = replace(scene, looks={part: replace(look, shape="forked")}, mirrored=mirrored, centre=(0.5, 0.5))
    frame = part_frames(alone, SIDE)[part]
    corners = outline("forked") @ frame[:, :2].T + frame[:, 2]
    fine = 8
    mask = polygon2mask((SIDE * fine, SIDE * fine), corners[:, ::-1] * fine - 0.5)
    cover = mask.reshape(SIDE, fine, SIDE, fine).mean(axis=(1, 3))
    seen = picture(alone, SIDE).seen[part]
    # Pillow's polygons include their border, which is an eighth of a pixel on each side.
    assert seen[cover >= 0.75].all() and not seen[cover < 0.1].any() and (cover >= 0.75).any()
    left, right = frame[:, :2].T
    assert np.isclose(left @ right, 0, atol=1e-6)


def test_painting_order_and_twig_hide_what_lies_below():
    scene = next(s for s in draw_scenes(40, seed=0) if "wing" in s.looks)
    bare = replace(scene, occluder=None)
    without_wing = replace(bare, looks={p: look for p, look in bare.looks.items() if p != "wing"})
    hidden = picture(without_wing, SIDE).seen["body"] & ~picture(bare, SIDE).seen["body"]
    wing = binary_dilation(picture(bare, SIDE).seen["wing"])  # where an edge halves a pixel, neither is seen
    assert hidden.sum() > 10 and not (hidden & ~wing).any()
    twig = replace(bare, occluder=(0.5, 0.5, 0.9, 0.3), occluder_colour=(1.0, 0.0, 1.0), noise=0.0, contrast=1.0)
    shown = picture(twig, SIDE)
    magenta = (shown.pixels == [255, 0, 255]).all(axis=2)
    assert magenta.sum() > 100 and not any((seen & magenta).any() for seen in shown.seen.values())
    assert not (np.add.reduce(list(shown.seen.values()), dtype=int) > 1).any()


def test_annotations_say_what_the_pictures_show(table):
    points, labels = part_points(table), concept_labels(table)
    assert points.names == PARTS and labels.names == CONCEPT_NAMES
    seen = masks(table, "parts", PARTS, (SIDE, SIDE))
    shown = masks(table, "concepts", CONCEPT_NAMES, (SIDE, SIDE))
    assert np.allclose(shown.mean(axis=(2, 3)), labels.area) and ((labels.area > 0) == labels.present).all()
    for i, k in np.argwhere(points.visible):
        x, y = points.xy[i, k]
        assert seen[i, k, int(y), int(x)]
    rows = table["parts"].to_pylist()
    for i, row in enumerate(rows):
        for k, entry in enumerate(row):
            if entry["box"] is not None:
                left, top, right, bottom = entry["box"]
                inside = np.zeros((SIDE, SIDE), bool)
                inside[top:bottom, left:right] = True
                assert seen[i, k].any() and not (seen[i, k] & ~inside).any()
                assert seen[i, k][top].any() and seen[i, k][:, right - 1].any()
            if entry["hue"] is not None and labels.present[i, k]:
                for concept in (f"{entry['part']} {nearest(entry['hue'])}", f"hue {nearest(entry['hue'])}"):
                    assert not (seen[i, k] & ~shown[i, CONCEPT_NAMES.index(concept)]).any()
    textures = [i for i, name in enumerate(CONCEPT_NAMES) if name.startswith("texture")]
    assert (labels.present[:, textures].sum(axis=1) == 1).all()


def test_colours_of_parts_are_those_that_the_annotations_name():
    scene = replace(draw_scenes(1, seed=2, planted="hue")[0], noise=0.0, contrast=1.0)
    shown = picture(scene, 128)
    from skimage.color import rgb2hsv

    hsv = rgb2hsv(shown.pixels)
    for part in COLOURED:
        if part in scene.looks:
            inner = shown.seen[part]
            off = (hsv[inner][:, 0] - scene.looks[part].hue + 0.5) % 1 - 0.5
            assert np.median(np.abs(off)) < 0.02


def test_rgb_is_that_of_scikit_image():
    from skimage.color import hsv2rgb

    hsv = np.random.default_rng(0).random((200, 3))
    found = np.array([rgb(h, s, v) for h, s, v in hsv])
    assert np.allclose(found, hsv2rgb(hsv[None])[0], atol=1e-12)


@pytest.mark.parametrize("kind", TEXTURES)
def test_textures_repeat_with_their_period_and_only_plain_is_flat(kind):
    along, across = np.random.default_rng(0).uniform(-3, 3, (2, 500))
    light = texture(kind, along, across)
    assert light.min() >= 0 and light.max() <= 1
    assert np.allclose(light, texture(kind, along + 1, across - 2))
    assert (light.min() < 0.1) == (kind != "plain") and light.max() > 0.9
    if kind == "stripes":
        assert np.allclose(light, texture(kind, along, across + 0.3))


def test_probe_sets_of_other_names_share_no_picture_and_follow_their_distribution():
    a, b = probe_set("a", 200, 0, side=16), probe_set("b", 200, 0, side=16, shift=1.0)
    assert a["label"].null_count == b["label"].null_count == 200
    assert not set(map(bytes, a["pixels"].to_pylist())) & set(map(bytes, b["pixels"].to_pylist()))
    first = [part["hue"] for row in a["parts"].to_pylist() for part in row if part["hue"] is not None]
    second = [part["hue"] for row in b["parts"].to_pylist() for part in row if part["hue"] is not None]
    shares = [[np.mean([nearest(h) == name for h in hues]) for name in HUES] for hues in (first, second)]
    assert np.allclose(shares[0], 1 / 6, atol=0.04)
    assert np.allclose(shares[1], np.array(SKEWED.hue) / 13, atol=0.05)
    missing = [sum(part["x"] is None for row in t["parts"].to_pylist() for part in row) for t in (a, b)]
    assert missing[0] / 1200 == pytest.approx(0.1, abs=0.03) and missing[1] / 1200 == pytest.approx(0.25, abs=0.04)


def test_a_concept_that_hardly_shows_is_absent(table, monkeypatch):
    scenes = draw_scenes(8, seed=3)
    from winnow.workloads import parts

    monkeypatch.setattr(parts, "LEAST_SEEN", 0.01)
    area = concept_labels(scene_table(scenes, SIDE)).area
    full = concept_labels(table).area[:8]
    assert np.array_equal(area, np.where(full >= 0.01, full, 0)) and (area != full).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"planted": "colour"}, "planted is 'colour'; use one of hue"),
        ({"planted": "hue", "part": "eye"}, "part is 'eye'; a planted factor belongs to one of tail"),
        ({"scenes": 0}, "scenes is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        render_parts(side=32, **arguments)


def test_a_larger_picture_shows_the_same_scene():
    scene = replace(draw_scenes(1, seed=0)[0], noise=0.0)
    small, large = picture(scene, 64), picture(scene, 128)
    halved = large.pixels.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small.pixels).mean() < 3
    assert small.points["body"] == pytest.approx(np.array(large.points["body"]) / 2)


def test_the_drawing_has_a_version_in_every_key(table, monkeypatch):
    monkeypatch.setattr(part_scenes, "VERSION", 99)
    again = render_parts(side=SIDE, scenes=4, seed=3)
    assert "parts99" in again["source"][0].as_py() and "parts99" in again["group"][0].as_py()
    assert not np.array_equal(pixel_array(again, image_meta(again)), pixel_array(table, image_meta(table))[:4])
    assert part_pictures.OVERSAMPLING == 4
