"""The hooked transformer beside torch's own layers and TransformerLens; reading and replacing its tensors."""

import threading

import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.models.hooked_transformer import SCALE, SCORES
from winnow.models.hooks import capture, from_hook_on, run_with


def model(**arguments):
    made = build("hooked_transformer", vocabulary=11, context=7, width=12, layers=2, heads=3, hidden=20, **arguments)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias") or "ln" in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) / 5)
    return made


@pytest.fixture
def tokens():
    return torch.randint(0, 11, (4, 7), generator=torch.Generator().manual_seed(0))


def by_torch(own, tokens):
    """The same network put together from torch's own layers."""
    stream = own.embed.weight[tokens] + own.pos_embed.weight[: tokens.shape[1]]
    mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
    for block in own.blocks:
        layer = nn.TransformerEncoderLayer(12, 3, 20, 0.0, "gelu", batch_first=True, norm_first=True).eval()
        attention = block.attn
        mixed = (attention.query, attention.key, attention.value)
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": torch.cat([part.weight for part in mixed]),
                "self_attn.in_proj_bias": torch.cat([part.bias for part in mixed]),
                "self_attn.out_proj.weight": attention.output.weight,
                "self_attn.out_proj.bias": attention.output.bias,
                "linear1.weight": block.mlp.up.weight,
                "linear1.bias": block.mlp.up.bias,
                "linear2.weight": block.mlp.down.weight,
                "linear2.bias": block.mlp.down.bias,
                "norm1.weight": block.ln1.weight,
                "norm1.bias": block.ln1.bias,
                "norm2.weight": block.ln2.weight,
                "norm2.bias": block.ln2.bias,
            }
        )
        stream = layer(stream, src_mask=mask, is_causal=True)
    norm = own.ln_final
    return nn.functional.layer_norm(stream, (12,), norm.weight, norm.bias) @ own.unembed.weight.T


def test_logits_and_streams_of_the_last_place_alone_are_those_of_all_places(tokens):
    own = model()
    # A patch of the last block's heads at another place is read by nobody there, one of the first block's is.
    patch = {f"blocks.{i}.attn.hook_z": lambda z: z + torch.arange(7.0)[:, None, None] for i in range(2)}
    for given in ({}, {"patch": patch}, {"save": [f"blocks.0.{point}" for point in SCORES]}):
        for stop in (None, 1, 2):
            stopped = given | {"stop_at": stop} if given.get("patch") is None else given
            found, whole = own.run(tokens, last=True, **stopped)[0], own.run(tokens, **stopped)[0]
            torch.testing.assert_close(found, whole[:, -1:], rtol=1e-5, atol=1e-5)


def test_logits_are_those_of_torch_s_layers(tokens):
    own = model()
    torch.testing.assert_close(own(tokens), by_torch(own, tokens), rtol=1e-5, atol=1e-5)


def test_logits_and_tensors_are_those_of_transformer_lens(tokens):
    lens = pytest.importorskip("transformer_lens")
    own = model()
    config = lens.HookedTransformerConfig(
        n_layers=2,
        d_model=12,
        n_ctx=7,
        d_head=4,
        n_heads=3,
        d_mlp=20,
        d_vocab=11,
        act_fn="gelu",
        normalization_type="LN",
    )
    peer = lens.HookedTransformer(config)
    state = {
        "embed.W_E": own.embed.weight,
        "pos_embed.W_pos": own.pos_embed.weight,
        "unembed.W_U": own.unembed.weight.T,
    }
    state |= {"ln_final.w": own.ln_final.weight, "ln_final.b": own.ln_final.bias, "unembed.b_U": torch.zeros(11)}
    for i, block in enumerate(own.blocks):
        attention = block.attn
        for letter, part in zip("QKV", (attention.query, attention.key, attention.value), strict=True):
            state[f"blocks.{i}.attn.W_{letter}"] = part.weight.unflatten(0, (3, 4)).mT
            state[f"blocks.{i}.attn.b_{letter}"] = part.bias.unflatten(0, (3, 4))
        state[f"blocks.{i}.attn.W_O"], state[f"blocks.{i}.attn.b_O"] = attention.output_weights(), attention.output.bias
        state |= {f"blocks.{i}.mlp.W_in": block.mlp.up.weight.T, f"blocks.{i}.mlp.b_in": block.mlp.up.bias}
        state |= {f"blocks.{i}.mlp.W_out": block.mlp.down.weight.T, f"blocks.{i}.mlp.b_out": block.mlp.down.bias}
        for name, norm in (("ln1", block.ln1), ("ln2", block.ln2)):
            state |= {f"blocks.{i}.{name}.w": norm.weight, f"blocks.{i}.{name}.b": norm.bias}
    peer.load_state_dict(state, strict=False)
    expected, cache = peer.run_with_cache(tokens)
    names = [name for name in own.all_hook_points() if "hook_scale" not in name and "attn_scores" not in name]
    logits, saved = own.run(tokens, save=names)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for name in names:
        if name.endswith("hook_normalized"):
            continue  # TransformerLens takes it before scale and shift
        torch.testing.assert_close(saved[name], cache[name].expand_as(saved[name]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"activation": "relu", "normalization": "none", "tied": True}])
