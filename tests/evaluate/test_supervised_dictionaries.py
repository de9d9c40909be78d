"""Supervised dictionaries on activations that are exactly additive, edits by hand, F1 beside scikit-learn's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from winnow.errors import InputError
from winnow.evaluate.supervised_dictionaries import (
    Features,
    Node,
    check_nodes,
    edit_agnostic,
    edit_aware,
    f1_of_unions,
    interpret,
    keys_values,
    logits_with,
    read,
    supervised,
)
from winnow.models import build


def additive(n=400, values=(4, 3), d=6, seed=0, correlated=False):
    """Activations that are a mean and one code of each attribute; the codes sum to 0 over the rows."""
    g = torch.Generator().manual_seed(seed)
    attributes = {name: torch.randint(0, k, (n,), generator=g) for name, k in zip("ab", values, strict=True)}
    if correlated:
        attributes["b"] = torch.where(torch.rand(n, generator=g) < 0.7, attributes["a"] % values[1], attributes["b"])
    codes = {name: torch.randn(k, d, generator=g, dtype=torch.float64) for name, k in zip("ab", values, strict=True)}
    x = 2.0 + sum(codes[name][attributes[name]] for name in codes)
    return x, attributes, codes


@pytest.mark.parametrize("correlated", [False, True])
def test_least_squares_codes_of_additive_activations_are_exact(correlated):
    x, attributes, codes = additive(correlated=correlated)
    found = supervised(x, attributes, "mse")
    torch.testing.assert_close(found.reconstruct(attributes), x, rtol=0, atol=1e-9)
    for name, code in codes.items():  # up to a constant that attributes can exchange
        torch.testing.assert_close(found.codes[name] - found.codes[name][0], code - code[0], rtol=0, atol=1e-9)


def test_mean_codes_count_what_a_correlated_attribute_explains():
    x, attributes, codes = additive(4000, (2, 2), correlated=True)
    mean, mse = (supervised(x, attributes, kind).codes["a"].diff(dim=0)[0] for kind in ("mean", "mse"))
    true_a, true_b = (codes[name].diff(dim=0)[0] for name in "ab")
    shift = (
        attributes["b"][attributes["a"] == 1].double().mean() - attributes["b"][attributes["a"] == 0].double().mean()
    )
    torch.testing.assert_close(mse, true_a, rtol=0, atol=1e-9)
    torch.testing.assert_close(mean, true_a + shift * true_b, rtol=0, atol=1e-9)
    assert shift > 0.5


def test_codes_are_those_of_the_pseudo_inverse():
    g = torch.Generator().manual_seed(1)
    _, attributes, _ = additive(seed=1)
    x = torch.randn(400, 5, generator=g, dtype=torch.float64)
    design = torch.cat([torch.nn.functional.one_hot(values).double() for values in attributes.values()], 1)
    expected = torch.linalg.pinv(design) @ (x - x.mean(0))
    torch.testing.assert_close(torch.cat(list(supervised(x, attributes).codes.values())), expected, rtol=0, atol=1e-9)


def test_an_edit_exchanges_one_value_and_the_same_value_changes_no_bit():
    x, attributes, codes = additive()
    found = supervised(x, attributes)
    new = (attributes["a"] + 1) % 4
    expected = x - codes["a"][attributes["a"]] + codes["a"][new]
    torch.testing.assert_close(found.edit(x, attributes, "a", new), expected, rtol=0, atol=1e-9)
    assert torch.equal(found.edit(x, attributes, "a", attributes["a"]), x)


def axes(d=4):
    return Features(lambda x: x.clamp(min=0), torch.eye(d), torch.zeros(d))


def test_an_edit_of_all_features_of_a_perfect_dictionary_is_the_counterfactual():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 9, 4, generator=g).unbind(0)
    edited = edit_agnostic(axes(), x, y, 4)
    torch.testing.assert_close(edited.values, y)
    one = edit_agnostic(axes(), x, y, 1).values
    largest = (y - x).abs().argmax(1)
    assert torch.equal((one != x).int().argmax(1), largest) and ((one != x).sum(1) == 1).all()
    assert torch.equal(edit_agnostic(axes(), x, x, 3).values, x)


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=20)
def test_greedy_changes_never_lead_away(seed, changes):
    g = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(7, 4, generator=g), dim=1)
    features = Features(lambda x: (x @ decoder.T).clamp(min=0), decoder, torch.zeros(4))
    x, y = torch.randn(2, 6, 4, generator=g).unbind(0)
    before, after = ((edit_agnostic(features, x, y, k).values - y).norm(dim=1) for k in (changes - 1, changes))
    assert (after <= before + 1e-6).all()


def test_an_aware_edit_takes_the_tellers_of_the_old_value_out_and_puts_those_of_the_new_in():
    scores = torch.tensor([[0.9, 0.0], [0.1, 0.8], [0.5, 0.2], [0.0, 0.1]])
    x, y = torch.tensor([[2.0, 0, 1, 0]]), torch.tensor([[0.0, 3, 0, 1]])
    old, new = torch.tensor([0]), torch.tensor([1])
    one = edit_aware(axes(), x, y, scores, old, new, 1)
    assert one.values.tolist() == [[0, 3, 1, 0]] and one.weight.item() == pytest.approx(4 / 5)
    two = edit_aware(axes(), x, y, scores, old, new, 2)
    assert two.values.tolist() == [[0, 3, 0, 1]] and two.weight.item() == pytest.approx(1.0)
    assert edit_aware(axes(), x, y, scores, old, new, 9).values.tolist() == [[0, 3, 0, 1]]


def test_the_weight_of_an_edit_is_the_share_of_the_reconstruction_that_it_takes_out():
    # Along the axes a feature's share is its square's; what was not active has nothing to take out.
    x, y = torch.tensor([[3.0, 1, 2, 0], [1, 0, 1, 0]]), torch.tensor([[0.0, 1, 2, 0], [1, 0, 1, 5]])
    edited = edit_agnostic(axes(), x, y, 2)
    assert edited.values.tolist() == y.tolist() and edited.weight.tolist() == [pytest.approx(9 / 14), 0]
    assert axes().weights(torch.zeros(1, 4)).tolist() == [[0.0] * 4]
    shifted = Features(lambda x: x.clamp(min=0), 2 * torch.eye(4), torch.arange(4.0))
    assert shifted.reconstruct(torch.tensor([[1.0, -1, 2, 0]])).tolist() == [[2.0, 1, 6, 3]]


def test_greedy_changes_take_the_feature_that_lowers_the_distance_most():
    """Beside trying every feature in turn, and none where all lead away."""
    g = torch.Generator().manual_seed(4)
    decoder = torch.randn(7, 4, generator=g)
    features = Features(lambda x: (x @ decoder.T).clamp(min=0), decoder, torch.zeros(4))
    x, y = torch.randn(2, 20, 4, generator=g).unbind(0)
    step, found = features.encode(y) - features.encode(x), edit_agnostic(features, x, y, 2).values
    for row in range(20):
        at, left = x[row], set(range(7))
        for _ in range(2):
            tried = {k: float((at + step[row, k] * decoder[k] - y[row]).square().sum()) for k in left}
            best = min(tried, key=tried.get)
            if tried[best] < float((at - y[row]).square().sum()):
                at = at + step[row, best] * decoder[best]
                left.remove(best)
        torch.testing.assert_close(found[row], at, rtol=1e-4, atol=1e-5)


def test_weights_of_a_row_sum_to_one():
    g = torch.Generator().manual_seed(0)
    decoder = torch.randn(9, 5, generator=g)
    features = Features(lambda x: x, decoder, torch.randn(5, generator=g))
    torch.testing.assert_close(
        features.weights(torch.randn(20, 9, generator=g)).sum(1), torch.ones(20), atol=1e-5, rtol=0
    )


def test_f1_is_scikit_learns_and_unions_are_the_best_prefix():
    g = torch.Generator().manual_seed(0)
    active, values = torch.rand(300, 5, generator=g) < 0.3, torch.randint(0, 4, (300,), generator=g)
    active[:, 4] = (values == 1) | (values == 3)
    found = interpret(active, values, 4, union=3)
    for feature in range(5):
        for value in range(4):
            expected = f1_score((values == value).numpy(), active[:, feature].numpy())
            assert found.f1[feature, value] == pytest.approx(expected, abs=1e-12)
    assert found.union[4] == 1.0 and (found.union >= found.f1.max(1).values - 1e-12).all()
    assert interpret(active, values, 4, union=1).union[4] < 1


@pytest.mark.parametrize(("union", "most"), [(1, 1), (3, 3), (None, 10)])
def test_unions_are_the_best_of_all_that_take_the_values_most_fired_on_first(union, most):
    g = torch.Generator().manual_seed(2)
    values = torch.randint(0, 12, (600,), generator=g)
    chance = torch.rand(12, 6, generator=g)
    active = torch.rand(600, 6, generator=g) < chance[values]
    active[:, 5] = False  # a feature that never fires tells nothing
    active[:, 4] = values < 11  # and one that fires nearly always would take more values than it may
    found = interpret(active, values, 12, *([] if union is None else [union]))
    for feature in range(6):
        rate = [float(active[values == value, feature].double().mean()) for value in range(12)]
        order = sorted(range(12), key=lambda value: (-rate[value], value))
        told = {
            k: f1_score(torch.isin(values, torch.tensor(order[:k])).numpy(), active[:, feature].numpy())
            for k in range(1, most + 1)
        }
        best = max(told, key=told.get)
        assert found.union[feature] == pytest.approx(told[best], abs=1e-12)
        if feature != 5:
            assert sorted(order[:best]) == found.members[feature].nonzero()[:, 0].tolist()


def test_values_without_rows_and_features_that_never_fire_have_an_f1_of_0():
    found = interpret(torch.tensor([[True, False]] * 4), torch.zeros(4, dtype=torch.int64), 3)
    assert found.f1.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]] and found.union.tolist() == [1.0, 0.0]
    never, values = torch.zeros(4, 1, dtype=torch.bool), torch.zeros(4, dtype=torch.int64)
    assert f1_of_unions(never, values, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [0.0]


def test_unions_that_were_chosen_are_scored_on_other_rows_as_scikit_learn_does():
    g = torch.Generator().manual_seed(3)
    active, values = torch.rand(2, 300, 5, generator=g) < 0.3, torch.randint(0, 4, (2, 300), generator=g)
    active[:, :, 4] = (values == 1) | (values == 3)
    chosen = interpret(active[0], values[0], 4, union=3)
    assert chosen.members[4].tolist() == [False, True, False, True]
    torch.testing.assert_close(f1_of_unions(active[0], values[0], chosen.members), chosen.union)
    found = f1_of_unions(active[1], values[1], chosen.members)
    for feature in range(5):
        meant = chosen.members[feature, values[1]]
        assert found[feature] == pytest.approx(f1_score(meant.numpy(), active[1, :, feature].numpy()))
    assert found[4] == 1


def test_attributes_that_share_a_part_are_told_apart_and_edits_of_them_are_exact():
    g = torch.Generator().manual_seed(0)
    order, first, second = (torch.randint(0, k, (600,), generator=g) for k in (2, 4, 3))
    joint = {"a": 2 * first + order, "b": 2 * second + order}
    codes = {"a": torch.randn(8, 6, generator=g, dtype=torch.float64), "b": torch.randn(6, 6, generator=g).double()}
    x = sum(codes[name][joint[name]] for name in codes)
    with pytest.raises(InputError, match="tell one another"):
        supervised(x, joint)
    found = supervised(x, joint, shared=order)
    torch.testing.assert_close(found.reconstruct(joint), x, rtol=0, atol=1e-9)
    # One name for another at the same order, and another order, which both attributes tell.
    other = {"a": 2 * ((first + 1) % 4) + order, "b": joint["b"]}
    expected = codes["a"][other["a"]] + codes["b"][joint["b"]]
    torch.testing.assert_close(found.edit(x, joint, "a", other["a"]), expected, rtol=0, atol=1e-9)
    turned = {name: values + 1 - 2 * order for name, values in joint.items()}
    both = found.edit(found.edit(x, joint, "a", turned["a"]), joint, "b", turned["b"])
    torch.testing.assert_close(both, codes["a"][turned["a"]] + codes["b"][turned["b"]], rtol=0, atol=1e-9)
    with pytest.raises(InputError, match="tell one another"):
        supervised(x, {"a": joint["a"], "b": joint["a"]}, shared=order)


def test_tied_attributes_have_one_code_of_each_value_that_is_told_by_least_squares():
    g = torch.Generator().manual_seed(0)
    first, second, order = (torch.randint(0, k, (500,), generator=g) for k in (5, 5, 2))
    attributes = {"a": first, "order": order, "b": second}
    codes, turned = torch.randn(5, 6, generator=g, dtype=torch.float64), torch.randn(2, 6, generator=g).double()
    x = codes[first] + codes[second] + turned[order]
    found = supervised(x, attributes, tied=("a", "b"))
    assert found.codes["a"] is found.codes["b"] and set(found.codes) == set(attributes)
    torch.testing.assert_close(found.reconstruct(attributes), x, rtol=0, atol=1e-9)
    new = (first + 1) % 5
    expected = codes[new] + codes[second] + turned[order]
    torch.testing.assert_close(found.edit(x, attributes, "a", new), expected, rtol=0, atol=1e-9)
    # What tells the two apart is out of reach: the definition, by the pseudo-inverse, on other activations.
    x = torch.randn(500, 6, generator=g, dtype=torch.float64)
    one = torch.nn.functional.one_hot
    design = torch.cat([one(order), one(first) + one(second)], 1).double()
    expected = design @ (torch.linalg.pinv(design) @ (x - x.mean(0))) + x.mean(0)
    found = supervised(x, attributes, tied=("a", "b"))
    torch.testing.assert_close(found.reconstruct(attributes), expected, rtol=0, atol=1e-9)


def test_a_value_of_tied_attributes_counts_in_all_of_them():
    x, a = torch.rand(12, 2), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    supervised(x, {"a": a, "b": a.roll(4)}, tied=("a", "b"))  # four prompts of each value in either, eight in both
    with pytest.raises(InputError, match="attribute a or b 3: has 2 prompts"):
        supervised(x, {"a": a, "b": torch.where(torch.arange(12) < 2, 3, a.roll(4))}, tied=("a", "b"))


@pytest.fixture
def model():
    return build("hooked_transformer", vocabulary=9, context=6, width=8, layers=2, heads=2)


def test_own_values_in_all_nodes_change_nothing_and_others_are_read_back(model):
    tokens = torch.randint(0, 9, (5, 6), generator=torch.Generator().manual_seed(0))
    nodes = [Node(layer, kind, head, at) for layer in (0, 1) for kind in "qkvz" for head in (0, 1) for at in (-1, 2)]
    held = read(model, tokens, nodes)
    torch.testing.assert_close(logits_with(model, tokens, nodes, held), model(tokens))
    some = [Node(1, "z", 0, -1), Node(0, "v", 1, 2)]
    with torch.no_grad():
        expected = model.run(
            tokens,
            patch={"blocks.1.attn.hook_z": lambda z: put(z, -1, 0), "blocks.0.attn.hook_v": lambda v: put(v, 2, 1)},
        )[0]
    torch.testing.assert_close(logits_with(model, tokens, some, torch.ones(5, 2, 4)), expected)


def test_more_prompts_than_are_read_at_once_are_read_alike(model):
    tokens = torch.randint(0, 9, (300, 6), generator=torch.Generator().manual_seed(1))
    nodes = [Node(1, "z", 0, -1), Node(0, "k", 1, 2)]
    parts = torch.cat([read(model, part, nodes) for part in tokens.split(100)])
    torch.testing.assert_close(read(model, tokens, nodes), parts)


def test_prompts_go_on_from_keys_and_values_of_what_they_begin_with(model):
    tokens = torch.randint(0, 9, (5, 6), generator=torch.Generator().manual_seed(0))
    held = read(model, tokens, [Node(1, "z", 0, 4)])
    past = keys_values(model, tokens[:, :4])
    assert len(past) == 2 and all(part.shape == (5, 4, 2, 4) for pair in past for part in pair)
    found = logits_with(model, tokens[:, 4:], [Node(1, "z", 0, 0)], held, past)
    torch.testing.assert_close(found, model(tokens)[:, 4:])


def test_nodes_lie_in_the_model_and_in_prompts_from_either_end(model):
    for layer, head, position in ((0, 0, -6), (1, 1, 5), (0, 1, 0), (1, 0, -1)):
        check_nodes(model, [Node(layer, "z", head, position)], 6)
        assert read(model, torch.zeros(1, 6, dtype=torch.int64), [Node(layer, "z", head, position)]).shape == (1, 1, 4)
    for layer, head, position in ((-1, 0, 0), (2, 0, 0), (0, -1, 0), (0, 2, 0), (0, 0, -7), (0, 0, 6)):
        with pytest.raises(InputError, match="lies outside of 2 layers, 2 heads, 6 positions; name another"):
            check_nodes(model, [Node(0, "z", 0, 0), Node(layer, "z", head, position)], 6)


@pytest.mark.parametrize("kind", ["mean", "mse"])
def test_five_prompts_of_a_value_are_enough_and_four_are_not(kind):
    x = torch.rand(20, 2)
    supervised(x, {"a": (torch.arange(20) < 5).long()}, kind)
    with pytest.raises(InputError, match="attribute a 1: has 4 prompts; give at least 5 of each value"):
        supervised(x, {"a": (torch.arange(20) < 4).long()}, kind)


def test_mean_codes_are_means_of_a_value_less_the_mean_of_all():
    x, attributes, _ = additive(correlated=True)
    found = supervised(x, {"a": 2 * attributes["a"]}, "mean")
    for value in range(4):
        expected = x[attributes["a"] == value].mean(0) - x.mean(0)
        torch.testing.assert_close(found.codes["a"][2 * value], expected)
    assert found.codes["a"].isnan().any(1).tolist() == [False, True, False, True, False, True, False]


def put(tensor, position, head):
    changed = tensor.clone()
    changed[:, position, head] = 1.0
    return changed


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, t: read(m, t, []), "nodes: none given"),
        (lambda m, t: read(m, t, [Node(2, "z", 0, 0)]), r"node \(2, 'z', 0, 0\): lies outside of 2 layers, 2 heads"),
        (lambda m, t: read(m, t, [Node(0, "z", 0, 6)]), "lies outside"),
        (
            lambda m, t: supervised(torch.rand(7, 2), {"a": torch.tensor([0] * 5 + [2] * 2)}),
            "a 2: has 2 prompts; give at",
        ),
        (
            lambda m, t: supervised(torch.rand(20, 2), {"a": torch.arange(20) % 2, "b": torch.arange(20) % 2}),
            "attributes a, b: tell one another",
        ),
        (
            lambda m, t: supervised(torch.rand(10, 2), {"a": torch.tensor([0, 2] * 5)}).reconstruct(
                {"a": torch.tensor([1])}
            ),
            "attribute a: a value of the prompts has no code",
        ),
        (
            lambda m, t: supervised(torch.rand(10, 2), {"a": torch.tensor([0, 1] * 5)}).reconstruct(
                {"a": torch.tensor([2])}
            ),
            "has no code",
        ),
    ],
)
def test_what_cannot_be_is_refused(model, call, told):
    with pytest.raises(InputError, match=told):
        call(model, torch.zeros(3, 6, dtype=torch.int64))
