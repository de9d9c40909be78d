"""Pictures turn, flip, shift and fade as their numbers say; what lies outside is cut off, not drawn elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import binary_dilation
from skimage.draw import polygon2mask

from winnow.workloads.part_pictures import (
    ANATOMY,
    BACKGROUNDS,
    PARTS,
    SHAPES,
    TEXTURES,
    Backdrop,
    Look,
    Scene,
    _cover,
    outline,
    part_frames,
    picture,
    rgb,
    texture,
)
from winnow.workloads.part_scenes import COLOURED, draw_scenes

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


# Joint, tip, where half its width more would lie, and point: from the centre, in lengths of the animal; y runs down.
UPRIGHT = {
    "tail": ((-0.200, 0.000), (-0.548, -0.093), (0.052, -0.193), (-0.374, -0.047)),
    "leg": ((0.020, 0.100), (0.020, 0.370), (-0.070, 0.000), (0.020, 0.235)),
    "body": ((-0.270, 0.000), (0.270, 0.000), (0.000, 0.320), (0.054, 0.096)),
    "wing": ((0.120, -0.050), (-0.206, -0.202), (0.085, -0.181), (-0.043, -0.126)),
    "crest": ((0.252, -0.260), (0.170, -0.485), (0.122, -0.044), (0.211, -0.372)),
    "head": ((0.150, -0.100), (0.371, -0.255), (0.138, 0.197), (0.244, -0.107)),
    "beak": ((0.352, -0.212), (0.591, -0.191), (-0.010, 0.120), (0.471, -0.202)),
    "eye": ((0.248, -0.204), (0.306, -0.244), (0.040, 0.057), (0.277, -0.224)),
}


@pytest.mark.parametrize("head", [True, False])
def test_an_upright_animal_has_its_parts_where_it_always_had_them(head):
    """Or pictures of one version of the drawing would be of two; a head that is not drawn holds its parts alike."""
    parts = [part for part in PARTS if head or part != "head"]
    bare = Scene({part: Look(0.0, 0.0, 1.0, 0.0, "plain", "round") for part in parts}, WHITE, size=0.8)
    frames, points = part_frames(bare, 100), picture(bare, 100).points
    assert frames.keys() == set(parts)
    for part, frame in frames.items():
        joint, tip, width, point = (50 + 80 * np.array(place) for place in UPRIGHT[part])
        assert frame @ [0, 0, 1] == pytest.approx(joint, abs=0.05)
        assert frame @ [1, 0, 1] == pytest.approx(tip, abs=0.05)
        assert frame @ [0, 1, 0] + 50 == pytest.approx(width, abs=0.05)
        assert points[part] == pytest.approx(tuple(point), abs=0.05)


def test_a_part_turns_about_its_joint_by_as_much_as_its_look_says():
    for part in PARTS:
        own = ANIMAL.looks[part]
        plain, turned = (
            part_frames(replace(ANIMAL, looks=ANIMAL.looks | {part: replace(own, turn=turn)}), SIDE)[part]
            for turn in (0.0, 30.0)
        )
        cos, sin = 3**0.5 / 2, 0.5  # clockwise, as y runs down
        assert turned == pytest.approx(np.column_stack([[[cos, -sin], [sin, cos]] @ plain[:, :2], plain[:, 2]]))


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


@pytest.mark.parametrize("centre", [(3.0, 0.5), (-2.0, 0.5), (0.5, 3.0), (0.5, -2.0), (3.0, 3.0)])
def test_what_lies_outside_is_not_seen_and_its_point_is_told(centre):
    away = picture(replace(ANIMAL, centre=centre), SIDE)
    assert (away.pixels == 255).all() and not any(seen.any() for seen in away.seen.values())
    for point in away.points.values():
        for place, middle in zip(point, centre, strict=True):
            assert np.sign(place - SIDE / 2) == np.sign(middle - 0.5) or middle == 0.5


def test_contrast_and_noise_act_on_the_whole_picture():
    grey = picture(replace(ANIMAL, contrast=0.0), SIDE)
    assert (grey.pixels == 128).all() and grey.seen["body"].any()  # what is seen is told from outlines
    noisy = picture(replace(ANIMAL, contrast=0.0, noise=0.05, noise_seed=1), SIDE).pixels.astype(float)
    assert noisy.mean() == pytest.approx(127.5, abs=0.5) and noisy.std() == pytest.approx(0.05 * 255, rel=0.05)
    again, other = (picture(replace(ANIMAL, contrast=0.0, noise=0.05, noise_seed=s), SIDE).pixels for s in (1, 2))
    assert (again == noisy).all() and (other != noisy).any()


def share_below(limit):
    """How often sin a + sin b of even phases is below: for each a, that of sin b is known in closed form."""
    phase = 2 * np.pi * (np.arange(4000) + 0.5) / 4000
    return float((0.5 + np.arcsin(np.clip(limit - np.sin(phase), -1, 1)) / np.pi).mean())


@pytest.mark.parametrize(("kind", "dark"), [("stripes", 0.5), ("checks", 0.5), ("dots", share_below(0.7))])
def test_textures_are_dark_for_their_share_of_a_period_and_turn_with_their_part(kind, dark):
    along, across = np.meshgrid(np.linspace(0, 1, 400, endpoint=False), np.linspace(0, 1, 400, endpoint=False))
    assert (texture(kind, along, across) < 0.5).mean() == pytest.approx(dark, abs=0.01)
    frame = part_frames(ANIMAL, SIDE)["body"]
    shown = {}
    for angle in (0.0, 90.0):
        body = Look(0.0, 0.0, 1.0, 1.0, kind, "square")
        shown[angle] = picture(Scene({"body": body}, WHITE, size=1.0, angle=angle), 200).pixels
    assert share_of_equal(shown[90.0], np.rot90(shown[0.0], -1)) > 0.99 and frame.shape == (2, 3)
    # Its period is a tenth of the animal's length: 20 pixels along the middle of the body.
    if kind == "stripes":
        row = shown[0.0][100, 60:140, 0].astype(float)
        assert np.abs(row[20:] - row[:-20]).mean() < 20 < np.abs(row[10:] - row[:-10]).mean()


def test_contrast_of_a_look_darkens_the_dark_places_of_its_texture_alone():
    for contrast, least in ((0.0, 1.0), (0.4, 0.6), (1.0, 0.0)):
        body = Look(0.0, 0.0, 1.0, contrast, "stripes", "square")
        shown = picture(Scene({"body": body}, WHITE, size=1.0), 200)
        inside = shown.pixels[shown.seen["body"]] / 255
        assert inside.min() == pytest.approx(least, abs=0.02) and inside.max() == pytest.approx(1, abs=0.01)


def test_a_twig_is_a_bar_of_its_length_in_its_direction():
    for direction in (0.0, np.pi / 2):
        scene = Scene({}, WHITE, occluder=(0.4, 0.6, 0.5, direction), occluder_colour=(0.0, 0.0, 0.0))
        rows, columns = np.nonzero(picture(scene, 200).pixels[..., 0] < 128)
        long, thin = (columns, rows) if direction == 0 else (rows, columns)
        assert np.ptp(long) + 1 == pytest.approx(100, abs=2) and np.ptp(thin) + 1 == pytest.approx(14, abs=2)
        assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((80, 120), abs=0.6)


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
        assert np.allclose(share[..., 0], (np.arange(SIDE) + 0.5) / SIDE, atol=0.01)
        down = picture(replace(empty, backdrop=Backdrop(kind, (first, second), np.pi / 2, 3)), SIDE).pixels
        np.testing.assert_array_equal(down, picture(empty, SIDE).pixels.transpose(1, 0, 2))
    else:
        other = picture(replace(empty, backdrop=Backdrop(kind, (first, second), 0.0, 4)), SIDE).pixels
        assert (other != picture(empty, SIDE).pixels).any()


def shares_of(kind, side, seeds):
    """How far each pixel is from black to white, float[seeds, side, side]."""
    colours = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return np.stack([picture(Scene({}, Backdrop(kind, colours, 0.0, s)), side).pixels[..., 0] for s in seeds]) / 255


def test_blobs_are_eight_discs_that_lie_anywhere_with_soft_edges():
    shares = shares_of("blobs", 48, range(400))
    # A disc of radius r lies over a place away from the border with chance pi r^2; eight miss it all the same.
    radii = np.linspace(0.05, 0.15, 1001)
    covered = 1 - (1 - np.pi * np.square(radii).mean()) ** 8
    for part in (shares[:, 8:24, 8:24], shares[:, 24:40, 8:24], shares[:, 8:24, 24:40], shares[:, 24:40, 24:40]):
        assert part.mean() == pytest.approx(covered, abs=0.025)
    # From none to all within a 24th of the side, which is two pixels.
    assert np.abs(np.diff(shares, axis=1)).max() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(shares, axis=2)).max() == pytest.approx(0.5, abs=0.01)


def test_grain_is_noise_of_a_sixteenth_of_the_side():
    cells = shares_of("grain", 16, range(20))
    assert stats.kstest(cells.ravel(), stats.uniform.cdf).pvalue > 0.001
    finer = shares_of("grain", 160, [0])[0].reshape(16, 10, 16, 10)
    assert np.corrcoef(finer[:, 4:6, :, 4:6].mean(axis=(1, 3)).ravel(), cells[0].ravel())[0, 1] > 0.99


def test_a_slanted_gradient_rises_along_its_direction():
    colours = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    shown = picture(Scene({}, Backdrop("gradient", colours, np.radians(30), 0)), 100).pixels[..., 0] / 255
    x, y = 0.2, -0.1  # from the centre: its share is a half, and what 30 degrees make of both
    assert shown[39, 69] == pytest.approx(0.5 + (x - 0.005) * 3**0.5 / 2 + (y - 0.005) / 2, abs=0.005)
    assert shown[0, 0] == 0 and shown[-1, -1] == 1  # beyond both colours there is no other


def test_unless_told_an_animal_of_seven_tenths_stands_upright_in_the_middle():
    told = Scene(ANIMAL.looks, WHITE, 0.7, 0.0, False, (0.5, 0.5), 1.0, 0.0, 0, None, (0.35, 0.3, 0.25), None, "")
    assert Scene(ANIMAL.looks, WHITE) == told
    assert Look(0.1, 0.2, 0.3, 0.4, "dots", "round") == Look(0.1, 0.2, 0.3, 0.4, "dots", "round", 0.0, 1.0)
    assert replace(told, source="elsewhere") == told and replace(told, group="g") != told


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


def test_a_larger_picture_shows_the_same_scene():
    scene = replace(draw_scenes(1, seed=0)[0], noise=0.0)
    small, large = picture(scene, 64), picture(scene, 128)
    halved = large.pixels.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small.pixels).mean() < 3
    assert small.points["body"] == pytest.approx(np.array(large.points["body"]) / 2)
