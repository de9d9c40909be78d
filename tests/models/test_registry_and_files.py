import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from winnow.architectures import OF_IMAGES
from winnow.errors import InputError
from winnow.models import build, load_card, load_masks, load_model, save_model

ROOT = Path(__file__).parents[2]
IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}


def trained(name="small_cnn"):
    """A model whose every tensor, statistics of batch norm included, differs from a fresh one."""
    model = build(name, seed=1, **IMAGE)
    generator = torch.Generator().manual_seed(5)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        else:
            tensor.fill_(7)
    return model.eval()


def some_masks(model):
    generator = torch.Generator().manual_seed(6)
    return {name: torch.rand(p.shape, generator=generator) < 0.3 for name, p in model.named_parameters() if p.ndim > 1}


@pytest.mark.parametrize("name", sorted(OF_IMAGES))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (33, 20)])
def test_every_model_takes_images_of_any_size_and_gives_a_logit_per_class(name, channels, size):
    model = build(name, in_channels=channels, height=size[0], width=size[1], classes=4)
    assert model(torch.zeros(2, channels, *size)).shape == (2, 4)


@pytest.mark.parametrize("name", sorted(OF_IMAGES))
def test_every_parameter_of_every_model_takes_part_in_the_output(name):
    model = build(name, **IMAGE).train()
    model(torch.randn(16, 1, 9, 8, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_equal_seeds_build_equal_models_and_the_callers_random_stream_stays_where_it_was():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = build("mlp", seed=2, **IMAGE).state_dict()
    assert torch.equal(torch.rand(4), expected)
    again, other = build("mlp", seed=2, **IMAGE).state_dict(), build("mlp", seed=3, **IMAGE).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_a_model_remembers_its_name_and_all_arguments_defaults_included():
    model = build("mlp", **IMAGE)
    assert model.registry_name == "mlp"
    assert model.arguments == {**IMAGE, "hidden": [300, 100]}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("mpl", {}, "did you mean mlp?"),
        ("mlp", {"hiden": [3]}, "did you mean hidden?"),
        ("mlp", {"hidden": ["three"]}, "do not make a model"),
        ("mlp", {"hidden": [-3]}, "do not make a model"),
        ("mlp", {"classes": "ten"}, "do not make a model"),
        ("small_cnn", {"height": 7}, "at least 8 x 8"),
        ("small_cnn", {"width": 7.5}, "at least 8 x 8"),
        ("depthwise_cnn", {"channels": []}, "do not make a model"),
    ],
)
def test_a_wrong_name_or_argument_is_one_clear_line(name, change, words):
    with pytest.raises(InputError, match=words.replace("?", r"\?")) as error:
        build(name, **(IMAGE | change))
    assert "\n" not in str(error.value)


def test_a_missing_argument_is_named():
    with pytest.raises(InputError, match="classes"):
        build("mlp", in_channels=1, height=9, width=8)


@pytest.mark.parametrize("name", sorted(OF_IMAGES))
@pytest.mark.parametrize("masked", [False, True])
def test_a_saved_model_comes_back_bit_for_bit_in_eval_mode(tmp_path, name, masked):
    model, path = trained(name), tmp_path / "model.safetensors"
    masks = some_masks(model) if masked else {}
    for key, mask in masks.items():
        model.get_parameter(key).data[~mask] = 0
    save_model(model.train(), path, "blobs", masks)
    loaded = load_model(path)
    assert not any(module.training for module in loaded.modules())
    assert loaded.registry_name == name and loaded.arguments == model.arguments
    expected, found = model.state_dict(), loaded.state_dict()
    assert list(expected) == list(found)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    read = load_masks(path)
    assert sorted(read) == sorted(masks) and all(torch.equal(read[key], masks[key]) for key in masks)
    assert load_card(path) == {
        "arguments": json.loads(json.dumps(model.arguments)),
        "masked": sorted(masks),
        "model": name,
        "packed": {},
        "quantized": [],
        "workload": "blobs",
    }


def test_entries_outside_a_mask_are_not_stored_and_load_as_zero(tmp_path):
    model, path = trained("mlp"), tmp_path / "model.safetensors"
    mask = some_masks(model)["linear1.weight"]
    save_model(model, path, "blobs", {"linear1.weight": mask})
    weight = load_model(path).linear1.weight
    assert torch.equal(weight, torch.where(mask, model.linear1.weight, 0.0))


def test_equal_models_give_equal_bytes_and_names_are_stored_in_order(tmp_path):
    model = trained()
    for name in ("a", "b"):
        masks = some_masks(model)
        save_model(model, tmp_path / f"{name}.safetensors", "blobs", dict(sorted(masks.items(), reverse=name == "a")))
    for suffix in ("safetensors", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_model_with_2_percent_of_its_weights_takes_less_than_a_tenth_of_the_disk(tmp_path):
    model = build("mlp", in_channels=1, height=28, width=28, classes=10)
    masks = {n: torch.arange(p.numel()).view(p.shape) % 50 == 0 for n, p in model.named_parameters() if p.ndim > 1}
    save_model(model, tmp_path / "dense.safetensors", "digits")
    save_model(model, tmp_path / "sparse.safetensors", "digits", masks)
    # One bit and 2 % of 32 bits per weight: 1.64 of 32, 5.1 %, and the biases.
    ratio = (tmp_path / "sparse.safetensors").stat().st_size / (tmp_path / "dense.safetensors").stat().st_size
    assert 0.05 < ratio < 0.06


@pytest.mark.parametrize("name", ["linear1.weigth", "linear1.weight"])
def test_a_mask_that_fits_no_weight_is_not_saved(tmp_path, name):
    with pytest.raises(InputError, match=name):
        save_model(trained("mlp"), tmp_path / "m.safetensors", "blobs", {name: torch.ones(2, 2, dtype=torch.bool)})


def spoil_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def spoil_card(path, **fields):
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | fields))