def test_saving_and_patches_that_change_nothing_change_no_bit(options, tokens):
    own = model(**options)
    logits = own(tokens)
    names = [name for name in own.all_hook_points() if not name.endswith((*SCORES, SCALE))]
    again, saved = own.run(tokens, save=names, patch={name: lambda x: x for name in names})
    assert torch.equal(logits, again) and saved.keys() == set(names)
    assert torch.equal(own.run(own.embed(tokens))[0], logits)
    assert torch.equal(own.run(tokens, stop_at=1)[0], saved["blocks.0.hook_resid_post"])
    assert torch.equal(own.foretold(own.run(tokens, stop_at=len(own.blocks))[0]), logits)
    assert (saved["blocks.0.hook_resid_post"] == saved["blocks.1.hook_resid_pre"]).all()
    patched, after = own.run(
        tokens, save=["blocks.1.hook_resid_pre"], patch={"blocks.1.hook_resid_pre": lambda x: 0 * x}
    )
    assert (after["blocks.1.hook_resid_pre"] == 0).all() and not torch.equal(patched, logits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stop_at": 3}, "stop_at: 3, of a model of 2 blocks; give a number from 0 to 2"),
        ({"stop_at": -1}, "stop_at: -1, of a model"),
        (
            {"stop_at": 1, "save": ["blocks.1.hook_resid_pre"]},
            "'blocks.1.hook_resid_pre': lies beyond stop_at 1",
        ),
        ({"stop_at": 2, "patch": {"ln_final.hook_normalized": torch.relu}}, "'ln_final.hook_normalized': lies beyond"),
        ({"start_at": 3}, "start_at: 3, of a model of 2 blocks; give a number from 0 to 2"),
        ({"start_at": 1, "save": ["blocks.0.hook_mlp_out"]}, "'blocks.0.hook_mlp_out': lies before start_at 1"),
        ({"start_at": 1, "save": ["hook_embed"]}, "'hook_embed': lies before start_at 1"),
    ],
)
def test_what_would_not_run_cannot_be_asked_for(tokens, arguments, message):
    with pytest.raises(InputError, match=message):
        model().run(tokens, **arguments)
    saved = model().run(tokens, save=["hook_embed", "hook_pos_embed"], stop_at=0)[1]
    assert saved.keys() == {"hook_embed", "hook_pos_embed"}


def test_rows_are_replaced_without_a_hook_on_the_module(tokens, monkeypatch):
    own = model()
    expected = own.run(tokens, patch={"blocks.0.hook_resid_post": lambda x: 2 * x})[0]
    monkeypatch.setattr(nn.Module, "register_forward_hook", lambda *_: pytest.fail("the module was touched"))
    assert torch.equal(run_with(own, tokens, "blocks.0.hook_resid_post", lambda rows: 2 * rows), expected)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_run_from_a_later_block_on_is_the_rest_of_a_whole_one(start, tokens):
    own = model()
    stream = own.run(tokens, stop_at=start)[0]
    assert torch.equal(own.run(stream, start_at=start)[0], own(tokens))


def test_edits_from_a_hook_point_on_are_those_of_whole_runs(tokens):
    own = model()
    for name in own.all_hook_points():
        if not name.endswith(SCORES):
            rest = from_hook_on(own, tokens, name)
            for factor in (torch.tensor(2.0), torch.tensor(0.5)):
                found, whole = rest(factor.__mul__), run_with(own, tokens, name, factor.__mul__)
                # Where a scale is edited, LayerNorms before it are one kernel each, or steps.
                assert torch.equal(found, whole) or (name.endswith(SCALE) and torch.allclose(found, whole, atol=1e-5))
    rows = capture(own, tokens, "blocks.0.mlp").detach().requires_grad_()
    (expected,) = torch.autograd.grad(run_with(own, tokens, "blocks.0.mlp", lambda x: rows).square().sum(), rows)
    rest = from_hook_on(own, tokens, "blocks.0.hook_mlp_out")
    (gradient,) = torch.autograd.grad(rest(lambda x: rows).square().sum(), rows)
    assert torch.equal(gradient, expected)
    assert torch.equal(from_hook_on(own, tokens, "blocks.0.mlp")(torch.relu), rest(torch.relu))


def test_layer_norm_in_one_kernel_is_layer_norm_step_by_step(tokens):
    own = model().double()
    at_once = own(tokens)
    stepwise, saved = own.run(tokens, save=["blocks.1.ln2.hook_scale", "blocks.1.hook_resid_mid"])
    torch.testing.assert_close(at_once, stepwise, rtol=1e-12, atol=1e-12)
    spread = saved["blocks.1.hook_resid_mid"].var(-1, correction=0, keepdim=True)
    torch.testing.assert_close(saved["blocks.1.ln2.hook_scale"], (spread + 1e-5).sqrt())


