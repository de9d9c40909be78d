"""Models that read tokens are pruned like others, experts with them, or a method says in one line why it cannot."""

import pytest
import torch

from tests.evaluate.language_workload import CONTEXT, VOCABULARY, write_workload
from winnow.compress import LEARNED, METHODS, compress, masks_for
from winnow.compress._baselines import grasp_scores, weight_gradients
from winnow.compress._masking import banks, prunable_weights
from winnow.compress._measure import flops, summary
from winnow.compress.quantization import round_to_int8
from winnow.errors import InputError
from winnow.models import build, load_masks, load_model, save_model
from winnow.workloads.texts import Texts

SHAPE = {"vocabulary": VOCABULARY, "width": 16, "layers": 2, "heads": 2}
MODELS = {
    "transformer": {"hidden": 24},
    "positional_transformer": {},
    "moe_x_transformer": {"experts": 4, "k": 2, "hidden": 8},
    "routed_transformer": {"big": 24, "small": 8},
}
REFUSED = {"relevance", "synflow"}


def net(name):
    return build(name, seed=0, **SHAPE, **MODELS[name])


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Texts:
    return write_workload(tmp_path_factory.mktemp("texts") / "all")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_prunes_models_of_tokens_or_says_why_not(name, method, texts):
    model = net(name)
    if method in REFUSED or (name == "routed_transformer" and method in ("snip", "grasp")):
        with pytest.raises(
            InputError, match="choose another method|choose a method that needs none|as a graph"
        ) as error:
            masks_for(method, model, texts, 0.5, seed=0)
        assert "\n" not in str(error.value)
        return
    masks = masks_for(method, model, texts, 0.5, seed=0)
    weights = prunable_weights(model)
    assert list(masks) == list(weights) and all(masks[n].shape == w.shape for n, w in weights.items())
    total = sum(weight.numel() for weight in weights.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.5 * total)


def test_experts_are_most_of_what_is_pruned_and_biases_and_strengths_of_heads_no_part():
    model = net("moe_x_transformer")
    names = [name for name in prunable_weights(model) if ".mlp." in name]
    assert names == [f"blocks.{layer}.mlp.{part}" for layer in (0, 1) for part in ("encoder", "decoder")]
    learned = build("moe_x_transformer", seed=0, **SHAPE, **MODELS["moe_x_transformer"], router="learned")
    assert set(prunable_weights(learned)) == {
        *prunable_weights(model),
        *(f"blocks.{i}.mlp.router.weight" for i in (0, 1)),
    }
    heads = torch.nn.Module()
    heads.raw = torch.nn.Parameter(torch.ones(4, 1, 1))  # a strength for each of several heads
    assert banks(heads) == {} and banks(torch.nn.Conv1d(3, 4, 5)) == {}


@pytest.mark.parametrize("method", ["global_magnitude", "snip", *sorted(LEARNED)])
def test_experts_stay_pruned_through_training_and_files(method, texts, tmp_path):
    settings = {"sparsity": 0.6, "seed": 0, "epochs": 2, "lr": 0.05, "batch_size": 4}
    pruned, masks, _ = compress(method, net("moe_x_transformer"), texts, **settings)
    assert not masks["blocks.1.mlp.encoder"].all()
    assert all((pruned.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())
    scales = round_to_int8(pruned)
    save_model(pruned, tmp_path / "model.safetensors", workload="w", masks=masks, scales=scales)
    again, x = load_model(tmp_path / "model.safetensors"), texts.example_inputs()
    assert torch.equal(again(x), pruned(x))
    assert all(torch.equal(mask, masks[name]) for name, mask in load_masks(tmp_path / "model.safetensors").items())


def test_of_experts_those_cost_that_a_token_takes():
    """Two of four experts: half of their weights for each token."""
    model, x = net("moe_x_transformer"), torch.zeros(3, CONTEXT, dtype=torch.long)
    bank = 4 * 16 * 8
    attention = 4 * 16 * 16
    assert flops(model, {}, x)["dense"] == pytest.approx(2 * CONTEXT * 2 * (attention + 2 * bank / 2))
    masks = {
        name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable_weights(model).items() if ".mlp." in name
    }
    assert flops(model, masks, x)["sparse"] == pytest.approx(2 * CONTEXT * 2 * attention)
    assert summary(model, masks, x)["collapse"] == 1


def test_second_derivatives_of_attention_are_those_of_differences(texts):
    """GraSP: theta * (H g), beside differences of gradients along g."""
    model = net("transformer").double()
    batch = next(iter(texts.batches("train", 4, 0)))
    scores = grasp_scores(model, lambda cooled: texts.loss(cooled, batch))
    weights = prunable_weights(model)

    def gradients():
        return weight_gradients(texts.loss(_Cool(model), batch), weights)

    first, step = gradients(), 1e-4
    moved = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, weight in weights.items():
                weight.add_(first[name], alpha=sign * step)
        moved.append(gradients())
        with torch.no_grad():
            for name, weight in weights.items():
                weight.sub_(first[name], alpha=sign * step)
    for name, weight in weights.items():
        expected = weight.detach() * (moved[0][name] - moved[1][name]) / (2 * step)
        assert torch.allclose(scores[name], expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


class _Cool(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model.eval()

    def forward(self, x):
        return self.model(x) / 200
