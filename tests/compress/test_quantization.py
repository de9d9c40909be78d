"""Weights of eight bits are those torch's quantiser gives, and their files hold integers."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from winnow.compress._masking import apply_masks
from winnow.compress.quantization import round_to_int8
from winnow.errors import InputError
from winnow.models import build, load_masks, load_model, save_model

IMAGE = {"in_channels": 2, "height": 9, "width": 8, "classes": 3}
NAMES = ["mlp", "small_cnn", "depthwise_cnn"]


def weights(model):
    return {f"{n}.weight": m.weight.detach() for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def pruned(name):
    model = build(name, **IMAGE, seed=1)
    generator = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(w.shape, generator=generator) < 0.4 for n, w in weights(model).items()}
    return apply_masks(model, masks), masks


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_only_weights_round_as_torch_rounds_them(name):
    model, rounded = build(name, **IMAGE, seed=1), build(name, **IMAGE, seed=1)
    scales = round_to_int8(rounded)
    before, after = dict(model.state_dict()), dict(rounded.state_dict())
    for key, weight in weights(model).items():
        largest = weight.flatten(1).abs().amax(1)
        torch.testing.assert_close(scales[key], largest / 127, rtol=1e-6, atol=0)
        zero = torch.zeros(len(weight), dtype=torch.int32)
        expected = torch.fake_quantize_per_channel_affine(weight, scales[key], zero, 0, -127, 127)
        apart = (after.pop(key) - expected).abs() / scales[key].view(-1, *[1] * (weight.ndim - 1))
        # torch multiplies by the reciprocal, so a weight half-way between two integers may fall to the other.
        assert (apart > 1e-4).float().mean() < 1e-3 and apart.max() < 1.001
        before.pop(key)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_rounding_twice_changes_nothing_and_an_empty_channel_stays_empty():
    model = build("mlp", **IMAGE, seed=1)
    name, weight = next(iter(weights(model).items()))
    weight[3] = 0
    round_to_int8(model)
    once = {n: w.clone() for n, w in weights(model).items()}
    assert not once[name][3].any()
    scales = round_to_int8(model)
    assert scales[name][3] == 1
    for n, w in weights(model).items():
        torch.testing.assert_close(w, once[n], rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_rounded_and_pruned_model_comes_back_bit_for_bit_from_a_quarter_of_the_bytes(name, tmp_path):
    model, masks = pruned(name)
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    save_model(model, whole, "digits", masks=masks)
    scales = round_to_int8(model)
    save_model(model, small, "digits", masks=masks, scales=scales)
    again = load_model(small).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in model.state_dict().items())
    assert {n: m.tolist() for n, m in load_masks(small).items()} == {n: m.tolist() for n, m in masks.items()}
    stored, floats = load_file(small), load_file(whole)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert sum(stored[f"{n}.values"].nbytes for n in masks) == kept
    assert sum(floats[f"{n}.values"].nbytes for n in masks) == 4 * kept
    assert all(stored[f"{n}.values"].dtype == torch.int8 for n in masks)
    assert json.loads(small.with_suffix(".json").read_text())["quantized"] == sorted(scales)


def test_a_dense_model_is_stored_in_eight_bits_too(tmp_path):
    model = build("mlp", **IMAGE, seed=1)
    save_model(model, tmp_path / "m.safetensors", "digits", scales=round_to_int8(model))
    again = load_model(tmp_path / "m.safetensors").state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in model.state_dict().items())


def refused(tmp_path, change):
    model = build("mlp", **IMAGE, seed=1)
    scales = round_to_int8(model)
    change(model, scales)
    with pytest.raises(InputError, match=r"m\.safetensors: .*; round this model again") as told:
        save_model(model, tmp_path / "m.safetensors", "digits", scales=scales)
    assert not list(tmp_path.iterdir())
    return str(told.value)


def test_scales_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path):
    name = next(iter(weights(build("mlp", **IMAGE))))
    assert "'no.weight'" in refused(tmp_path, lambda m, s: s.update({"no.weight": torch.ones(2)}))
    assert name in refused(tmp_path, lambda m, s: s.update({name: s[name][1:]}))
    assert name in refused(tmp_path, lambda m, s: s.update({name: s[name] / 2}))  # beyond 127
    assert name in refused(tmp_path, lambda m, s: s.update({name: s[name] * 1.3}))  # between whole numbers


@pytest.mark.parametrize("damage", ["no scale", "a short scale", "floats"])
def test_a_damaged_file_is_named_with_a_remedy(tmp_path, damage):
    from safetensors.torch import save_file

    model = build("mlp", **IMAGE, seed=1)
    scales = round_to_int8(model)
    path = tmp_path / "m.safetensors"
    save_model(model, path, "digits", scales=scales)
    stored, name = load_file(path), next(iter(scales))
    if damage == "no scale":
        del stored[f"{name}.scale"]
    elif damage == "a short scale":
        stored[f"{name}.scale"] = stored[f"{name}.scale"][1:].clone()
    else:
        stored[name] = stored[name].float()
    save_file(stored, path)
    with pytest.raises(InputError, match=r"m\.safetensors: .*; make the model again"):
        load_model(path)