def rename(tensors):
    tensors["other.bias"] = tensors.pop("output.bias")


DAMAGE = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-50]),
    "empty": lambda p: p.write_bytes(b""),
    "a pickle": lambda p: torch.save({"a": 1}, p),
    "bit rot in the header": lambda p: p.write_bytes(b"\xff" * 8 + p.read_bytes()[8:]),
    "missing": lambda p: p.unlink(),
    "a directory": lambda p: (p.unlink(), p.mkdir()),
    "a tensor too few": lambda p: spoil_tensors(p, lambda t: t.pop("output.bias")),
    "a tensor too many": lambda p: spoil_tensors(p, lambda t: t.update(more=torch.zeros(1))),
    "another name": lambda p: spoil_tensors(p, rename),
    "another shape": lambda p: spoil_tensors(p, lambda t: t.update({"output.bias": torch.zeros(4)})),
    "another type": lambda p: spoil_tensors(p, lambda t: t.update({"output.bias": torch.zeros(3).double()})),
    "no mask": lambda p: spoil_tensors(p, lambda t: t.pop("linear1.weight.mask")),
    "no values": lambda p: spoil_tensors(p, lambda t: t.pop("linear1.weight.values")),
    "too few values": lambda p: spoil_tensors(
        p, lambda t: t.update({"linear1.weight.values": t["linear1.weight.values"][1:].clone()})
    ),
    "a short mask": lambda p: spoil_tensors(
        p, lambda t: t.update({"linear1.weight.mask": t["linear1.weight.mask"][1:].clone()})
    ),
    "a mask of floats": lambda p: spoil_tensors(
        p, lambda t: t.update({"linear1.weight.mask": t["linear1.weight.mask"].float()})
    ),
    "no card": lambda p: p.with_suffix(".json").unlink(),
    "half a card": lambda p: p.with_suffix(".json").write_text('{"model": "ml'),
    "a card that is a list": lambda p: p.with_suffix(".json").write_text("[]"),
    "a card that is binary": lambda p: p.with_suffix(".json").write_bytes(b"\xff\xfe\x00"),
    "a field missing": lambda p: p.with_suffix(".json").write_text('{"model": "mlp"}'),
    "a field of the wrong type": lambda p: spoil_card(p, arguments=[1]),
    "another model": lambda p: spoil_card(p, model="small_cnn", arguments=IMAGE, masked=[]),
    "an unknown model": lambda p: spoil_card(p, model="mlpp"),
    "other arguments": lambda p: spoil_card(p, arguments={**IMAGE, "hidden": [5, 5]}),
    "an unknown masked name": lambda p: spoil_card(p, masked=["no.weight"]),
    "masked names that are no names": lambda p: spoil_card(p, masked=[["a"]]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_with_a_remedy(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    model = trained("mlp")
    save_model(model, path, "blobs", some_masks(model))
    DAMAGE[damage](path)
    with pytest.raises(InputError, match="make the model again") as error:
        load_model(path)
    assert str(tmp_path / "model.") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "no mask", "a short mask", "no card", "an unknown masked name"])
def test_masks_of_a_damaged_file_are_refused_too(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    model = trained("mlp")
    save_model(model, path, "blobs", some_masks(model))
    DAMAGE[damage](path)
    with pytest.raises(InputError, match="make the model again"):
        load_masks(path)


def test_a_file_is_plain_safetensors_that_others_can_read(tmp_path):
    path, model = tmp_path / "model.safetensors", trained("mlp")
    save_model(model, path, "blobs")
    with safe_open(path, framework="np") as file:
        np.testing.assert_array_equal(file.get_tensor("output.bias"), model.output.bias.detach().numpy())


@pytest.mark.parametrize("name", sorted(OF_IMAGES))
def test_models_of_large_images_survive_a_step(name):
    """In a process of its own: some kernels of torch end the process instead of raising."""
    code = (
        "import sys, torch; from winnow.models import build;"
        "model = build(sys.argv[1], in_channels=3, height=128, width=128, classes=8);"
        "model(torch.zeros(16, 3, 128, 128)).sum().backward()"
    )
    done = subprocess.run([sys.executable, "-c", code, name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_tables_network_has_the_activation_that_is_named():
    model = build("table_mlp", levels=[0, 0], outputs=1, hidden=[3, 2], activation="tanh")
    x = torch.randn(5, 2)
    hidden = torch.tanh(model.linear2(torch.tanh(model.linear1(x))))
    assert torch.equal(model(x), model.output(hidden))
    assert model.hook_points() == ["tanh1", "tanh2"]
    with pytest.raises(InputError, match="activation is 'gelu'; it can be relu or tanh"):
        build("table_mlp", levels=[0, 0], outputs=1, activation="gelu")
