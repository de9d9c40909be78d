import pytest
import torch

from winnow.errors import InputError
from winnow.workloads.digit_pairs import DigitPairs, digit_pairs, rotation


@pytest.fixture
def drawn():
    images = torch.arange(5.0)[:, None, None].expand(5, 1, 3) + torch.tensor([0.0, 0.1, 0.2])
    return images, torch.arange(5), rotation(6, 0)


def test_a_rotation_keeps_lengths_and_is_drawn_anew_for_each_seed():
    turn = rotation(7, 3)
    torch.testing.assert_close(turn @ turn.T, torch.eye(7).double())
    assert turn.dtype == torch.float64 and turn.is_contiguous()
    assert turn.equal(rotation(7, 3)) and not turn.equal(rotation(7, 4))


def test_pairs_are_two_images_side_by_side_turned_back_by_the_transpose(drawn):
    images, labels, turn = drawn
    pairs = digit_pairs(images, labels, 400, turn, 0, "train")
    assert pairs.x.shape == (400, 6) and pairs.x.dtype == torch.float32
    plain = pairs.x.double() @ turn
    expected = torch.cat([images[pairs.digits[:, 0], 0], images[pairs.digits[:, 1], 0]], dim=1).double()
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-5)
    together = pairs.digits[:, 0] * 5 + pairs.digits[:, 1]
    assert len(together.unique()) == 25  # each image beside each


def test_splits_and_seeds_draw_other_pairs(drawn):
    images, labels, turn = drawn
    own = digit_pairs(images, labels, 40, turn, 0, "train").digits
    assert own.equal(digit_pairs(images, labels, 40, turn, 0, "train").digits)
    assert not own.equal(digit_pairs(images, labels, 40, turn, 1, "train").digits)
    assert not own.equal(digit_pairs(images, labels, 40, turn, 0, "test").digits)


def test_coupled_answers_are_sum_and_difference_modulo_the_classes():
    pairs = DigitPairs(torch.zeros(3, 2), torch.tensor([[7, 5], [2, 9], [0, 0]]))
    assert pairs.answers("apart", 10).equal(pairs.digits)
    assert pairs.answers("coupled", 10).tolist() == [[2, 2], [1, 3], [0, 0]]
    assert pairs.answers("coupled", 4).tolist() == [[0, 2], [3, 1], [0, 0]]


def test_a_rotation_of_another_size_is_refused(drawn):
    images, labels, _ = drawn
    with pytest.raises(InputError, match=r"rotation: is \(5, 5\); two images of 3 pixels need twice as many"):
        digit_pairs(images, labels, 4, rotation(5, 0), 0, "train")
