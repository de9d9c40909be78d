"""Chances after temperature, top-k, top-p and masks are those of their definitions; a row ends for the right reason."""

import numpy as np
import pytest

from winnow.errors import InputError
from winnow.models.sampling import Row, shaped


def test_shapes_of_distributions_are_those_of_their_definitions():
    chances = np.array([0.1, 0.5, 0.15, 0.25])
    logs = np.log(chances)
    assert shaped(logs, 1.0, 1.0, 0, None) == pytest.approx(chances)
    assert shaped(logs, 1.0, 1.0, 2, None) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert shaped(logs, 1.0, 0.75, 0, None) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert shaped(logs, 1.0, 0.76, 0, None) == pytest.approx(np.array([0, 0.5, 0.15, 0.25]) / 0.9)
    assert shaped(logs, 1.0, 0.01, 0, None) == pytest.approx([0, 1, 0, 0])
    assert shaped(logs, 0.5, 1.0, 0, None) == pytest.approx(chances**2 / (chances**2).sum())
    allowed = np.array([True, False, True, False])
    assert shaped(logs, 1.0, 1.0, 0, allowed) == pytest.approx([0.4, 0, 0.6, 0])
    assert shaped(logs, 1.0, 0.5, 0, allowed) == pytest.approx([0, 0, 1, 0])
    assert shaped(logs, 1.0, 1.0, 0, allowed & False) is None
    assert shaped(logs, 1e-3, 1.0, 0, None) == pytest.approx([0, 1, 0, 0])


def test_the_share_of_the_likeliest_is_of_what_their_number_leaves():
    logs = np.log(np.array([0.1, 0.5, 0.15, 0.25]))
    # Two thirds of what two tokens have is the first one's.
    assert shaped(logs, 1.0, 0.6, 2, None) == pytest.approx([0, 1, 0, 0])
    assert shaped(logs, 1.0, 0.7, 2, None) == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert shaped(logs, 1.0, 0.99, 3, None) == pytest.approx(np.array([0, 0.5, 0.15, 0.25]) / 0.9)


def test_unless_told_token_0_alone_ends_a_text():
    for token, finish in ((0, "stop"), (1, "")):
        row = Row(0, Fixed())
        row.tokens, row.logprobs = [token], [0.0]
        row.end(token, letters, 9, [], 9)
        assert row.finish == finish


def test_chances_far_apart_neither_overflow_nor_hide_one_another():
    logs = np.array([-5000.0, -4000.0, -4001.0])
    second = np.exp(-1.0)
    assert shaped(logs, 1.0, 0.7, 0, None) == pytest.approx([0, 1, 0])
    assert shaped(logs, 1.0, 0.99, 0, None) == pytest.approx(np.array([0, 1, second]) / (1 + second))


def test_of_equal_chances_the_lower_number_is_the_likeliest():
    assert shaped(np.log(np.array([0.2, 0.4, 0.4])), 0, 1.0, 0, None).tolist() == [0, 1, 0]
    assert shaped(np.log(np.full(4, 0.25)), 1.0, 1.0, 2, None).tolist() == [0.5, 0.5, 0, 0]


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)


def test_draws_invert_the_distribution():
    logs = np.log(np.array([0.25, 0.5, 0.125, 0.125]))
    row = Row(0, Fixed(0.0, 0.2499, 0.2501, 0.7499, 0.7501, 0.9999))
    assert [row.draw(logs, 1.0, 1.0, 0, None) for _ in range(6)] == [0, 0, 1, 1, 2, 3]
    assert row.tokens == [0, 0, 1, 1, 2, 3] and row.logprobs[2] == pytest.approx(np.log(0.5))
    last = Row(0, Fixed(1.0 - 2**-53))
    assert last.draw(np.log(np.array([0.5, 0.5, 1e-300])), 1.0, 1.0, 2, None) == 1
    assert Row(3, Fixed()).draw(logs, 1.0, 1.0, 0, np.zeros(4, bool)) is None
    with pytest.raises(InputError, match=r"mask: allows \(3,\) of 4 tokens; give one entry for each"):
        row.draw(logs, 1.0, 1.0, 0, np.ones(3, bool))


def letters(tokens):
    return "".join("_abcdef"[token] for token in tokens)


@pytest.mark.parametrize(
    "tokens, stop, most, room, finish, text",
    [
        ([1, 2], [], 3, 9, "", None),
        ([1, 2], [], 2, 9, "length", "ab"),
        ([1, 2], [], 3, 0, "length", "ab"),
        ([1, 0], [], 3, 9, "stop", "a_"),
        ([1, 5], [], 3, 9, "stop", "ae"),
        ([1, 2, 3], ["bc"], 9, 9, "stop", "a"),
        ([1, 2, 3], ["c", "bc"], 3, 0, "stop", "a"),
        ([1, 2, 3], ["x"], 9, 9, "", None),
        ([1, 2, 3], ["ab"], 9, 9, "stop", ""),
        ([1, 2, 3], [], 9, 1, "", None),
    ],
)
def test_a_text_ends_for_the_first_reason_there_is(tokens, stop, most, room, finish, text):
    row = Row(0, Fixed(), ends=(0, 5))
    row.tokens, row.logprobs = tokens, [0.0] * len(tokens)
    row.end(tokens[-1], letters, most, stop, room)
    assert row.finish == finish
    if finish:
        sample = row.sample(letters, seed=4)
        assert (sample.text, sample.finish, sample.seed, sample.token_ids.tolist()) == (text, finish, 4, tokens)


def test_a_text_ends_where_nothing_is_allowed():
    row = Row(0, Fixed())
    row.end(None, letters, 9, [], 9)
    assert row.finish == "mask" and row.sample(letters, 0).text == ""
