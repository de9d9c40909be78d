import pytest
import torch

from winnow.errors import InputError
from winnow.train.modular_addition import train_modular_addition
from winnow.workloads.modular_addition import ModularAddition


def trained(epochs, **over):
    settings = {
        "width": 16,
        "heads": 2,
        "hidden": 32,
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "least_accuracy": 0.0,
    }
    return train_modular_addition(ModularAddition(5, 0.8, 0), epochs=epochs, seed=0, **(settings | over))


def test_a_model_learns_its_pairs():
    calls = []
    model, history = trained(60, progress=lambda *told: calls.append(told))
    losses = [value for name, value, _ in history if name == "loss"]
    assert losses[-1] < 0.1 < losses[0] and len(losses) == 60 and calls[-1] == (60, 60)
    assert any(name == "valid_accuracy" for name, _, _ in history)
    assert ModularAddition(5, 0.8, 0).metrics(model, "train")["accuracy"] == 1


def test_the_model_is_the_papers_small_one():
    model, _ = trained(1)
    assert model.embed.num_embeddings == 6 and model.context == 3 and len(model.blocks) == 1
    assert model.embed.weight.shape == (6, 16) and model.blocks[0].attn.heads == 2
    assert model.blocks[0].mlp.up.out_features == 32 and model.blocks[0].mlp.activation is torch.nn.functional.relu
    assert not any("ln" in name for name, _ in model.named_parameters())


def test_rate_decay_and_betas_are_those_asked_for():
    start, moved, shrunk = (
        trained(1, learning_rate=rate, weight_decay=decay)[0].embed.weight
        for rate, decay in ((1e-12, 0.0), (1e-3, 0.0), (1e-3, 10.0))
    )
    assert float((moved - start).detach().abs().max()) == pytest.approx(1e-3, rel=0.05)
    torch.testing.assert_close(shrunk - moved, -0.01 * start, rtol=1e-2, atol=1e-5)


def test_a_model_that_cannot_add_is_refused():
    with pytest.raises(InputError, match=r"accuracy 0\.\d+ < 0.9 of held-out sums; raise epochs"):
        trained(1, least_accuracy=0.9)


def test_training_is_taken_up_again(tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    class Cut(Exception):
        pass

    def cut(step, total):
        if step == 250:
            raise Cut

    whole, _ = trained(300, checkpoint=None)
    with pytest.raises(Cut):
        trained(300, checkpoint=path, progress=cut)
    assert path.exists()
    steps = []
    again, _ = trained(300, checkpoint=path, progress=lambda step, total: steps.append(step))
    assert steps[0] == 201 and again.embed.weight.equal(whole.embed.weight)
