import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.metrics import (
    absorption,
    ce_recovered,
    decoder_max_cosine,
    density_histogram,
    evaluate,
    seed_stability,
)
from winnow.errors import InputError


def aligned(decoder, bias=None, threshold=0.0):
    """A jumprelu dictionary that reads each latent along its own decoder row."""
    m, d = decoder.shape
    bias = torch.zeros(d) if bias is None else bias
    return Dictionary(
        W_enc=decoder.T.contiguous(),
        b_enc=torch.zeros(m),
        W_dec=decoder,
        b_dec_in=bias,
        b_dec_out=bias.clone(),
        threshold=torch.full((m,), threshold),
        architecture="relu_l1",
        activation="jumprelu",
    )


ROWS = torch.randn(300, 5, generator=torch.Generator().manual_seed(0)) + torch.tensor([100.0, 0, 0, 0, -40.0])


@pytest.mark.parametrize("pieces", [False, True])
def test_fvu_is_one_ratio_of_sums(pieces):
    dictionary = aligned(torch.eye(5)[:3], bias=ROWS.mean(0))
    found = evaluate(dictionary, ROWS.split(70) if pieces else ROWS)
    out = dictionary.reconstruct(ROWS).double()
    expected = ((ROWS - out) ** 2).sum() / ((ROWS.double() - ROWS.double().mean(0)) ** 2).sum()
    assert found.metrics["fvu"] == pytest.approx(float(expected), rel=1e-6)
    active = dictionary.dense(ROWS) > 0
    assert found.metrics["l0"] == pytest.approx(float(active.sum(1).float().mean()))
    torch.testing.assert_close(found.density, active.double().mean(0))
    assert found.metrics["rows"] == 300


def test_a_perfect_dictionary_has_fvu_zero_and_the_mean_alone_has_one():
    whole = aligned(torch.cat([torch.eye(5), -torch.eye(5)]), bias=ROWS.mean(0))
    assert evaluate(whole, ROWS).metrics["fvu"] == pytest.approx(0, abs=1e-9)
    silent = aligned(torch.eye(5), bias=ROWS.mean(0), threshold=1e6)
    found = evaluate(silent, ROWS).metrics
    assert found["fvu"] == pytest.approx(1, abs=1e-6) and found["dead_fraction"] == 1 and found["l0"] == 0


@pytest.mark.parametrize("value", [0.0, 3.3, 1e4])
def test_constant_rows_have_no_fvu(value):
    assert evaluate(aligned(torch.eye(5)), torch.full((40, 5), value)).metrics["fvu"] is None


def test_dead_latents_are_those_that_fire_in_no_row():
    decoder = torch.eye(4)
    rows = torch.tensor([[1.0, 0, 0, -1], [2.0, 0, 3.0, -1]])
    found = evaluate(aligned(decoder), rows)
    assert found.metrics["dead_fraction"] == 0.5 and found.density.tolist() == [1, 0, 0.5, 0]


def test_no_rows_cannot_be_evaluated():
    for rows in (torch.zeros(0, 5), [], [torch.zeros(0, 5)]):
        with pytest.raises(InputError, match="rows: none to evaluate on"):
            evaluate(aligned(torch.eye(5)), rows)


def test_decoder_max_cosine_leaves_a_row_out_of_its_own_comparison():
    decoder = torch.tensor([[2.0, 0], [1, 1], [0, -3]])
    half = 0.5**0.5
    assert decoder_max_cosine(decoder).tolist() == pytest.approx([half, half, 0])
    assert evaluate(aligned(torch.eye(3)), torch.eye(3)).metrics["decoder_max_cosine"] == 0


def test_the_density_histogram_counts_every_latent_in_its_decade():
    bins = density_histogram(torch.tensor([0.0, 1e-9, 0.5e-3, 0.05, 0.5, 1.0]), bins=6)
    assert [round(low) for low, _, _ in bins] == [-6, -5, -4, -3, -2, -1]
    assert [round(high) for _, high, _ in bins] == [-5, -4, -3, -2, -1, 0]
    assert [count for _, _, count in bins] == [2, 0, 1, 0, 1, 2]


