"""The same weights give the same codes and reconstructions as in the libraries people come from."""

import pytest
import torch

from winnow.dictionaries.dictionary import Dictionary


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
