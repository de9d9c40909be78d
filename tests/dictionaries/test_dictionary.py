import json
import sys
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from winnow.dictionaries import dictionary as module
from winnow.dictionaries import load, save
from winnow.dictionaries.codes import make_backend
from winnow.dictionaries.dictionary import Dictionary, Sparse, write_atomically
from winnow.errors import InputError


def make(activation="topk", d_in=6, d_out=6, m=20, **changes):
    generator = torch.Generator().manual_seed(0)
    settings = {
        "W_enc": torch.randn(d_in, m, generator=generator),
        "b_enc": torch.randn(m, generator=generator) * 0.2,
        "W_dec": torch.nn.functional.normalize(torch.randn(m, d_out, generator=generator), dim=1),
        "b_dec_in": torch.randn(d_in, generator=generator),
        "b_dec_out": torch.randn(d_out, generator=generator),
        "threshold": torch.rand(m, generator=generator) + 0.5,
        "architecture": activation,
        "activation": activation,
        "k": 4 if activation == "topk" else None,
        "info": {"hook": "features.0", "seed": 3, "rows": 100, "metrics": {"fvu": 0.5}},
    }
    return Dictionary(**{**settings, **changes})


ROWS = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)) * 2


def codes_by_hand(dictionary, x):
    pre = (x - dictionary.b_dec_in) @ dictionary.W_enc + dictionary.b_enc
    if dictionary.activation == "jumprelu":
        return torch.where(pre > dictionary.threshold, pre, 0)
    best = torch.topk(pre, dictionary.k, dim=1)
    return torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())


