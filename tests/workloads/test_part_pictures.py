"""Pictures turn, flip, shift and fade as their numbers say; what lies outside is cut off, not drawn elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from winnow.workloads.part_pictures import (
    BACKGROUNDS,
    PARTS,
    SHAPES,
    Backdrop,
    Look,
    Scene,
    _cover,
    outline,
    part_frames,
    picture,
)

SIDE = 96
WHITE = Backdrop("plain", ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 0.0, 0)


def look(i):
    return Look(i / len(PARTS), 0.9, 0.6, 0.5, "plain", SHAPES[i % len(SHAPES)], turn=5.0 * i, stretch=0.8 + 0.05 * i)


ANIMAL = Scene({part: look(i) for i, part in enumerate(PARTS)}, WHITE)


def share_of_equal(first, second):
    """Share of pixels that are the same but for the rounding of edges."""
    return float((np.abs(first.astype(int) - second.astype(int)).max(axis=-1) <= 40).mean())


def test_a_mirrored_animal_is_its_picture_flipped():
    plain, flipped = picture(ANIMAL, SIDE), picture(replace(ANIMAL, mirrored=True), SIDE)
    assert share_of_equal(flipped.pixels, plain.pixels[:, ::-1]) > 0.99
    assert share_of_equal(flipped.pixels, plain.pixels) < 0.95
    for part in PARTS:
        assert (flipped.seen[part] == plain.seen[part][:, ::-1]).mean() > 0.99
        x, y = plain.points[part]
        assert flipped.points[part] == pytest.approx((SIDE - x, y))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_an_animal_that_turns_by_quarters_is_its_picture_turned(quarters):
    plain, turned = picture(ANIMAL, SIDE), picture(replace(ANIMAL, angle=90.0 * quarters), SIDE)
    assert share_of_equal(turned.pixels, np.rot90(plain.pixels, -quarters)) > 0.99  # clockwise, as y runs down
    for part in PARTS:
        assert (turned.seen[part] == np.rot90(plain.seen[part], -quarters)).mean() > 0.99


def test_an_animal_that_moves_by_whole_pixels_is_the_same_pixels_elsewhere():
    shift = (7, -5)
    moved = picture(replace(ANIMAL, size=0.5, centre=(0.5 + shift[0] / SIDE, 0.5 + shift[1] / SIDE)), SIDE)
    plain = picture(replace(ANIMAL, size=0.5), SIDE)
    np.testing.assert_array_equal(moved.pixels, np.roll(plain.pixels, (shift[1], shift[0]), axis=(0, 1)))


def test_length_and_width_of_a_part_are_those_of_its_frame_and_grow_with_the_animal():
    frames = [part_frames(replace(ANIMAL, size=size), SIDE) for size in (0.4, 0.8)]
    for part in PARTS:
        small, large = (np.linalg.norm(frame[part][:, :2], axis=0) for frame in frames)
        assert large == pytest.approx(2 * small)
        bare = part_frames(replace(ANIMAL, size=0.4, looks={part: replace(ANIMAL.looks[part], stretch=1.0)}), SIDE)
        assert small == pytest.approx(ANIMAL.looks[part].stretch * np.linalg.norm(bare[part][:, :2], axis=0))


def test_parts_of_the_head_stay_on_it_when_it_grows_and_turns():
    head = ANIMAL.looks["head"]
    other = replace(ANIMAL, looks=ANIMAL.looks | {"head": replace(head, stretch=1.3, turn=head.turn + 70)})
    for part in ("eye", "beak", "crest"):
        places = []
        for scene in (ANIMAL, other):
            frames = part_frames(scene, SIDE)
            inverse = np.linalg.inv(frames["head"][:, :2])
            places.append(inverse @ (frames[part][:, 2] - frames["head"][:, 2]))
        assert places[1] == pytest.approx(places[0])
    # And a head that is not drawn holds them all the same.
    without = replace(ANIMAL, looks={part: own for part, own in ANIMAL.looks.items() if part != "head"})
    assert "head" not in part_frames(without, SIDE) and "eye" in picture(without, SIDE).points


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_covered_by_as_much_as_the_polygon_has_of_area(shape):
    corners = outline(shape) * [30, 24] + [20.3, 40.7]
    x, y = corners.T
    area = abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2  # the shoelace formula
    (rows, columns), cover = _cover(corners, SIDE)
    assert cover.sum() == pytest.approx(area, rel=0.1) and cover.min() >= 0 and cover.max() == 1
    assert rows.start <= y.min() and y.max() <= rows.stop and columns.start <= x.min() and x.max() <= columns.stop
    # Half of it outside: what is left of the same.
    (rows, columns), half = _cover(corners - [35.3, 0], SIDE)
    assert columns.start == 0 and 0 < half.sum() < cover.sum() * 0.75


def test_what_lies_outside_is_not_seen_and_its_point_is_told():
    away = picture(replace(ANIMAL, centre=(3.0, 0.5)), SIDE)
    assert (away.pixels == 255).all() and not any(seen.any() for seen in away.seen.values())
    assert all(x > SIDE for x, _ in away.points.values())


def test_contrast_and_noise_act_on_the_whole_picture():
    grey = picture(replace(ANIMAL, contrast=0.0), SIDE)
    assert (grey.pixels == 128).all() and grey.seen["body"].any()  # what is seen is told from outlines
    noisy = picture(replace(ANIMAL, contrast=0.0, noise=0.05, noise_seed=1), SIDE).pixels.astype(float)
    assert noisy.mean() == pytest.approx(127.5, abs=0.5) and noisy.std() == pytest.approx(0.05 * 255, rel=0.05)
    again, other = (picture(replace(ANIMAL, contrast=0.0, noise=0.05, noise_seed=s), SIDE).pixels for s in (1, 2))
    assert (again == noisy).all() and (other != noisy).any()


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backdrops_lie_between_their_two_colours(kind):
    first, second = (0.2, 0.4, 0.9), (0.8, 0.5, 0.1)
    empty = Scene({}, Backdrop(kind, (first, second), 0.0, 3))
    shown = picture(empty, SIDE).pixels / 255
    assert (shown.min(axis=(0, 1)) >= np.minimum(first, second) - 0.005).all()
    assert (shown.max(axis=(0, 1)) <= np.maximum(first, second) + 0.005).all()
    if kind == "plain":
        assert np.allclose(shown, first, atol=0.005)
        return
    # All channels have one share of the way from the first to the second.
    share = (shown - first) / (np.array(second) - first)
    assert np.allclose(share[..., 0], share[..., 2], atol=0.02) and np.ptp(share[..., 0]) > 0.5
    if kind == "gradient":  # direction 0: from left to right, and all rows alike
        assert (np.diff(share[0, :, 0]) > -0.01).all() and np.allclose(share, share[:1], atol=0.01)
        down = picture(replace(empty, backdrop=Backdrop(kind, (first, second), np.pi / 2, 3)), SIDE).pixels
        np.testing.assert_array_equal(down, picture(empty, SIDE).pixels.transpose(1, 0, 2))
    else:
        other = picture(replace(empty, backdrop=Backdrop(kind, (first, second), 0.0, 4)), SIDE).pixels
        assert (other != picture(empty, SIDE).pixels).any()