def test_ce_recovered_is_the_kept_share_of_what_ablation_costs():
    found = ce_recovered(zero=10.0, mean=lambda: 6.0, sae=3.0, clean=lambda: 2.0)
    assert found == {"ce_recovered": 7 / 8, "ce_recovered_mean": 3 / 4}
    assert ce_recovered(5.0, 4.0, 2.0, 2.0) == {"ce_recovered": 1.0, "ce_recovered_mean": 1.0}
    assert ce_recovered(2.0, 4.0, 4.0, 2.0) == {"ce_recovered": None, "ce_recovered_mean": 0.0}


def test_seed_stability_matches_one_to_one():
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(9, 4, generator=generator), torch.randn(9, 4, generator=generator)
    assert seed_stability(first, first[torch.randperm(9, generator=generator)] * 3) == pytest.approx(1)
    cosine = np.array([[float(torch.cosine_similarity(a, b, dim=0)) for b in second] for a in first])
    rows, columns = linear_sum_assignment(-cosine)
    assert seed_stability(first, second) == pytest.approx(cosine[rows, columns].mean(), abs=1e-6)
    assert seed_stability(torch.eye(2), torch.tensor([[1.0, 0], [1, 0]])) == pytest.approx(0.5)
    with pytest.raises(InputError, match="4 and 3 dimensions"):
        seed_stability(first, first[:, :3])


def hierarchy(rows=600, seed=0):
    """Parent along axis 0, in a third of its rows with a child along axis 1; axis 2 is on its own."""
    generator = torch.Generator().manual_seed(seed)
    parent = torch.rand(rows, generator=generator) < 0.5
    child = parent & (torch.rand(rows, generator=generator) < 1 / 3)
    other = torch.rand(rows, generator=generator) < 0.5
    x = torch.stack([parent, child, other, torch.zeros(rows)], dim=1).float()
    return x, parent, child


def with_codes(decoder, encoder, bias):
    dictionary = aligned(decoder)
    return Dictionary(**{**vars(dictionary), "W_enc": encoder.T.contiguous(), "b_enc": bias})


def test_a_faithful_dictionary_absorbs_nothing():
    x, parent, _ = hierarchy()
    train = torch.arange(len(x)) < 300
    found = absorption(aligned(torch.eye(4)), x, parent, train=train)
    assert found.rate == 0 and found.main_latents == [0] and not found.absorbed.any()


def absorbing():
    """Latent 1 = parent and child together; latent 0 (parent) keeps silent when the child is there."""
    decoder = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), dim=1
    )
    encoder = torch.tensor([[1.0, -1, 0, 0], [0, 2**0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return with_codes(decoder, encoder, torch.zeros(4))


def test_the_planted_absorption_is_found_row_by_row():
    x, parent, child = hierarchy()
    train = torch.arange(len(x)) < 300
    torch.testing.assert_close(absorbing().reconstruct(x), x)  # a perfect dictionary by FVU
    found = absorption(absorbing(), x, parent, train=train, max_main=1)
    assert found.main_latents == [0]
    assert torch.equal(found.absorbed, child & ~train)
    assert found.rate == pytest.approx(float(child[~train].sum() / parent[~train].sum()))


@pytest.mark.parametrize("changes", [{"share": 1.6}, {"cosine": 0.9}])
def test_a_latent_that_carries_too_little_of_the_probe_does_not_absorb(changes):
    x, parent, _ = hierarchy()
    found = absorption(absorbing(), x, parent, train=torch.arange(len(x)) < 300, max_main=1, **changes)
    assert found.rate == 0


def test_a_second_main_latent_is_taken_where_it_helps():
    x, parent, _ = hierarchy()
    found = absorption(absorbing(), x, parent, train=torch.arange(len(x)) < 300)
    assert found.main_latents == [0, 1] and found.rate == 0


@pytest.mark.parametrize("side", [slice(0, 300), slice(300, 600)])
@pytest.mark.parametrize("value", [True, False])
def test_a_class_without_examples_is_named(side, value):
    x, parent, _ = hierarchy()
    labels = parent.clone()
    labels[side] = value
    with pytest.raises(InputError, match="rows are of one class"):
        absorption(aligned(torch.eye(4)), x, labels, train=torch.arange(600) < 300)