@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
def test_codes_and_reconstructions_follow_the_equations(activation):
    dictionary = make(activation, d_out=9)
    expected = codes_by_hand(dictionary, ROWS)
    torch.testing.assert_close(dictionary.dense(ROWS), expected, atol=1e-5, rtol=1e-5)
    out = expected @ dictionary.W_dec + dictionary.b_dec_out
    for found in (
        dictionary.reconstruct(ROWS),
        dictionary.decode(expected),
        dictionary.decode(dictionary.encode(ROWS)),
    ):
        torch.testing.assert_close(found, out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
def test_sparse_codes_list_active_latents_by_index_and_pad_with_zeros(activation):
    dictionary = make(activation, threshold=torch.full((20,), 2.0))
    values, indices = dictionary.encode(ROWS)
    dense = codes_by_hand(dictionary, ROWS)
    assert values.shape == indices.shape and indices.dtype == torch.int64 and values.dtype == torch.float32
    assert values.shape[1] == (4 if activation == "topk" else int((dense > 0).sum(1).max()))
    for n in range(len(ROWS)):
        active = dense[n].nonzero().flatten().tolist()
        assert indices[n].tolist() == active + [0] * (values.shape[1] - len(active))
        assert (values[n, len(active) :] == 0).all() and (values[n, : len(active)] > 0).all()


@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
def test_a_permuted_batch_has_permuted_codes(activation):
    dictionary, order = make(activation), torch.randperm(50, generator=torch.Generator().manual_seed(2))
    values, indices = dictionary.encode(ROWS)
    moved = dictionary.encode(ROWS[order])
    assert torch.equal(moved.indices, indices[order])
    torch.testing.assert_close(moved.values, values[order])


def test_many_rows_are_encoded_in_pieces_as_if_at_once():
    generator = torch.Generator().manual_seed(3)
    dictionary = make("jumprelu", threshold=torch.full((20,), 6.0))
    rows = torch.randn(1_800_000 // 6, 6, generator=generator)
    wide = make(m=2000, d_in=6)
    small = wide.encode(rows[:5000])
    large = wide.encode(rows[:20_000])  # several pieces, and the compiled backend
    assert torch.equal(large.indices[:5000], small.indices)
    torch.testing.assert_close(large.values[:5000], small.values)
    assert len(dictionary.encode(rows).values) == len(rows)


@pytest.mark.parametrize(("entries", "rows_of_a_piece"), [(100, 5), (119, 5), (20, 1), (7, 1)])
def test_no_piece_has_more_entries_than_memory_is_meant_for(entries, rows_of_a_piece, monkeypatch):
    sizes, of_a_piece = [], Dictionary.pre_activations

    def pre_activations(self, x):
        sizes.append(len(x))
        return of_a_piece(self, x)

    dictionary = make()
    whole, out = dictionary.encode(ROWS), dictionary.reconstruct(ROWS)
    monkeypatch.setattr(module, "ENTRIES_AT_ONCE", entries)
    monkeypatch.setattr(Dictionary, "pre_activations", pre_activations)
    code = dictionary.encode(ROWS)
    assert set(sizes) == {rows_of_a_piece} and sum(sizes) == 50
    assert torch.equal(code.indices, whole.indices)
    torch.testing.assert_close(code.values, whole.values)
    encoded = []
    encode = Dictionary.encode
    monkeypatch.setattr(Dictionary, "encode", lambda self, x: encoded.append(len(x)) or encode(self, x))
    torch.testing.assert_close(dictionary.reconstruct(ROWS), out)
    assert set(encoded) == {rows_of_a_piece} and sum(encoded) == 50
    bad = ROWS.clone()
    bad[17, 2] = float("nan")
    with pytest.raises(InputError, match="row 17 is NaN"):  # its place among all rows, not in its piece
        dictionary.reconstruct(bad)


@pytest.mark.parametrize(
    ("n", "loaded", "backend"),
    [(1, False, "torch"), (1024, False, "torch"), (1025, False, "auto"), (5000, False, "auto"), (1, True, "auto")],
)
def test_compiled_loops_are_asked_for_where_there_is_much_to_encode_or_they_are_loaded(n, loaded, backend, monkeypatch):
    class Asked(Exception):
        pass

    def make_backend(name):
        raise Asked(name)

    monkeypatch.setattr(module, "make_backend", make_backend)
    monkeypatch.setitem(sys.modules, "numba", None)
    if not loaded:
        monkeypatch.delitem(sys.modules, "numba")
    with pytest.raises(Asked, match=backend):
        make(m=2**15).encode(torch.zeros(n, 6))  # 2 ** 25 entries are the last that torch has


def test_dense_codes_are_those_of_encode_spelt_out_with_either_kind_of_loop(monkeypatch):
    for dictionary in (make(), make(activation="jumprelu")):
        values, indices = dictionary.encode(ROWS)
        expected = torch.zeros(len(ROWS), dictionary.m).scatter_add(1, indices, values)
        for backend in (make_backend("torch"), make_backend("numba")):
            with monkeypatch.context() as patch:
                patch.setattr(module, "make_backend", lambda _, chosen=backend: chosen)
                assert torch.equal(dictionary.dense(ROWS), expected)
                assert torch.equal(dictionary.encode(ROWS).indices, indices)
        assert dictionary.dense(ROWS[:0]).shape == (0, dictionary.m)


def test_gradients_reach_the_rows_though_compiled_loops_are_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", sys)
    for dictionary in (make(), make(activation="jumprelu")):
        rows = ROWS.clone().requires_grad_()
        (slope,) = torch.autograd.grad(dictionary.dense(rows).sum(), rows)
        # Each active latent passes on its column of the encoder.
        torch.testing.assert_close(slope, (dictionary.dense(ROWS) > 0).float() @ dictionary.W_enc.T)


def test_no_rows_have_an_empty_code():
    assert make().encode(torch.zeros(0, 6)).values.shape == (0, 4)
    for width, dictionary in ((1, make("jumprelu")), (4, make())):
        code = dictionary.encode(torch.zeros(0, 6))
        assert code.values.shape == code.indices.shape == (0, width) and code.indices.dtype == torch.int64
    assert make("jumprelu").dense(torch.zeros(0, 6)).shape == (0, 20)
    assert make(d_out=9).reconstruct(torch.zeros(0, 6)).shape == (0, 9)


def test_a_threshold_decides_also_where_a_mean_number_of_latents_is_known():
    """A batchtopk dictionary keeps its k, but a row may have more or fewer active latents."""
    thresholds = {"threshold": torch.full((20,), 2.0), "architecture": "batchtopk"}
    with_k, without = make("jumprelu", k=7, **thresholds), make("jumprelu", **thresholds)
    code, expected = with_k.encode(ROWS), without.encode(ROWS)
    assert torch.equal(code.values, expected.values) and torch.equal(code.indices, expected.indices)
    counts = (code.values > 0).sum(1)
    assert counts.min() < 7 < counts.max() == code.values.shape[1]


def test_rows_without_an_active_latent_have_a_code_of_zeros():
    silent = {"b_enc": torch.full((20,), -1000.0)}
    for width, dictionary in ((1, make("jumprelu", **silent)), (4, make(**silent))):
        values, indices = dictionary.encode(ROWS)
        assert values.shape == indices.shape == (50, width)
        assert not values.any() and not indices.any()
        torch.testing.assert_close(dictionary.reconstruct(ROWS), dictionary.b_dec_out.expand(50, 6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_rows_of_any_float_type_are_read(dtype):
    rows = ROWS.to(dtype)
    values, indices = make().encode(rows)
    expected = make().encode(rows.float())
    assert values.dtype == torch.float32
    assert torch.equal(values, expected.values) and torch.equal(indices, expected.indices)


def test_a_dictionary_is_not_changed_once_it_is_made():
    with pytest.raises(FrozenInstanceError):
        make().k = 3


@pytest.mark.parametrize("k", [1, 19])
def test_k_may_be_anything_from_one_to_all_but_one(k):
    assert make(k=k).encode(ROWS).values.shape == (50, k)


def test_decoder_rows_may_be_off_unit_norm_by_rounding_alone():
    rows = make().W_dec.clone()
    for factor, fits in ((1 + 5e-5, True), (1 - 5e-5, True), (1 + 2e-4, False), (1 - 2e-4, False)):
        scaled = rows.clone()
        scaled[7] *= factor
        if fits:
            make(W_dec=scaled)
        else:
            with pytest.raises(InputError, match="off unit norm"):
                make(W_dec=scaled)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("before")

    def half(temporary):
        temporary.write_text("half")
        assert temporary != file and temporary.parent == tmp_path
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_atomically(file, half)
    assert file.read_text() == "before" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    write_atomically(file, lambda temporary: temporary.write_text("after"))
    assert file.read_text() == "after" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
def test_saved_dictionaries_come_back_whole(tmp_path, activation):
    dictionary = make(activation, d_out=5)
    save(dictionary, tmp_path / "dictionary.safetensors")
    for place in (tmp_path, tmp_path / "dictionary.safetensors"):
        found = load(place)
        for name in ("W_enc", "b_enc", "W_dec", "b_dec_in", "b_dec_out", "threshold"):
            assert torch.equal(getattr(found, name), getattr(dictionary, name))
        assert (found.architecture, found.activation, found.k) == (activation, activation, dictionary.k)
        assert found.info == dictionary.info
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dictionary.json", "dictionary.safetensors"]
    text = (tmp_path / "dictionary.json").read_text()
    described = json.loads(text)
    assert list(described) == sorted(described) and text.endswith("}\n")
    assert described["normalisation"] == "folded" and described["m"] == 20 and described["d_out"] == 5
    # Format 1 is what files of this version are, wherever they have been carried.
    assert described["format"] == 1 and described["d_in"] == 6


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save(make(), tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def damage(folder, how):
    weights, described = folder / "dictionary.safetensors", folder / "dictionary.json"
    text = json.loads(described.read_text())
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-20])
    elif how == "rubbish":
        weights.write_bytes(b"not a tensor file")
    elif how == "missing":
        weights.unlink()
    elif how == "no json":
        described.unlink()
    elif how == "broken json":
        described.write_text("{")
    elif how == "json list":
        described.write_text("[]")
    elif how == "incomplete":
        described.write_text(json.dumps({k: v for k, v in text.items() if k != "activation"}))
    elif how == "format":
        described.write_text(json.dumps({**text, "format": 99}))
    elif how == "unfolded":
        described.write_text(json.dumps({**text, "normalisation": "raw"}))
    elif how == "other shape":
        described.write_text(json.dumps({**text, "m": 21}))
    elif how == "activation":
        described.write_text(json.dumps({**text, "activation": "softmax"}))
    elif how == "tensor":
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        del tensors["threshold"]
        save_file(tensors, weights)
    elif how == "norm":
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        tensors["W_dec"][3] *= 1.01
        save_file(tensors, weights)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "cannot be read"),
        ("rubbish", "cannot be read"),
        ("missing", "missing"),
        ("no json", "missing"),
        ("broken json", "cannot be read"),
        ("json list", "holds no JSON object"),
        ("incomplete", "activation is missing"),
        ("format", "format is 99"),
        ("unfolded", "normalisation is not folded"),
        ("other shape", "not one pair"),
        ("activation", "activation 'softmax' is unknown"),
        ("tensor", "holds .* needs .*threshold"),
        ("norm", "off unit norm"),
    ],
)
def test_damaged_files_are_named_with_a_remedy(tmp_path, how, message):
    save(make(), tmp_path / "dictionary.safetensors")
    damage(tmp_path, how)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 21}, "k is 21; it must be at least 1 and at most m = 20"),
        ({"k": 0}, "k is 0"),
        ({"k": None}, "k is None"),
        ({"b_enc": torch.zeros(19)}, "b_enc has shape"),
        ({"W_dec": torch.eye(20)[:, :6] * 0 + 2}, "off unit norm"),
        ({"threshold": torch.full((20,), float("nan"))}, "threshold is not finite"),
        ({"b_dec_in": torch.zeros(7)}, "b_dec_in has shape"),
        ({"threshold": torch.tensor([1.0] * 19 + [float("inf")])}, "threshold is not finite"),
        ({"W_enc": torch.zeros(6)}, "must be matrices"),
        ({"W_dec": torch.ones(20)}, "must be matrices"),
        ({"W_dec": torch.ones(20, 6, 1)}, "must be matrices"),
    ],
)
def test_inconsistent_dictionaries_cannot_be_made(changes, message):
    with pytest.raises(InputError, match=message):
        replace(make(), **changes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(3, 7), r"the dictionary reads \[n, 6\]"),
        (torch.zeros(6), r"the dictionary reads \[n, 6\]"),
        (torch.tensor([[0.0] * 6, [0.0] * 5 + [float("nan")]]), "row 1 is NaN or infinite"),
        (torch.full((2, 6), float("inf")), "row 0 is NaN or infinite"),
    ],
)
def test_bad_activations_are_named(rows, message):
    for function in (make().encode, make().dense, make().reconstruct):
        with pytest.raises(InputError, match=message):
            function(rows)


def test_all_latents_may_be_kept():
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    found = make(k=20)
    torch.testing.assert_close(found.dense(x), found.pre_activations(x).relu(), atol=1e-6, rtol=1e-6)


def test_a_sparse_code_is_a_named_pair():
    code = make().encode(ROWS)
    assert isinstance(code, Sparse) and code.values is code[0] and code.indices is code[1]
