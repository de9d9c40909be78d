"""Rules are the published functions', their parts add up, and hold to what a layer makes of either part alone."""

import pytest
import torch

from winnow.evaluate.decomposition_rules import Parts, activate, add, attend, clean, layer_norm, linear


def recorded(text):
    return torch.tensor([float(number) for number in text.split()], dtype=torch.float64)


def test_rules_give_what_the_published_functions_give():
    # Recorded from prop_linear, prop_layer_norm, prop_act and normalize_rel_irrel of the authors' repository.
    count = torch.arange(6, dtype=torch.float64).reshape(1, 2, 3)
    parts = Parts(count.sin(), (2 * count).cos())
    weight, bias = (count + 1).sin().reshape(2, 3), recorded("0.5 -0.7")
    scale, shift = recorded("1 0.5 2"), recorded("0.3 -0.2 0.1")
    deviation = (sum(parts).var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = {
        linear(parts, weight, bias): (
            "1.246813575 -1.66181303 -0.425515372 0.386025407",
            "0.517481426 -0.274276746 0.778024647 -0.551856953",
        ),
        layer_norm(parts, scale, shift, deviation): (
            "-1.832103997 0.27097308 2.103214991 0.587894267 -0.26342372 -0.662873004",
            "3.512403951 -0.68288352 -3.916173141 1.060424964 -0.088915577 -1.32440827",
        ),
        activate(parts, torch.nn.functional.gelu): (
            "0.0 0.423641537 0.321391227 0.153795697 -0.101191666 0.103526318",
            "0.841344746 -0.140928659 -0.167771177 0.798396227 -0.06433401 -0.168413894",
        ),
        clean(parts): (
            "0.0 0.425324148 0.255653806 0.141120008 -0.756802495 -0.958924275",
            "1.0 0.0 0.0 0.960170287 -0.145500034 -0.839071529",
        ),
    }
    for found, told in expected.items():
        for part, numbers in zip(found, told, strict=True):
            # The published shares of a bias miss 1e-8 of it.
            torch.testing.assert_close(part.flatten(), recorded(numbers), atol=5e-8, rtol=0)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts_of(seed, *shape):
    return Parts(drawn(seed, *shape), drawn(seed + 1, *shape))


def test_a_linear_layers_parts_add_up_and_share_the_bias_by_their_magnitude():
    parts, weight, bias = parts_of(0, 2, 3, 4), drawn(5, 6, 4), drawn(6, 6)
    found = linear(parts, weight, bias)
    torch.testing.assert_close(sum(found), torch.nn.functional.linear(sum(parts), weight, bias))
    rel, irrel = parts.rel @ weight.T, parts.irrel @ weight.T
    torch.testing.assert_close(found.rel, rel + bias * rel.abs() / (rel.abs() + irrel.abs()), atol=1e-6, rtol=0)
    bare = linear(parts, weight)
    assert torch.equal(bare.rel, rel) and torch.equal(bare.irrel, irrel)


def test_a_bias_goes_to_the_part_that_is_there_and_to_the_irrelevant_one_where_none_is():
    weight, bias = drawn(0, 3, 4), drawn(1, 3)
    some, none = drawn(2, 5, 4), torch.zeros(5, 4, dtype=torch.float64)
    whole = torch.nn.functional.linear(some, weight, bias)
    for parts, rel in ((Parts(some, none), whole), (Parts(none, some), torch.zeros_like(whole))):
        torch.testing.assert_close(linear(parts, weight, bias).rel, rel, atol=1e-6, rtol=0)
    nothing = linear(Parts(none, none), weight, bias)
    assert not nothing.rel.any() and torch.equal(nothing.irrel, bias.expand(5, 3))


def test_a_norm_centres_each_part_and_divides_by_the_deviation_of_their_sum():
    parts, weight, bias = parts_of(3, 2, 5, 6), drawn(7, 6), drawn(8, 6)
    scale = (sum(parts).var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    found = layer_norm(parts, weight, bias, scale)
    torch.testing.assert_close(sum(found), torch.nn.functional.layer_norm(sum(parts), (6,), weight, bias))
    plain = layer_norm(parts, weight, torch.zeros_like(bias), scale)
    centred = (parts.rel - parts.rel.mean(-1, keepdim=True)) / scale * weight
    torch.testing.assert_close(plain.rel, centred)
    share = parts.rel.abs() / (parts.rel.abs() + parts.irrel.abs())
    torch.testing.assert_close(found.rel - plain.rel, bias * share, atol=1e-6, rtol=0)


def test_an_activation_leaves_the_irrelevant_part_what_it_gives_alone():
    parts = parts_of(9, 4, 5)
    found = activate(parts, torch.nn.functional.gelu)
    torch.testing.assert_close(found.irrel, torch.nn.functional.gelu(parts.irrel))
    torch.testing.assert_close(sum(found), torch.nn.functional.gelu(sum(parts)))


@pytest.mark.parametrize("moved", [False, True])
def test_attention_averages_values_by_patterns_written_out(moved):
    value, pattern, other = parts_of(1, 2, 4, 3, 5), drawn(3, 2, 3, 4, 4).softmax(-1), drawn(4, 2, 3, 4, 4).softmax(-1)
    found = attend(value, pattern, other if moved else None)
    by = other if moved else pattern
    for n in range(2):
        for head in range(3):
            for query in range(4):
                rel = sum(by[n, head, query, key] * value.rel[n, key, head] for key in range(4))
                whole = sum(pattern[n, head, query, key] * sum(value)[n, key, head] for key in range(4))
                torch.testing.assert_close(found.rel[n, query, head], rel)
                torch.testing.assert_close(sum(found)[n, query, head], whole)


def test_of_opposed_parts_the_larger_gets_their_sum():
    parts = Parts(torch.tensor([3.0, -1, 2, -2, 0, 1, 2]), torch.tensor([-1.0, 3, 1, -1, 4, 0, -2]))
    found = clean(parts)
    assert found.rel.tolist() == [2, 0, 2, -2, 0, 1, 0] and found.irrel.tolist() == [0, 2, 1, -1, 4, 0, 0]
    equal = clean(Parts(torch.tensor([2.0]), torch.tensor([-2.0])))
    assert sum(equal).tolist() == [0]


def test_tensors_are_added_part_by_part():
    first, second = parts_of(0, 3), parts_of(2, 3)
    found = add(first, second)
    assert torch.equal(found.rel, first.rel + second.rel) and torch.equal(found.irrel, first.irrel + second.irrel)
