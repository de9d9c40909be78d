"""Edits change one characteristic and nothing else, as peers' libraries do it."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from skimage.color import hsv2rgb, rgb2hsv
from skimage.restoration import denoise_nl_means

from winnow.curate.visual_edits import (
    EDITS,
    IDENTITY,
    LUMA,
    STRENGTHS,
    brightness,
    calibrate,
    contrast,
    edit,
    from_hsv,
    grey,
    hue,
    luma,
    saturation,
    shape,
    texture,
    to_hsv,
)
from winnow.errors import InputError


def photographs(n=3, side=24, seed=0):
    """Smooth colours with some noise, of whole 255ths."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side + 2), mode="bilinear")
    noisy = (smooth + 0.03 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    return (noisy * 255).round() / 255


def as_image(x):
    return Image.fromarray((x.movedim(0, -1).numpy() * 255).round().astype(np.uint8))


@pytest.mark.parametrize("kind", EDITS)
def test_the_identity_gives_the_image_back_and_the_usual_strength_changes_it_mildly(kind):
    x = photographs(n=1, side=64)
    assert torch.equal(edit(x, kind, IDENTITY[kind]), x)
    changed = edit(x, kind)
    assert changed.shape == x.shape and changed.min() >= 0 and changed.max() <= 1
    assert 0 < (changed - x).abs().mean() < 0.25
    assert torch.equal(changed, edit(x, kind, STRENGTHS[kind]))
    near = edit(x, kind, IDENTITY[kind] + 1e-4)
    assert (near - x).abs().max() < 2e-3


def test_hsv_is_that_of_scikit_image_there_and_back():
    x = photographs()
    x[0, :, 0, 0] = 0.5  # grey
    x[0, :, 0, 1] = 0.0
    pixels = x.movedim(1, -1).numpy().astype(float)
    assert np.allclose(to_hsv(x).movedim(1, -1).numpy(), rgb2hsv(pixels), atol=1e-5)
    assert (from_hsv(to_hsv(x)) - x).abs().max() <= 2 / 255
    assert torch.allclose(hue(x, 1.0), x, atol=1e-5)
    shifted = rgb2hsv(pixels)
    shifted[..., 0] = (shifted[..., 0] + 0.1) % 1
    assert np.allclose(edit(x, "hue").movedim(1, -1).numpy(), hsv2rgb(shifted), atol=1e-4)


def test_hue_at_equal_luma_changes_no_grey_value():
    x = photographs() * 0.4 + 0.3
    turned = hue(x, 0.2, keep_luma=True)
    assert torch.allclose(luma(turned), luma(x), atol=1e-5) and (turned - x).abs().mean() > 0.01
    assert torch.allclose(hue(x, 1.0, keep_luma=True), x, atol=1e-5)
    plain = x[:, :1].expand_as(x)
    assert torch.allclose(hue(plain, 0.3, keep_luma=True), plain, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "peer"),
    [(saturation, ImageEnhance.Color), (contrast, ImageEnhance.Contrast), (brightness, ImageEnhance.Brightness)],
)
@pytest.mark.parametrize("factor", [0.45, 0.8, 1.3])
def test_colour_edits_are_those_of_pillow(change, peer, factor):
    x = photographs(1)
    expected = np.asarray(peer(as_image(x[0])).enhance(factor), float) / 255
    found = change(x, factor).clamp(0, 1)[0].movedim(0, -1).numpy()
    assert np.abs(found - expected).max() <= 2 / 255  # Pillow rounds the grey value, then the result


def test_grey_values_weigh_the_channels():
    assert luma(torch.eye(3)[..., None, None])[:, 0, 0, 0].tolist() == pytest.approx(LUMA)


def test_the_warp_rolls_rows_then_columns_and_moves_pixels_only():
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = x.numpy().copy()
    for i in range(224):
        expected[:, :, i] = np.roll(expected[:, :, i], int(4 * np.sin(np.pi * i * 0.05)), axis=2)
    for j in range(224):
        expected[:, :, :, j] = np.roll(expected[:, :, :, j], int(4 * np.sin(np.pi * j * 0.05)), axis=2)
    found = shape(x, 4.0)
    assert np.array_equal(found.numpy(), expected)
    assert torch.equal(found[0, 0].flatten().sort().values, x[0, 0].flatten().sort().values)
    wide = torch.rand(1, 3, 112, 64)
    rolled = shape(wide, 8.0)
    assert torch.equal(rolled.flatten().sort().values, wide.flatten().sort().values) and not torch.equal(rolled, wide)


