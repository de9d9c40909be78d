"""The encoder beside torch's own layers with the same weights, and what padding does not change."""

import pytest
import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.models.text_encoder import TextEncoder, seen

TOKENS = torch.tensor([[1, 4, 2, 7, 3], [1, 5, 9, 0, 0]])


def encoder():
    model = TextEncoder(11, 8, 3, width=12, layers=2, heads=3, hidden=20).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return model.double()


def of_torch(block):
    """Torch's layer with a block's weights."""
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation="gelu", batch_first=True).double()
    attention = block.attn
    parts = [attention.query, attention.key, attention.value]
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        layer.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        pairs = [
            (layer.self_attn.out_proj, attention.output),
            (layer.linear1, block.mlp.up),
            (layer.linear2, block.mlp.down),
            (layer.norm1, block.ln1),
            (layer.norm2, block.ln2),
        ]
        for theirs, ours in pairs:
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
    return layer.train()  # in eval mode torch takes another path, which leaves padding out


def test_logits_are_those_of_torch_s_layers_in_bert_s_order():
    model = encoder()
    with torch.no_grad():
        x = model.embed(TOKENS) + model.pos_embed.weight[:5]
        x = torch.nn.functional.layer_norm(x, (12,), model.ln_embed.weight, model.ln_embed.bias, 1e-5)
        for block in model.blocks:
            x = of_torch(block)(x, src_key_padding_mask=TOKENS == 0)
        pooled = torch.tanh(x[:, 0] @ model.pooler.dense.weight.T + model.pooler.dense.bias)
        torch.testing.assert_close(model(TOKENS), model.classes(pooled), atol=1e-10, rtol=0)


def test_padding_and_saving_change_nothing_and_embeddings_can_stand_for_tokens():
    model = encoder()
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS)[1:], model(TOKENS[1:, :3]), atol=1e-12, rtol=0)
        logits, saved = model.run(TOKENS, save=model.all_hook_points())
        assert {*saved} == {*model.all_hook_points()}
        # What is not looked at is computed by other kernels, the last block for the first place alone.
        early = model.run(TOKENS, save=["blocks.0.hook_resid_post"])[0]
        for found in (model(TOKENS), early):
            torch.testing.assert_close(found, logits, atol=1e-12, rtol=0)
        assert torch.equal(model(model.embed(TOKENS), visible=seen(TOKENS)), model(TOKENS))
        assert torch.equal(model(model.embed(TOKENS[:1])), model(TOKENS[:1]))
    assert saved["hook_embed"].shape == (2, 5, 12) and saved["blocks.0.attn.hook_pattern"].shape == (2, 3, 5, 5)
    assert not saved["blocks.1.attn.hook_pattern"][1, :, :, 3:].any()


def test_it_is_of_the_registry_and_refuses_what_it_cannot_read():
    model = build("text_encoder", seed=1, vocabulary=11, context=4, classes=3)
    assert model.arguments["width"] == 64 and model.blocks[0].mlp.up.out_features == 256
    assert not model.classes.bias.any() and float(model.embed.weight.detach().std()) == pytest.approx(0.1, rel=0.1)
    with pytest.raises(InputError, match="5 in a row"):
        model(TOKENS)
    with pytest.raises(InputError, match=r"blocks\.9"):
        model.run(TOKENS[:, :4], save=["blocks.9.hook_q"])
    with pytest.raises(InputError, match="multiple of the 3 heads"):
        build("text_encoder", vocabulary=11, context=4, classes=3, width=64, heads=3)
