"""The transformer is the one its papers write down: beside a plain numpy version, and by what must not change."""

import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.models import build, load_model, save_model
from winnow.models.hooks import capture, run_with
from winnow.models.transformer import Transformer


def tokens(n, t, vocabulary=50, seed=0):
    return torch.randint(0, vocabulary, (n, t), generator=torch.Generator().manual_seed(seed))


def model(**changes):
    return build("transformer", **{"vocabulary": 50, "width": 16, "layers": 2, "heads": 2, "seed": 3, **changes}).eval()


def plain(state, ids, heads):
    """Logits of one sequence by loops over positions and heads, in float64."""
    w = {name: tensor.double().numpy() for name, tensor in state.items()}

    def norm(x, weight):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight

    def rotate(vector, position):
        half = len(vector) // 2
        z = (vector[:half] + 1j * vector[half:]) * np.exp(1j * position * 10_000.0 ** (-np.arange(half) / half))
        return np.concatenate([z.real, z.imag])

    x = w["embedding.weight"][ids]
    for b in range(sum(name.endswith("mlp.down.weight") for name in w)):
        p = f"blocks.{b}."
        h = norm(x, w[p + "attention_norm.weight"])
        q, k, v = (h @ w[f"{p}attention.{name}.weight"].T for name in ("query", "key", "value"))
        size = q.shape[1] // heads
        mixed = np.zeros_like(q)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(ids)):
                scores = [rotate(q[t, part], t) @ rotate(k[s, part], s) / np.sqrt(size) for s in range(t + 1)]
                weights = np.exp(scores - np.max(scores))
                mixed[t, part] = weights / weights.sum() @ v[: t + 1, part]
        x = x + mixed @ w[p + "attention.output.weight"].T
        h = norm(x, w[p + "mlp_norm.weight"])
        gate = h @ w[p + "mlp.gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w[p + "mlp.up.weight"].T)) @ w[p + "mlp.down.weight"].T
    return norm(x, w["norm.weight"]) @ w["embedding.weight"].T


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_logits_are_those_of_plain_loops(heads):
    net = model(heads=heads)
    for parameter in net.parameters():  # far from their start, where attention is nearly uniform
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    ids = tokens(2, 9)
    for row in range(2):
        expected = plain(net.state_dict(), ids[row].numpy(), heads)
        np.testing.assert_allclose(net(ids)[row].numpy(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_no_token_sees_a_later_one():
    net, ids = model(), tokens(3, 12)
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 50
    torch.testing.assert_close(net(ids)[:, :7], net(changed)[:, :7])
    assert not torch.allclose(net(ids)[:, 7:], net(changed)[:, 7:])


def test_a_new_model_foresees_nothing():
    loss = torch.nn.functional.cross_entropy(model()(tokens(8, 32)).flatten(0, 1), tokens(8, 32, seed=1).flatten())
    # Logits of deviation .02 sqrt(768), whatever the width: half their variance above what an even guess loses.
    assert abs(loss.item() - np.log(50) - 0.02**2 * 768 / 2) < 0.05


def test_it_goes_through_files_and_hooks_like_any_model(tmp_path):
    net, ids = model(), tokens(2, 5)
    save_model(net, tmp_path / "m.safetensors", "python")
    torch.testing.assert_close(load_model(tmp_path / "m.safetensors")(ids), net(ids), rtol=0, atol=0)
    assert net.hook_points() == ["blocks.0.mlp", "blocks.0", "blocks.1.mlp", "blocks.1"]
    for point in net.hook_points():
        assert capture(net, ids, point).shape == (10, 16)
        assert run_with(net, ids, point, torch.zeros_like).shape == (2, 5, 50)


def test_the_feed_forward_width_is_eight_thirds_rounded_up():
    assert [model(width=w, heads=2).blocks[0].mlp.up.weight.shape[0] for w in (16, 64)] == [48, 176]
    assert model(hidden=24).blocks[0].mlp.up.weight.shape[0] == 24


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(InputError, match="width 18 is no multiple of twice the 4 heads"):
        model(width=18, heads=4)
    # Each head must be even, for positions turn pairs.
    with pytest.raises(InputError, match="width 12 is no multiple of twice the 4 heads"):
        model(width=12, heads=4)


@pytest.mark.parametrize(("layers", "width"), [(1, 128), (2, 768), (8, 256), (1, 512)])
def test_weights_begin_as_wide_as_the_width_asks_and_less_where_they_add_to_the_residual_stream(layers, width):
    """As in Radford et al. (2019), .02 at 768: by the root of the number of residual layers, two a block."""
    net = model(vocabulary=500, width=width, layers=layers)
    for name, weight in net.named_parameters():
        if name.endswith("norm.weight"):
            assert (weight == 1).all()
        else:
            adds = name.endswith(("attention.output.weight", "mlp.down.weight"))
            usual = {128: 0.02 * 6**0.5, 256: 0.02 * 3**0.5, 512: 0.02 * 1.5**0.5, 768: 0.02}[width]
            expected = usual / (2 * layers) ** 0.5 if adds else usual
            assert float(weight.std()) == pytest.approx(expected, rel=0.03), name
            assert abs(float(weight.mean())) < 0.02 * expected


def test_unless_told_it_has_two_blocks_of_four_heads_on_a_width_of_64():
    net = Transformer(50)
    assert net.embedding.weight.shape == (50, 64) and len(net.blocks) == 2
    assert {block.attention.heads for block in net.blocks} == {4}
    assert net.blocks[0].mlp.up.weight.shape == (176, 64)