@pytest.mark.parametrize("strength", [4.0, 15.0])
def test_texture_is_removed_as_by_scikit_image(strength):
    x = photographs(2, side=20)
    settings = {"patch_size": 7, "patch_distance": 10, "h": strength / 255, "fast_mode": True, "channel_axis": -1}
    for i in range(2):
        pixels = x[i].movedim(0, -1).double().numpy()
        expected = denoise_nl_means(pixels, **settings)
        found = texture(x[i : i + 1].double(), strength)[0].movedim(0, -1).numpy()
        assert np.abs(found - expected).mean() < 0.01


def test_non_local_means_is_its_definition_pixel_by_pixel():
    x = photographs(1, side=15)[:, :, :14, :15].double()
    h, near, reach = 20 / 255, 1, 2
    around = np.pad(x[0].numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
    expected = np.zeros_like(x[0].numpy())
    for i in range(14):
        for j in range(15):
            total, weights = 0.0, 0.0
            for u in range(-reach, reach + 1):
                for v in range(-reach, reach + 1):
                    here = around[:, i + 3 - near : i + 4 + near, j + 3 - near : j + 4 + near]
                    there = around[:, i + u + 3 - near : i + u + 4 + near, j + v + 3 - near : j + v + 4 + near]
                    distance = ((here - there) ** 2).mean() / h**2
                    weight = np.exp(-distance) if distance <= 5 else 0.0
                    total, weights = total + weight * around[:, i + u + 3, j + v + 3], weights + weight
            expected[:, i, j] = total / weights
    assert np.allclose(texture(x, 20.0, patch=3, search=5)[0].numpy(), expected, atol=1e-12)


def test_texture_leaves_a_flat_image_and_smooths_noise_more_than_an_edge():
    flat = torch.full((1, 3, 14, 14), 0.4)
    assert torch.allclose(texture(flat, 10.0), flat, atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    edge = torch.zeros(1, 3, 24, 24)
    edge[..., 12:] = 1.0
    noisy = edge * 0.8 + 0.1 + 0.02 * torch.randn(edge.shape, generator=generator)
    smoothed = texture(noisy, 12.0)
    assert smoothed[..., 2:10].std() < 0.5 * noisy[..., 2:10].std()
    assert (smoothed[..., 13] - smoothed[..., 10]).min() > 0.7


def test_grey_images_are_those_whose_channels_are_equal():
    x = photographs(3)
    x[1] = x[1, :1]
    assert grey(x).tolist() == [False, True, False]


@pytest.mark.parametrize("distance", [0.02, 0.05])
def test_calibrated_edits_move_images_equally_far(distance):
    x = photographs(4, side=32)
    strengths = calibrate(x, distance)
    for kind in ("hue", "saturation", "contrast", "brightness"):
        assert float((edit(x, kind, strengths[kind]) - x).square().mean().sqrt()) == pytest.approx(distance, rel=0.02)
    with pytest.raises(InputError, match="distance is 0"):
        calibrate(x, 0)


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (torch.rand(1, 3, 8, 8), "colour", "edit 'colour' is unknown; use one of hue"),
        (torch.rand(1, 1, 8, 8), "hue", r"shape \(1, 1, 8, 8\)"),
        (torch.rand(3, 8, 8), "hue", r"shape \(3, 8, 8\)"),
        (torch.rand(1, 3, 8, 8) - 0.5, "hue", "values outside 0 to 1"),
        (torch.rand(1, 3, 8, 8) + 0.9, "texture", "values outside 0 to 1"),
        (torch.rand(1, 3, 13, 20), "texture", r"images of \(13, 20\) are too small for texture; it needs 14"),
        (torch.full((1, 3, 8, 8), torch.nan), "hue", "values outside 0 to 1"),
    ],
)
def test_what_cannot_be_edited_is_refused(images, kind, message):
    with pytest.raises(InputError, match=message):
        edit(images, kind)
