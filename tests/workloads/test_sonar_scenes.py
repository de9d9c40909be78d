"""Simulated sonar: shadows against single rays, speckle against its distribution, truth against the picture."""

import numpy as np
import pytest
from scipy import special, stats

from winnow.curate.images import curate_images
from winnow.randomness import numpy_generator
from winnow.workloads import sonar_scenes as module
from winnow.workloads.annotations import masks
from winnow.workloads.image_tables import SPLITS, image_meta, pixel_array
from winnow.workloads.sonar_calibration import Calibration
from winnow.workloads.sonar_scenes import (
    CLASSES,
    Line,
    lit,
    render,
    sea_floor,
    sonar_scenes,
    survey_line,
    view,
)
from winnow.workloads.sonar_shapes import METRES, OBJECTS

MEASURED = Calibration((305.0, -58.0), 30.0, 8.0, 0.4, 0.15, (52.0, 10.0))
FLAT = Line(5.0, 0.01, (0.0, 1.0, 0.0), 0.0, 0.0)


def seen_by_hand(row, altitude, nearest):
    """Whether the straight ray to each point clears all that lies before it."""
    distance = nearest + METRES * np.arange(len(row))
    seen = []
    for j, (x, h) in enumerate(zip(distance, row, strict=True)):
        ray = [altitude + (h - altitude) * d / x for d in distance[:j]]
        seen.append(all(high < over for high, over in zip(row[:j], ray, strict=True)))
    return seen


def test_what_is_seen_is_what_no_ray_misses():
    rng = np.random.default_rng(0)
    height = np.abs(rng.normal(0, 0.3, (5, 20)))
    for altitude, nearest in ((3.0, 4.0), (6.0, 20.0)):
        expected = [seen_by_hand(row, altitude, nearest) for row in height]
        assert lit(height, altitude, nearest).tolist() == expected
    assert lit(np.zeros((2, 30)), 4.0, 10.0).all()


def test_a_wall_throws_a_shadow_as_long_as_similar_triangles_say():
    height = np.zeros((1, 64))
    height[0, 10] = 1.5
    dark = np.flatnonzero(~lit(height, 6.0, 10.0)[0])
    wall = 10.0 + 10 * METRES
    end = wall * 6.0 / (6.0 - 1.5)
    assert dark[0] == 11 and dark[-1] == int((end - 10.0) / METRES + 1e-9) and len(dark) == dark[-1] - dark[0] + 1


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_stand_at_their_place_and_cast_shadows_away_from_the_sonar(kind):
    rng = numpy_generator(0, kind)
    for _ in range(6):
        scene = view(kind, FLAT, 12.0, MEASURED, rng)
        assert scene.object.any() and scene.shadow.any() and not (scene.object & scene.shadow).any()
        for row in np.flatnonzero(scene.shadow.any(1)):
            first = np.flatnonzero(scene.object[row])
            assert len(first) and np.flatnonzero(scene.shadow[row])[0] > first[0]
        flat = scene.pixels[~scene.object & ~scene.shadow].mean()
        assert scene.pixels[scene.shadow].mean() < flat - 40
        assert scene.pixels[scene.shadow].mean() == pytest.approx(52, abs=16)


def test_sizes_are_those_of_the_things():
    areas = {kind: [] for kind in OBJECTS}
    for kind in OBJECTS:
        rng = numpy_generator(1, kind)
        for _ in range(10):
            areas[kind].append(view(kind, FLAT, 12.0, MEASURED, rng).object.sum() * METRES**2)
    assert 0.1 < np.mean(areas["mine"]) < 1.6 and 0.3 < np.mean(areas["victim"]) < 1.4  # square metres
    assert 8 < np.mean(areas["plane"]) < 20 and 8 < np.mean(areas["wreck"]) < 30


def test_a_floor_has_no_object_and_no_shadow_of_one():
    scene = view("floor", Line(4.0, 0.02, (0.04, 1.5, 0.3), 3.0, 0.0), 9.0, MEASURED, numpy_generator(0))
    assert not scene.object.any() and not scene.shadow.any() and scene.pixels.dtype == np.uint8


