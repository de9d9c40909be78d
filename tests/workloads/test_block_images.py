import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.block_images import block_images, null_block

IMAGES = numpy_generator(0, "images").random((40, 9, 7)).astype(np.float32)
LABELS = np.arange(40) % 3


@given(st.integers(2, 4), st.sampled_from(["random", "top"]), st.integers(0, 50))
def test_the_signal_block_holds_the_image_and_all_others_the_null_block(blocks, position, seed):
    made = block_images(IMAGES, LABELS, seed, position, blocks)
    assert made.x.shape == (40, 9 * blocks, 7) and made.x.dtype == np.float32
    assert made.y.dtype == np.int64 and (made.y == LABELS).all()
    inside = made.inside()
    for i, (top, left, bottom, right) in enumerate(made.signal_box):
        assert (bottom - top, left, right) == (9, 0, 7) and top % 9 == 0
        assert (made.x[i, top:bottom, left:right] == IMAGES[i]).all()
        assert inside[i].sum() == 63 and inside[i, top:bottom].all()
        others = np.delete(made.x[i].reshape(blocks, 9, 7), top // 9, axis=0)
        assert (others == null_block(9, 7)).all()
    tops = set((made.signal_box[:, 0] // 9).tolist())
    assert tops == {0} if position == "top" else tops == set(range(blocks))


def test_places_are_even_and_follow_the_seed():
    images = np.zeros((3000, 8, 8), np.float32)
    first, again, other = (block_images(images, np.zeros(3000, int), s, blocks=3).signal_box for s in (1, 1, 2))
    assert (first == again).all() and not (first == other).all()
    assert np.abs(np.bincount(first[:, 0] // 8) - 1000).max() < 110  # four standard errors


def test_the_null_block_of_a_digit_is_a_square_of_20_pixels_with_its_diagonals():
    block = null_block(28, 28)
    assert block.dtype == np.float32 and set(np.unique(block).tolist()) == {0.0, 1.0}
    square = block[4:24, 4:24]
    assert block.sum() == square.sum() == 4 * 20 - 4 + 2 * 18  # outline, and what the diagonals add inside it
    assert square[0].all() and square[-1].all() and square[:, 0].all() and square[:, -1].all()
    assert np.diag(square).all() and np.diag(square[::-1]).all()
    assert (block == block.T).all() and (block == block[::-1]).all()
    assert null_block(14, 28)[:, 9:19].sum() == null_block(14, 28).sum() > 0  # a square also where the block is none


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: block_images(IMAGES[0], LABELS, 0), "give .n, height, width."),
        (lambda: block_images(IMAGES, LABELS[:3], 0), "3 labels"),
        (lambda: block_images(IMAGES * 255, LABELS, 0), "0 to 1"),
        (lambda: block_images(IMAGES - 1, LABELS, 0), "0 to 1"),
        (lambda: block_images(IMAGES, LABELS, 0, blocks=1), "blocks is 1"),
        (lambda: block_images(IMAGES, LABELS, 0, position="left"), "'left'"),
    ],
)
def test_what_makes_no_blocks_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
