"""Activations on disk are the model's own, whole sequences, and equal bytes however they were made."""

import json

import numpy as np
import pytest
import torch

from tests.dictionaries.harvesting import HOOK, harvested
from winnow.dictionaries.harvest import Harvest, corpus_of, read_hooks
from winnow.errors import InputError
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import BEGIN, PAD, vocabulary

PAIR = ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out")


def test_rows_are_the_model_s_own_at_the_tokens_that_the_table_names(store, model, workload):
    table, rows = store.table().to_pydict(), torch.cat(list(store.pieces()))
    x, y = workload.tokens("train")[:, :-1], workload.tokens("train")[:, 1:]
    doc, position = torch.tensor(table["doc"]), torch.tensor(table["position"], dtype=torch.int64)
    assert table["token"] == x[doc, position].tolist() and table["next_token"] == y[doc, position].tolist()
    expected = model.run(x, save=[HOOK])[1][HOOK].detach()[doc, position]
    torch.testing.assert_close(rows, expected, rtol=2e-3, atol=1e-4)  # float16
    assert store.meta["dtype"] == "float16" and len(rows) == len(store) <= 2000


def test_whole_sequences_are_kept_without_beginnings_and_ends(store, workload):
    table = store.table().to_pydict()
    tokens = workload.tokens("train")
    lengths = {doc: int((tokens[doc] != PAD).sum()) - 2 for doc in set(table["doc"])}
    assert np.bincount(table["doc"])[list(lengths)].tolist() == list(lengths.values())
    assert not {BEGIN, PAD} & set(table["token"]) and PAD not in table["next_token"]
    assert len(store) > 2000 - 20  # no sequence more would fit


def test_mean_and_scale_are_those_of_the_rows(store):
    rows = torch.cat(list(store.pieces())).double()
    np.testing.assert_allclose(store.meta["mean"][0], rows.mean(0), rtol=1e-9)
    assert store.meta["scale"][0] == pytest.approx(8**0.5 / float(rows.norm(dim=1).mean()))


def test_a_killed_harvest_goes_on_and_ends_with_the_same_bytes(tmp_path, store, model, workload, monkeypatch):
    monkeypatch.setattr("winnow.dictionaries.harvest.RANGE", 16)
    monkeypatch.setattr("winnow.dictionaries.harvest.FLUSH_EVERY", 2)
    corpus, calls = corpus_of(workload, "train"), []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return read_hooks(*arguments)

    monkeypatch.setattr("winnow.dictionaries.harvest.read_hooks", killed)
    with pytest.raises(KeyboardInterrupt):
        harvested(tmp_path, model, corpus)
    again = harvested(tmp_path, model, corpus)
    ranges = -(-len(set(again.table()["doc"].to_pylist())) // 16)
    assert len(calls) == 6 + ranges - 4  # four ranges were on disk
    for one, other in zip((*store.shards, store.rows), (*again.shards, again.rows), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_folder_of_another_model_is_refused(tmp_path, model, workload):
    corpus = corpus_of(workload, "train")
    harvested(tmp_path, model, corpus)
    with pytest.raises(InputError, match="another model, hook point or corpus; use another folder"):
        harvested(tmp_path, model, corpus, model_sha256="cc")


def test_pairs_have_both_hook_points_in_the_same_rows(tmp_path, model, workload):
    store = harvested(tmp_path, model, corpus_of(workload, "train"), PAIR)
    rows = torch.cat(list(store.pieces(("x", "y"))))
    mlp = model.blocks[1].mlp
    with torch.no_grad():
        expected = mlp.down(torch.nn.functional.gelu(mlp.up(rows[:, :8])))
    torch.testing.assert_close(rows[:, 8:], expected, rtol=1e-2, atol=2e-3)  # both sides are rounded to float16
    assert next(iter(store.reading(0, ("y",)))).shape[1] == 8


def test_numbers_beyond_half_precision_are_kept_in_single(tmp_path, model, workload):
    big = HookedTransformer(len(vocabulary()), 32, width=8, layers=1, heads=2)
    big.load_state_dict(model.state_dict(), strict=False)
    big.embed.weight.data[:] = 7e4
    store = harvested(tmp_path, big, corpus_of(workload, "train"), ("hook_embed",))
    assert store.meta["dtype"] == "float32" and next(store.pieces()).max() == 7e4


def test_one_part_beyond_half_precision_keeps_both_in_single_and_rows_of_zeros_have_scale_one(
    tmp_path, workload, model
):
    big = HookedTransformer(len(vocabulary()), 32, width=8, layers=1, heads=2)
    big.load_state_dict(model.state_dict(), strict=False)
    hooks = ("hook_embed", "blocks.0.ln1.hook_normalized")
    for name, value in (("big", 7e4), ("none", 0.0)):
        big.embed.weight.data[:] = value
        (tmp_path / name).mkdir()
        store = harvested(tmp_path / name, big, corpus_of(workload, "train"), hooks)
        assert store.meta["dtype"] == ("float32" if value else "float16")
        assert store.meta["scale"][0] == pytest.approx(8**0.5 / (8**0.5 * value) if value else 1.0)


def test_hook_points_of_several_blocks_are_read_in_one_run(model):
    x = torch.randint(2, 50, (3, 7))
    hooks = ["blocks.1.hook_resid_post", "blocks.0.hook_resid_post"]
    expected = model.run(x, save=hooks)[1]
    for name, found in zip(hooks, read_hooks(model, x, hooks), strict=True):
        assert torch.equal(found, expected[name])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": 3}, "rows: 3 is less than one sequence has"),
        ({"hooks": ("blocks.0.attn.hook_pattern",)}, "not one row a token"),
        ({"hooks": ("blocks.0.hook_resid_pots",)}, "near are blocks.0.hook_resid_post"),
        ({"rows": 24, "shards": 20}, "do not fill 20 shards; raise it"),
    ],
)
def test_what_cannot_be_harvested_is_an_error(tmp_path, model, workload, changed, message):
    with pytest.raises(InputError, match=message):
        harvested(tmp_path, model, corpus_of(workload, "train"), **changed)


