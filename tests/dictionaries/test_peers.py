"""The same weights give the same codes and reconstructions as in the libraries people come from."""

from dataclasses import replace

import pytest
import torch

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.exchange import from_dictionary_learning, from_saelens, to_dictionary_learning, to_saelens


def random_dictionary(k=5):
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(96, 24, generator=generator), dim=1)
    bias = torch.randn(24, generator=generator)
    return Dictionary(
        W_enc=torch.randn(24, 96, generator=generator),
        b_enc=torch.randn(96, generator=generator) * 0.1,
        W_dec=decoder,
        b_dec_in=bias,
        b_dec_out=bias.clone(),
        threshold=torch.zeros(96),
        architecture="topk",
        activation="topk",
        k=k,
    )


ROWS = torch.randn(200, 24, generator=torch.Generator().manual_seed(1)) * 3


def test_topk_forward_equals_saelens():
    saes = pytest.importorskip("sae_lens.saes")
    ours = random_dictionary()
    sae = saes.TopKSAE(saes.TopKSAEConfig(d_in=24, d_sae=96, k=5, device="cpu", apply_b_dec_to_input=True))
    weights = {"W_enc": ours.W_enc, "b_enc": ours.b_enc, "W_dec": ours.W_dec, "b_dec": ours.b_dec_in}
    sae.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(ours.dense(ROWS), sae.encode(ROWS), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.reconstruct(ROWS), sae(ROWS), atol=1e-5, rtol=1e-5)


def test_topk_forward_equals_dictionary_learning():
    top_k = pytest.importorskip("dictionary_learning.trainers.top_k")
    ours = random_dictionary()
    peer = top_k.AutoEncoderTopK(24, 96, 5)
    with torch.no_grad():
        peer.encoder.weight.copy_(ours.W_enc.T)
        peer.encoder.bias.copy_(ours.b_enc)
        peer.decoder.weight.copy_(ours.W_dec.T)
        peer.b_dec.copy_(ours.b_dec_in)
        torch.testing.assert_close(ours.dense(ROWS), peer.encode(ROWS), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.reconstruct(ROWS), peer(ROWS), atol=1e-5, rtol=1e-5)


def test_transcoder_forward_equals_sparsify():
    sparsify = pytest.importorskip("sparsify")
    reads_as_is = {"b_dec_in": torch.zeros(24), "b_dec_out": torch.arange(24.0)}
    ours = replace(random_dictionary(), **reads_as_is)
    peer = sparsify.SparseCoder(24, sparsify.SparseCoderConfig(num_latents=96, k=5, transcode=True))
    with torch.no_grad():
        peer.encoder.weight.copy_(ours.W_enc.T)
        peer.encoder.bias.copy_(ours.b_enc)
        peer.W_dec.copy_(ours.W_dec)
        peer.b_dec.copy_(ours.b_dec_out)
        values, indices, _ = peer.encode(ROWS)
        codes = torch.zeros(len(ROWS), 96).scatter_(1, indices, values)
        torch.testing.assert_close(ours.dense(ROWS), codes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.reconstruct(ROWS), peer(ROWS).sae_out, atol=1e-5, rtol=1e-5)


def thresholded():
    threshold = torch.rand(96, generator=torch.Generator().manual_seed(2))
    return replace(random_dictionary(), architecture="jumprelu", activation="jumprelu", k=None, threshold=threshold)


def same(ours, peer):
    with torch.no_grad():
        torch.testing.assert_close(ours.dense(ROWS), peer.encode(ROWS), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.reconstruct(ROWS), peer.decode(peer.encode(ROWS)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ours", [random_dictionary(), thresholded()], ids=["topk", "jumprelu"])
def test_saelens_reads_what_we_write_and_we_what_it_writes(tmp_path, ours):
    saes = pytest.importorskip("sae_lens.saes.sae")
    to_saelens(ours, tmp_path / "ours")
    peer = saes.SAE.load_from_disk(tmp_path / "ours", device="cpu")
    same(ours, peer)
    peer.save_model(tmp_path / "theirs")
    same(from_saelens(tmp_path / "theirs"), peer)


@pytest.mark.parametrize("name", ["StandardSAE", "GatedSAE", "TopKSAE"])
def test_untouched_autoencoders_of_saelens_are_read(tmp_path, name):
    saes = pytest.importorskip("sae_lens.saes")
    more = {"k": 5, "rescale_acts_by_decoder_norm": True} if name == "TopKSAE" else {}
    peer = getattr(saes, name)(getattr(saes, f"{name}Config")(d_in=24, d_sae=96, device="cpu", **more))
    for i, parameter in enumerate(peer.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) / 3
    peer.save_model(tmp_path)
    ours = from_saelens(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours.reconstruct(ROWS), peer(ROWS), atol=1e-5, rtol=1e-5)


def test_saelens_reads_our_transcoders_and_we_its_own(tmp_path):
    saes = pytest.importorskip("sae_lens.saes.sae")
    wide = thresholded()
    decoder = torch.nn.functional.normalize(wide.W_dec[:, :10], dim=1)
    ours = replace(wide, W_dec=decoder, b_dec_out=wide.b_dec_out[:10].clone(), info={"hook": "in", "hook_out": "out"})
    to_saelens(ours, tmp_path / "ours")
    peer = saes.SAE.load_from_disk(tmp_path / "ours", device="cpu")
    same(ours, peer)
    peer.save_model(tmp_path / "theirs")
    same(from_saelens(tmp_path / "theirs"), peer)


@pytest.mark.parametrize(
    ("ours", "kind"),
    [(random_dictionary(), "trainers.top_k:AutoEncoderTopK"), (thresholded(), "dictionary:JumpReluAutoEncoder")],
    ids=["topk", "jumprelu"],
)
def test_dictionary_learning_reads_what_we_write_and_we_what_it_writes(tmp_path, ours, kind):
    module, _, name = kind.partition(":")
    peers = pytest.importorskip(f"dictionary_learning.{module}")
    to_dictionary_learning(ours, tmp_path)
    peer = getattr(peers, name).from_pretrained(tmp_path / "ae.pt", device="cpu")
    same(ours, peer)
    torch.save(peer.state_dict(), tmp_path / "ae.pt")
    same(from_dictionary_learning(tmp_path), peer)