def test_flat_ground_has_the_level_of_its_range_and_the_speckle_that_was_measured():
    nothing = np.full((64, 64), -np.inf)
    pixels = [
        render(np.zeros((64, 64)), nothing, FLAT, 12.0, MEASURED, numpy_generator(i)).pixels.astype(float)
        for i in range(40)
    ]
    slant = np.hypot(12.0 + METRES * np.arange(64), 5.0)
    mean_log = special.digamma(8) - np.log(8)  # of gamma energy of mean 1
    expected = 305 - 58 * np.log(slant) + 30 * mean_log
    assert np.mean(pixels, axis=(0, 1)) == pytest.approx(expected, abs=1.0)
    rest = np.stack(pixels) - expected
    assert rest.std() == pytest.approx(30 * np.sqrt(special.polygamma(1, 8)), rel=0.05)
    assert stats.skew(rest, axis=None) == pytest.approx(
        special.polygamma(2, 8) / special.polygamma(1, 8) ** 1.5, abs=0.07
    )
    assert (rest[:, :, 1:] * rest[:, :, :-1]).mean() / rest.var() == pytest.approx(0.4, abs=0.03)
    assert (rest[:, 1:] * rest[:, :-1]).mean() / rest.var() == pytest.approx(0.15, abs=0.03)


def test_the_beam_smears_along_the_track_and_more_so_far_away():
    strength = np.zeros((64, 64))
    strength[32] = 1.0
    found = module._beam(strength, np.linspace(5, 80, 64))
    assert found.sum(0) == pytest.approx(np.ones(64), abs=1e-6)
    assert found[32, 0] > 0.99 and found[32, -1] < 0.6
    width = np.sqrt((found[:, -1] * (np.arange(64) - 32) ** 2).sum())
    # Half-power width of .6 degrees at 80 m, in pixels, over 2.355 for a standard deviation.
    assert width == pytest.approx(80 * np.radians(0.6) / METRES / 2.355, rel=0.02)


def test_a_line_s_sea_floor_is_as_rough_and_rippled_as_it_says():
    ground = sea_floor(Line(5.0, 0.03, (0.0, 1.0, 0.0), 0.0, 0.0), numpy_generator(0))
    assert ground.std() == pytest.approx(0.03, rel=1e-6)
    waves = sea_floor(Line(5.0, 1e-9, (0.04, 1.6, 0.0), 0.0, 0.0), numpy_generator(0))
    assert np.ptp(waves) == pytest.approx(0.08, rel=0.05) and np.allclose(waves, waves[0], atol=1e-6)
    assert waves[0, :8] == pytest.approx(waves[0, 8:16], abs=1e-6)  # 1.6 m are eight pixels
    stony = sea_floor(Line(5.0, 1e-9, (0.0, 1.0, 0.0), 8.0, 0.0), numpy_generator(0))
    assert 0.15 < stony.max() < 0.46
    drawn = [survey_line(numpy_generator(i)) for i in range(40)]
    assert all(3 <= line.altitude <= 8 for line in drawn) and len({line.boulders for line in drawn}) == 3


def test_the_table_keeps_lines_whole_and_knows_where_things_are():
    table = sonar_scenes(MEASURED, "sonar_objects", lines=12, scenes=10)
    again = sonar_scenes(MEASURED, "sonar_objects", lines=12, scenes=10)
    assert table.equals(again) and table.num_rows == 120
    assert sonar_scenes(MEASURED, "sonar_objects", lines=3, scenes=10).to_pylist() == table.slice(0, 30).to_pylist()
    truth = masks(table, "concepts", ("object", "shadow"), (64, 64))
    labels = table["label"].to_numpy()
    assert (truth[labels == 0] == 0).all() and truth[labels > 0][:, 0].any((1, 2)).all()
    for row, mask in zip(table["concepts"].to_pylist(), truth, strict=True):
        assert [entry["concept"] for entry in row] == ["object", "shadow"]
        assert [entry["area"] for entry in row] == pytest.approx(mask.mean((1, 2)), abs=1e-6)
        assert [entry["present"] for entry in row] == mask.any((1, 2)).tolist()
    images = pixel_array(table, image_meta(table)).reshape(-1, 64, 64)
    assert images[truth[:, 1]].mean() < images[~truth.any(1)].mean() - 40
    curated = curate_images(table, workload="sonar_objects")
    lines = {s: set(curated.tables[s]["group"].to_pylist()) for s in SPLITS}
    assert [len(lines[s]) for s in SPLITS] == [8, 2, 2] and not lines["train"] & (lines["valid"] | lines["test"])
    assert image_meta(table).classes == CLASSES
