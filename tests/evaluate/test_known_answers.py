"""Planted answers are what they say: read off by brute force, and by measures whose outcome is known beforehand."""

import pytest
import torch

from winnow.dictionaries.planted import planted_hierarchy, sample_hierarchy
from winnow.evaluate import known_answers as known
from winnow.evaluate import known_circuits


def test_a_ranking_is_perfect_chance_or_upside_down():
    agreement = known.ranking(torch.tensor([True, True, False, False, False]))
    assert agreement(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])) == 1
    assert agreement(torch.zeros(5)) == 0
    assert agreement(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])) == -1


@pytest.mark.parametrize("taken", [True, False])
def test_a_parent_that_is_taken_over_is_silent_with_each_of_its_children_and_still_written(taken):
    planted = planted_hierarchy(3, 4, 15, seed=2)
    sampled = sample_hierarchy(planted, 300, 0)
    dictionary = known.absorbing(planted, torch.full((3,), taken))
    codes = dictionary.dense(sampled.rows)
    with_child = sampled.child >= 0
    assert bool(((codes[:, :3] > 0) == (sampled.parent_active & ~(with_child & taken))).all())
    torch.testing.assert_close(dictionary.decode(codes), sampled.rows, atol=1e-5, rtol=0)


def test_either_of_a_pair_is_enough_and_both_together_are_not_spared():
    model = known.EitherOf(torch.tensor([[0, 3], [1, 2]]), torch.zeros(5))
    x = torch.tensor([[1.0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]])
    assert model(x)[:, 1].tolist() == [2, 2, 1, 0]
    assert model(x)[:, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("case", [*known.CASES, known_circuits.circuits])
def test_a_case_is_the_same_each_time_and_another_with_another_seed(case):
    first, again, other = case(0), case(0), case(1)
    assert list(first.said) == list(again.said) == list(other.said)
    for measure, said in first.said.items():
        assert torch.equal(torch.as_tensor(said), torch.as_tensor(again.said[measure]))
        assert -1 <= first.agreement(said) <= 1


def test_what_is_right_agrees_and_measures_known_to_miss_do_not():
    rows = list(known.scores((known.inputs, known.absorbed, known.directions), [0, 1, 2]))
    found = known.table(rows)
    assert found["inputs: integrated gradients"]["score"] == 1 and found["inputs: kernel SHAP"]["recovered"] == 1
    # Neither of a pair changes what the other does alone: only the small weights are left.
    assert found["inputs: gradient"]["score"] == pytest.approx(found["inputs: occlusion"]["score"])
    assert found["inputs: gradient"]["recovered"] < 1
    assert found["absorption: rare children"]["score"] == 1 and found["absorption: frequent children"]["score"] == 0
    assert found["directions: local interaction basis"]["score"] == pytest.approx(1, abs=1e-6)
    assert found["directions: principal components"]["score"] < 0.5


def test_the_floor_is_the_score_against_what_is_planted_in_the_next_draw():
    def case(draw):
        return known.Answer({"a: b c": draw}, lambda said: 1.0 if said == draw else 0.25)

    rows = list(known.scores([case], [3, 4, 5]))
    assert [(row["draw"], row["score"], row["floor"], row["planted"]) for row in rows] == [
        (draw, 1.0, 0.25, "case") for draw in (3, 4, 5)
    ]
    assert known.table(rows) == {"a: b c": {"score": 1.0, "floor": 0.25, "recovered": 1.0}}
    assert known.slug("a: b c") == "a-b_c"


def test_part_of_the_draws_may_be_recovered():
    rows = [{"measure": "a", "score": score, "floor": 0.0} for score in (0.9, known.ENOUGH, 0.7, 0.2)]
    assert known.table(rows)["a"]["recovered"] == 0.5