def test_attention_in_one_kernel_is_attention_step_by_step(tokens):
    own = model().double()
    logits = own(tokens)
    logits.square().mean().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in own.named_parameters()}
    own.zero_grad()
    again, saved = own.run(tokens, save=own.all_hook_points())
    assert saved.keys() == set(own.all_hook_points())
    assert torch.allclose(logits, again, atol=1e-13)
    again.square().mean().backward()
    assert all(torch.allclose(gradients[name], p.grad, atol=1e-13) for name, p in own.named_parameters())


@pytest.mark.parametrize("point", [*SCORES, f"ln1.{SCALE}", f"ln2.{SCALE}"])
def test_patches_and_hooks_on_scores_patterns_and_scales_are_heard(point, tokens):
    own, name = model(), f"blocks.1.{point}"
    patched = own.run(tokens, patch={name: lambda x: x / 2})[0]
    assert not torch.allclose(patched, own(tokens), atol=1e-3)
    with own.get_submodule(name).register_forward_hook(lambda module, inputs, output: output / 2):
        assert torch.equal(own(tokens), patched)
    with own.get_submodule(name).register_forward_pre_hook(lambda module, inputs: inputs[0] / 2):
        assert torch.equal(own(tokens), patched)


def test_shapes_and_what_patterns_see(tokens):
    own = model()
    _, saved = own.run(tokens[:, :5], save=own.all_hook_points())
    pattern = saved["blocks.1.attn.hook_pattern"]
    assert pattern.shape == (4, 3, 5, 5) and saved["blocks.0.attn.hook_z"].shape == (4, 5, 3, 4)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(4, 3, 5))
    assert (pattern.triu(1) == 0).all()
    values = torch.einsum("ntw,hwd->nthd", saved["blocks.0.ln1.hook_normalized"], own.blocks[0].attn.value_weights())
    bias = own.blocks[0].attn.value.bias.unflatten(0, (3, 4))
    torch.testing.assert_close(values + bias, saved["blocks.0.attn.hook_v"])
    written = torch.einsum("nthd,hdw->ntw", saved["blocks.0.attn.hook_z"], own.blocks[0].attn.output_weights())
    torch.testing.assert_close(written + own.blocks[0].attn.output.bias, saved["blocks.0.hook_attn_out"])


def test_tools_for_submodules_read_and_replace_hook_points(tokens):
    own = model()
    _, saved = own.run(tokens, save=["blocks.0.hook_resid_post"])
    assert torch.equal(
        capture(own, tokens, "blocks.0.hook_resid_post"), saved["blocks.0.hook_resid_post"].flatten(0, 1)
    )
    halved = run_with(own, tokens, "blocks.0.hook_resid_post", lambda rows: rows / 2)
    assert torch.equal(halved, own.run(tokens, patch={"blocks.0.hook_resid_post": lambda x: x / 2})[0])


@pytest.mark.parametrize("before", [1, 4, 6])
@torch.no_grad()
def test_what_stands_before_may_be_run_once(before, tokens):
    own = model().double()
    rows = torch.cat([tokens[:1, :before].expand(4, -1), tokens[:, before:]], 1)
    names = [f"blocks.{i}.attn.hook_{part}" for i in range(2) for part in "kv"]
    _, saved = own.run(rows[:1, :before], save=names)
    past = [(saved[key], saved[value]) for key, value in zip(names[::2], names[1::2], strict=True)]
    pattern = "blocks.1.attn.hook_pattern"
    logits, after = own.run(rows[:, before:], save=[pattern], past=past)
    whole, all_of = own.run(rows, save=[pattern])
    assert torch.allclose(logits, whole[:, before:], atol=1e-12)
    assert torch.allclose(after[pattern], all_of[pattern][:, :, before:], atol=1e-12)
    with pytest.raises(InputError, match="8 in a row, the model's context is 7"):
        own.run(torch.zeros(1, 8 - before, dtype=torch.long), past=past)


def test_two_threads_share_one_model(tokens):
    own, found = model(), {}

    def work(factor):
        for _ in range(20):
            found[factor] = own.run(tokens, patch={"blocks.0.hook_mlp_out": lambda x: x * factor})[0]

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (0.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for factor, logits in found.items():
        assert torch.equal(logits, own.run(tokens, patch={"blocks.0.hook_mlp_out": lambda x, f=factor: x * f})[0])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, x: m.run(x, save=["blocks.0.hook_resid_pots"]), "near are blocks.0.hook_resid_post"),
        (lambda m, x: m.run(x, patch={"nothing": lambda t: t}), "no such point; near are blocks.0.attn.hook"),
        (lambda m, x: m.run(torch.cat([x, x], 1)), "tokens: 14 in a row, the model's context is 7"),
        (
            lambda m, x: m.run(x, patch={"hook_embed": lambda t: t[:1]}),
            r"gives \(1, 7, 12\) in the place of \(4, 7, 12\)",
        ),
        (
            lambda m, x: build("hooked_transformer", vocabulary=5, context=4, width=10, heads=4),
            "width 10 is no multiple",
        ),
        (lambda m, x: build("hooked_transformer", vocabulary=5, context=4, activation="tanh"), "activation 'tanh'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, told, tokens):
    with pytest.raises(InputError, match=told):
        call(model(), tokens)