def test_too_large_shards_and_a_full_disk_name_the_rows(tmp_path, model, workload, monkeypatch):
    monkeypatch.setattr("winnow.dictionaries.harvest.LARGEST_SHARD", 4000)
    with pytest.raises(InputError, match=r"rows: 2000 make shards of 0 MiB; lower it below 749"):
        harvested(tmp_path, model, corpus_of(workload, "train"))
    # 2000 rows of 8 numbers in single precision, twice.
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2 * 2000 * 8 * 4 - 1}))
    with pytest.raises(InputError, match=r"MiB of disk while they are harvested; lower it"):
        harvested(tmp_path, model, corpus_of(workload, "train"), work="full")


def test_too_large_shards_are_noticed_after_one_range_and_rows_on_disk_need_no_second_place(
    tmp_path, model, workload, monkeypatch
):
    def at(work):
        made = {"rows": 2000, "seed": 0, "split": "train", "model_sha256": "a", "corpus_sha256": "b"}
        return Harvest(corpus_of(workload, "train"), [HOOK], work=tmp_path / work, **made)

    read = []
    monkeypatch.setattr("winnow.dictionaries.harvest.read_hooks", lambda *given: read.append(1) or read_hooks(*given))
    monkeypatch.setattr("winnow.dictionaries.harvest.LARGEST_SHARD", 3999)
    with pytest.raises(InputError, match="make shards of 0 MiB; lower it below 1997"):
        at("large").scatter(model)
    assert read == [1]
    monkeypatch.undo()
    harvest = at("full")
    harvest.scatter(model)
    occupied = (tmp_path / "full" / "x.float32").stat().st_blocks * 512
    free = 2 * harvest.count * 8 * 4 - occupied
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))
    shards = [tmp_path / "full" / f"s{i}" for i in range(2)]
    harvest.gather(shards, tmp_path / "full" / "rows.parquet", tmp_path / "full" / "meta.json")
    assert all(path.exists() for path in shards)


def test_a_row_that_is_not_finite_is_an_error(tmp_path, model, workload):
    broken = HookedTransformer(len(vocabulary()), 32, width=8, layers=2, heads=2)
    broken.embed.weight.data[:] = float("nan")
    with pytest.raises(InputError, match="is NaN or infinite; train the model again"):
        harvested(tmp_path, broken, corpus_of(workload, "train"))


def test_heads_lie_side_by_side_and_other_models_are_read_by_submodule(model):
    x = torch.randint(2, 50, (3, 7))
    heads = read_hooks(model, x, ["blocks.0.attn.hook_z"])[0]
    assert torch.equal(heads, model.run(x, save=["blocks.0.attn.hook_z"])[1]["blocks.0.attn.hook_z"].flatten(2))
    plain = torch.nn.Sequential(torch.nn.Embedding(50, 6), torch.nn.Linear(6, 5))
    with torch.no_grad():
        assert torch.equal(read_hooks(plain, x, ["1"])[0], plain(x))
    normed = read_hooks(model, x, ["ln_final.hook_normalized"])[0]
    assert torch.equal(normed, model.run(x, save=["ln_final.hook_normalized"])[1]["ln_final.hook_normalized"])


def test_meta_says_what_is_left_out(store):
    meta = json.loads((store.rows.parent / "meta.json").read_text())
    assert meta["excluded"] == "beginnings, padding, and the last token of each document"
    assert meta["hooks"] == [HOOK] and meta["split"] == "train" and meta["seed"] == 5
