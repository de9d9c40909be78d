"""Dictionaries of other tools: the same codes and reconstructions as their own formulas, and back again."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize, relu

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.exchange import (
    from_dictionary_learning,
    from_saelens,
    to_dictionary_learning,
    to_saelens,
)
from winnow.errors import InputError

D, M, K = 6, 20, 3
ROWS = 2 * torch.randn(50, D, generator=torch.Generator().manual_seed(3))
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(unit=False):
    """Weights as SAELens names them, with decoder rows of different norms."""
    decoder = random(M, D, seed=0)
    return {
        "W_enc": random(D, M, seed=1),
        "b_enc": 0.3 * random(M, seed=2),
        "W_dec": normalize(decoder, dim=1) if unit else decoder,
        "b_dec": random(D, seed=4),
    }


def largest(pre, k=K):
    value, index = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, index, relu(value))


def saelens(folder, architecture, tensors, **config):
    folder.mkdir(exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "sae_weights.safetensors")
    described = {
        "architecture": architecture,
        "normalize_activations": "none",
        "metadata": {"hook_name": "h"},
        **config,
    }
    (folder / "cfg.json").write_text(json.dumps(described))
    return folder


def dictionary_learning(folder, name, state):
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "submodule_name": "h"}}))
    return folder


def check(ours, codes, decoder, bias):
    """codes: by the tool's own formula, for decoder rows of any norm."""
    torch.testing.assert_close(ours.dense(ROWS), codes * decoder.norm(dim=1), **CLOSE)
    torch.testing.assert_close(ours.reconstruct(ROWS), codes @ decoder + bias, **CLOSE)
    assert ours.info["hook"] == "h"


