"""Dictionaries of language models: losses with activations replaced, and where features fire."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tests.dictionaries.harvesting import HOOK
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus, corpus_of
from winnow.dictionaries.on_language import HeldOut, chosen, feature_table, features_of, sequences_of
from winnow.errors import InputError
from winnow.workloads.names_language import BEGIN, PAD


@pytest.fixture(scope="module")
def held_out(model, workload):
    return HeldOut(model, chosen(corpus_of(workload, "train"), torch.arange(70, 170)), HOOK)


def by_hand(model, workload, edit):
    """The definition: replace the tensor at every kept position, run, and average the losses there."""
    tokens = workload.tokens("train")[70:170]
    x, y = tokens[:, :-1], tokens[:, 1:]
    kept = (x != BEGIN) & (y != PAD)
    with torch.no_grad():
        resid = model.run(x, save=[HOOK])[1][HOOK]
        replaced = torch.where(kept[..., None], edit(resid), resid)
        logits = model.run(x, patch={HOOK: lambda _: replaced})[0]
    return float(cross_entropy(logits[kept], y[kept]))


def dictionary(seed=0, m=30, k=3):
    generator = torch.Generator().manual_seed(seed)
    decoder = normalize(torch.randn(m, 8, generator=generator), dim=1)
    zeros = torch.zeros(8)
    return Dictionary(
        decoder.T.clone(), torch.zeros(m), decoder, zeros, zeros.clone(), torch.zeros(m), "topk", "topk", k
    )


@pytest.mark.parametrize("edit", [lambda x: x, torch.zeros_like, lambda x: 2 * x - 1], ids=["same", "zero", "affine"])
def test_losses_are_those_of_the_model_with_kept_positions_replaced(held_out, model, workload, edit):
    assert held_out.loss(edit) == pytest.approx(by_hand(model, workload, edit), rel=1e-5)


def test_a_source_is_what_edits_are_given_and_the_hook_point_what_they_replace(held_out, model, workload):
    source = "hook_embed"
    found = HeldOut(model, held_out.corpus, HOOK, source)
    tokens = workload.tokens("train")[70:170]
    x, y = tokens[:, :-1], tokens[:, 1:]
    kept = (x != BEGIN) & (y != PAD)
    with torch.no_grad():
        shown = model.run(x, save=[source, HOOK])[1]
        replaced = torch.where(kept[..., None], 3 * shown[source] - 1, shown[HOOK])
        logits = model.run(x, patch={HOOK: lambda _: replaced})[0]
    assert found.loss(lambda rows: 3 * rows - 1) == pytest.approx(float(cross_entropy(logits[kept], y[kept])), rel=1e-5)
    torch.testing.assert_close(found.read, shown[source][kept])
    torch.testing.assert_close(found.rows, shown[HOOK][kept])
    assert held_out.read is held_out.rows and held_out.source == HOOK
    # Without a dictionary it is the hook point itself that is left alone.
    assert found.ablated == held_out.ablated


def test_what_is_recovered_is_told_from_zero_and_from_the_mean(held_out, model, workload):
    found, mean = held_out.judge(dictionary()), held_out.rows.mean(0)
    edits = {"zero": torch.zeros_like, "mean": lambda x: mean.expand_as(x), "clean": lambda x: x}
    losses = {name: by_hand(model, workload, edit) for name, edit in edits.items()}
    made = by_hand(model, workload, lambda x: dictionary().reconstruct(x.flatten(0, 1)).view_as(x))
    assert found["ce_reconstructed"] == pytest.approx(made, rel=1e-5)
    for name, key in (("zero", "ce_recovered"), ("mean", "ce_recovered_mean")):
        assert found[key] == pytest.approx((losses[name] - made) / (losses[name] - losses["clean"]), rel=1e-2)
    assert found["l0"] == pytest.approx(3) and found["rows"] == len(held_out.rows) == len(held_out.tokens)


def test_stored_rows_are_those_of_the_model_run_again(held_out, store, model, workload):
    again = HeldOut(model, chosen(corpus_of(workload, "train"), sequences_of(store)), HOOK)
    table = store.table()
    order = np.lexsort((table["position"].to_numpy(), table["doc"].to_numpy()))
    stored = torch.cat(list(store.pieces()))[torch.from_numpy(order)]
    torch.testing.assert_close(again.rows, stored, rtol=2e-3, atol=1e-4)
    assert again.tokens.tolist() == table["token"].to_numpy()[order].tolist()


# Of 25 features chosen about ten are not above 0, and do not fire.
@pytest.mark.parametrize("k", [3, 25])
def test_features_are_listed_with_the_tokens_where_they_are_strongest(store, k):
    found, table = feature_table(dictionary(k=k), store).to_pylist(), store.table().to_pylist()
    dense = dictionary(k=k).dense(torch.cat(list(store.pieces()))).numpy()
    for feature, row in enumerate(found):
        column = dense[:, feature]
        assert row["feature"] == feature and row["decoder_norm"] == pytest.approx(1)
        assert row["density"] == pytest.approx((column > 0).mean())
        best = sorted(np.flatnonzero(column), key=lambda i: (-column[i], i))[:10]
        assert row["top_values"] == pytest.approx(column[best])
        for name in ("doc", "position", "token"):
            assert row[f"top_{name}s"] == [table[i][name] for i in best]
    unit = normalize(dictionary().W_dec, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(-1).max(1).values
    assert [row["max_cosine"] for row in found] == pytest.approx(cosine.tolist(), abs=1e-6)


def test_features_of_rows_without_texts_name_their_example_alone():
    rows = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    found = features_of(dictionary(), rows.split(5), {"doc": np.arange(12) // 3}).to_pylist()
    dense = dictionary().dense(rows).numpy()
    for feature, row in enumerate(found):
        column = dense[:, feature]
        best = sorted(np.flatnonzero(column), key=lambda i: (-column[i], i))[:10]
        assert row["top_docs"] == [i // 3 for i in best] and row["density"] == pytest.approx((column > 0).mean())
        assert row["top_positions"] is None is row["top_tokens"]


def test_a_corpus_without_rows_is_an_error(model):
    tokens = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(InputError, match="corpus: has no rows to judge by"):
        HeldOut(model, Corpus(tokens, tokens, torch.zeros(2, 3, dtype=torch.bool)), HOOK)
