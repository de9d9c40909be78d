"""Rendered animals: pictures show what their annotations say, and classes differ in what they are said to differ in."""

import numpy as np
import pytest

from winnow.curate.images import check_raw_images, curate_images
from winnow.errors import InputError
from winnow.workloads import part_pictures, part_scenes
from winnow.workloads.annotations import concept_labels, masks, part_points
from winnow.workloads.image_tables import image_meta, pixel_array
from winnow.workloads.part_pictures import PARTS
from winnow.workloads.part_scenes import HUES, SKEWED, draw_scenes
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


def test_the_drawing_has_a_version_in_every_key(table, monkeypatch):
    monkeypatch.setattr(part_scenes, "VERSION", 99)
    again = render_parts(side=SIDE, scenes=4, seed=3)
    assert "parts99" in again["source"][0].as_py() and "parts99" in again["group"][0].as_py()
    assert not np.array_equal(pixel_array(again, image_meta(again)), pixel_array(table, image_meta(table))[:4])
    assert part_pictures.OVERSAMPLING == 4