@pytest.mark.parametrize("applied", [True, False])
def test_saelens_standard(tmp_path, applied):
    w = weights()
    pre = (ROWS - applied * w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    ours = from_saelens(saelens(tmp_path, "standard", w, apply_b_dec_to_input=applied))
    check(ours, relu(pre), w["W_dec"], w["b_dec"])


def test_saelens_jumprelu_also_where_a_threshold_is_negative(tmp_path):
    w = weights() | {"threshold": random(M, seed=5)}
    pre = (ROWS - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    check(from_saelens(saelens(tmp_path, "jumprelu", w)), relu(pre) * (pre > w["threshold"]), w["W_dec"], w["b_dec"])


def test_saelens_gated(tmp_path):
    w = weights()
    del w["b_enc"]
    w |= {"b_gate": random(M, seed=6), "b_mag": random(M, seed=7), "r_mag": 0.5 * random(M, seed=8)}
    centred = ROWS - w["b_dec"]
    gate = (centred @ w["W_enc"] + w["b_gate"] > 0).float()
    codes = gate * relu(centred @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    check(from_saelens(saelens(tmp_path, "gated", w)), codes, w["W_dec"], w["b_dec"])


def test_saelens_topk_ranked_by_activation_times_norm_is_folded(tmp_path):
    w = weights()
    norm = w["W_dec"].norm(dim=1)
    codes = largest(((ROWS - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norm) / norm
    ours = from_saelens(saelens(tmp_path, "topk", w, k=K, rescale_acts_by_decoder_norm=True))
    check(ours, codes, w["W_dec"], w["b_dec"])


def test_saelens_topk_of_unit_norm(tmp_path):
    w = weights(unit=True)
    codes = largest((ROWS - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
    check(from_saelens(saelens(tmp_path, "topk", w, k=K)), codes, w["W_dec"], w["b_dec"])


OUT = 4
"""Dimensions that a transcoder writes."""


def transcoder():
    """Weights of a transcoder as SAELens names them."""
    return weights() | {"W_dec": random(M, OUT, seed=10), "b_dec": random(OUT, seed=11)}


@pytest.mark.parametrize("kind", ["transcoder", "jumprelu_transcoder"])
def test_saelens_transcoders_take_no_bias_off_what_goes_in(tmp_path, kind):
    w = transcoder() | ({"threshold": random(M, seed=5).abs()} if kind == "jumprelu_transcoder" else {})
    pre = ROWS @ w["W_enc"] + w["b_enc"]
    hooks = {"hook_name": "h", "hook_name_out": "out"}
    found = from_saelens(saelens(tmp_path, kind, w, apply_b_dec_to_input=False, metadata=hooks))
    check(found, relu(pre) * (pre > w.get("threshold", 0)), w["W_dec"], w["b_dec"])
    assert found.info["hook_out"] == "out" and (found.architecture == "jumprelu") == ("threshold" in w)


@pytest.mark.parametrize("name", ["activation_fn", "activation_fn_str"])
def test_saelens_before_version_6_has_topk_as_the_function_of_a_standard_autoencoder(tmp_path, name):
    w = weights(unit=True)
    codes = largest((ROWS - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
    older = {name: "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": False, "metadata": None}
    found = from_saelens(saelens(tmp_path, "standard", w, **older, hook_point="h"))
    check(found, codes, w["W_dec"], w["b_dec"])
    assert (found.activation, found.k) == ("topk", K)


def test_saelens_files_that_name_no_architecture_are_standard(tmp_path):
    w = weights()
    folder = saelens(tmp_path, None, w, activation_fn="relu", hook_name="h", metadata=None)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in config.items() if k != "architecture"}))
    check(from_saelens(folder), relu((ROWS - w["b_dec"]) @ w["W_enc"] + w["b_enc"]), w["W_dec"], w["b_dec"])


def state(decoder_bias="b_dec", unit=False):
    w = weights(unit)
    found = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T, decoder_bias: w["b_dec"]}
    return w, {name: t.contiguous() for name, t in found.items()}


def test_dictionary_learning_standard_topk_and_batchtopk(tmp_path):
    w, found = state("bias")
    pre = (ROWS - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    folder = dictionary_learning(tmp_path / "a", "AutoEncoder", found | {"encoder.bias": w["b_enc"]})
    check(from_dictionary_learning(folder), relu(pre), w["W_dec"], w["b_dec"])

    extra = {"encoder.bias": w["b_enc"], "k": torch.tensor(K), "threshold": torch.tensor(0.8)}
    folder = dictionary_learning(tmp_path / "b", "BatchTopKSAE", state()[1] | extra)
    check(from_dictionary_learning(folder), relu(pre) * (relu(pre) > 0.8), w["W_dec"], w["b_dec"])

    w, found = state(unit=True)
    folder = dictionary_learning(tmp_path / "c", "AutoEncoderTopK", found | extra)
    check(from_dictionary_learning(folder), largest(pre), w["W_dec"], w["b_dec"])


def test_dictionary_learning_jumprelu_and_gated(tmp_path):
    w = weights() | {"threshold": random(M, seed=5).abs()}
    pre = ROWS @ w["W_enc"] + w["b_enc"]  # its b_dec is not taken off what goes in
    folder = dictionary_learning(tmp_path / "a", "JumpReluAutoEncoder", w)
    check(from_dictionary_learning(folder), relu(pre * (pre > w["threshold"])), w["W_dec"], w["b_dec"])

    w, found = state("decoder_bias")
    gated = {"r_mag": 0.5 * random(M, seed=8), "gate_bias": random(M, seed=6), "mag_bias": random(M, seed=7)}
    encoded = (ROWS - w["b_dec"]) @ w["W_enc"]
    codes = (encoded + gated["gate_bias"] > 0) * relu(gated["r_mag"].exp() * encoded + gated["mag_bias"])
    folder = dictionary_learning(tmp_path / "b", "GatedAutoEncoder", found | gated)
    check(from_dictionary_learning(folder), codes, w["W_dec"], w["b_dec"])


def ours(activation, shared=True):
    w = weights(unit=True)
    inner = w["b_dec"].clone() if shared else random(D, seed=9)
    threshold = random(M, seed=5).abs()
    architecture, k = ("topk", K) if activation == "topk" else ("jumprelu", None)
    parts = (w["W_enc"], w["b_enc"], w["W_dec"], inner, w["b_dec"], threshold)
    return Dictionary(*parts, architecture, activation, k, {"hook": "h"})


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
@pytest.mark.parametrize(
    ("write", "read"), [(to_saelens, from_saelens), (to_dictionary_learning, from_dictionary_learning)]
)
def test_what_is_written_is_read_again(tmp_path, activation, shared, write, read):
    dictionary = ours(activation, shared)
    if write is to_dictionary_learning and activation == "topk" and not shared:
        with pytest.raises(InputError, match="its biases of input and output differ"):
            write(dictionary, tmp_path / "never")
        assert not (tmp_path / "never").exists()
        return
    write(dictionary, tmp_path / "deep" / "folder")
    again = read(tmp_path / "deep" / "folder")
    torch.testing.assert_close(again.dense(ROWS), dictionary.dense(ROWS), **CLOSE)
    torch.testing.assert_close(again.reconstruct(ROWS), dictionary.reconstruct(ROWS), **CLOSE)
    assert (again.architecture, again.k, again.info["hook"]) == (dictionary.architecture, dictionary.k, "h")


def test_written_files_say_what_the_tools_ask_for(tmp_path):
    to_saelens(ours("jumprelu"), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert (config["architecture"], config["d_in"], config["d_sae"]) == ("jumprelu", D, M)
    assert config["apply_b_dec_to_input"] is True and config["normalize_activations"] == "none"
    assert set(load_file(tmp_path / "sae_weights.safetensors")) == {"W_enc", "W_dec", "b_enc", "b_dec", "threshold"}
    to_dictionary_learning(ours("topk"), tmp_path)
    trainer = json.loads((tmp_path / "config.json").read_text())["trainer"]
    assert (trainer["dict_class"], trainer["activation_dim"], trainer["dict_size"], trainer["k"]) == (
        "AutoEncoderTopK",
        D,
        M,
        K,
    )


def test_a_silent_decoder_row_stays_silent(tmp_path):
    w = weights()
    w["W_dec"][4] = 0
    codes = from_saelens(saelens(tmp_path, "standard", w)).dense(ROWS)
    assert (codes[:, 4] == 0).all() and torch.isfinite(codes).all()


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


def test_what_has_to_be_unpickled_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = dictionary_learning(tmp_path / "a", "AutoEncoder", {"bias": Exploit()})
    with pytest.raises(InputError, match=r"ae.pt: holds more than tensors and is not unpickled"):
        from_dictionary_learning(folder)
    assert not (tmp_path / "exploited").exists()


def test_what_is_no_autoencoder_of_theirs_is_an_error(tmp_path):
    w = weights()
    cases = [
        (saelens(tmp_path / "a", "matryoshka", w), "architecture 'matryoshka' is none of standard, topk"),
        (saelens(tmp_path / "b", "standard", w, normalize_activations="layer_norm"), "fold it into the weights"),
        (saelens(tmp_path / "c", "standard", w, reshape_activations="hook_z"), "reshape_activations is 'hook_z'"),
        (saelens(tmp_path / "d", "topk", w, k=K), "not of unit norm"),
        (saelens(tmp_path / "e", "gated", w), "has no b_gate"),
        (saelens(tmp_path / "f", "jumprelu", w), "has no threshold"),
        (saelens(tmp_path / "g", "standard", w | {"W_dec": w["W_dec"][:5].clone()}), "no pair of one dictionary"),
        (saelens(tmp_path / "h", "transcoder", transcoder() | {"b_dec": w["b_dec"]}), "no pair of one dictionary"),
        (saelens(tmp_path / "i", "skip_transcoder", transcoder()), "architecture 'skip_transcoder' is none of"),
        (saelens(tmp_path / "j", "standard", w, activation_fn_str="tanh-relu"), "activation_fn is 'tanh-relu'"),
        (saelens(tmp_path / "k", "gated", w, activation_fn="topk"), "activation_fn is 'topk'"),
        (saelens(tmp_path / "l", "standard", w, finetuning_scaling_factor=True), "finetuning_scaling_factor is set"),
        (saelens(tmp_path / "m", "standard", w, normalize_activations=True), "normalize_activations is True"),
        (tmp_path / "absent", r"cfg.json: cannot be read"),
    ]
    for folder, message in cases:
        with pytest.raises(InputError, match=message):
            from_saelens(folder)
    (tmp_path / "a" / "cfg.json").write_text("[]")
    with pytest.raises(InputError, match="holds no JSON object"):
        from_saelens(tmp_path / "a")
    (tmp_path / "b" / "sae_weights.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match=r"sae_weights.safetensors: cannot be read"):
        from_saelens(tmp_path / "b")


def test_what_dictionary_learning_cannot_have_written_is_an_error(tmp_path):
    cases = [
        (dictionary_learning(tmp_path / "a", "Identity", {}), "dict_class 'Identity' is none of AutoEncoder"),
        (dictionary_learning(tmp_path / "b", "AutoEncoder", {}), "has no encoder.weight"),
        (dictionary_learning(tmp_path / "c", "AutoEncoder", [torch.zeros(1)]), "holds no state_dict"),
        (dictionary_learning(tmp_path / "d", "JumpReluAutoEncoder", weights()), "has no threshold"),
    ]
    for folder, message in cases:
        with pytest.raises(InputError, match=message):
            from_dictionary_learning(folder)
    (tmp_path / "b" / "ae.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"ae.pt: cannot be read"):
        from_dictionary_learning(tmp_path / "b")


def between(activation, hook_out=None, d_in=3):
    w = weights(unit=True)
    enc, inner = random(d_in, M, seed=1), random(d_in, seed=9)
    k, threshold = (K if activation == "topk" else None), random(M, seed=5).abs()
    info = {"hook": "h"} | ({"hook_out": hook_out} if hook_out else {})
    return Dictionary(enc, w["b_enc"], w["W_dec"], inner, w["b_dec"], threshold, "relu_l1", activation, k, info)


@pytest.mark.parametrize("d_in", [3, D])
def test_transcoders_are_written_as_saelens_has_them(tmp_path, d_in):
    dictionary, rows = between("jumprelu", "out", d_in), ROWS[:, :d_in]
    to_saelens(dictionary, tmp_path)
    config, stored = json.loads((tmp_path / "cfg.json").read_text()), load_file(tmp_path / "sae_weights.safetensors")
    assert (config["architecture"], config["d_in"], config["d_out"]) == ("jumprelu_transcoder", d_in, D)
    assert config["apply_b_dec_to_input"] is False  # which its class refuses
    assert config["metadata"] == {"hook_name": "h", "hook_name_out": "out"}
    pre = rows @ stored["W_enc"] + stored["b_enc"]
    made = (relu(pre) * (pre > stored["threshold"])) @ stored["W_dec"] + stored["b_dec"]
    torch.testing.assert_close(made, dictionary.reconstruct(rows), **CLOSE)
    again = from_saelens(tmp_path)
    torch.testing.assert_close(again.dense(rows), dictionary.dense(rows), **CLOSE)
    assert (again.info["hook"], again.info["hook_out"]) == ("h", "out")


@pytest.mark.parametrize(
    ("write", "activation", "message"),
    [
        (to_saelens, "topk", "maps 3 to 6 dimensions by topk"),
        (to_dictionary_learning, "jumprelu", "maps 3 to 6 dimensions; "),
        (to_dictionary_learning, "topk", "maps 3 to 6 dimensions; "),
    ],
)
def test_what_their_formats_cannot_say_of_transcoders_is_not_written(tmp_path, write, activation, message):
    with pytest.raises(InputError, match=message):
        write(between(activation), tmp_path / "never")
    assert not (tmp_path / "never").exists()
