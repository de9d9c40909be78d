"""What ONNX Runtime computes is what torch does, in eight bits nearly so, from a file a quarter as large."""

import onnx
import pytest
import torch
from torch import nn

from winnow.compress._masking import apply_masks
from winnow.compress._slimming import slim
from winnow.compress._structure import group_masks, structure_of, with_units
from winnow.compress.onnx import OnnxModel, export_onnx, quantize_int8
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 2, "height": 9, "width": 8, "classes": 3}


def images(n, seed=0):
    return torch.randn(n, 2, 9, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=["mlp", "small_cnn", "residual"])
def exported(request, tmp_path_factory):
    """A model, its slimmed form for the CNN, and its file: exporting takes a second or more."""
    model = build(request.param, **IMAGE, seed=1).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.data = torch.randn(norm.num_features, generator=torch.Generator().manual_seed(0))
    if request.param == "small_cnn":
        structure = structure_of(model, "filter")
        masks = group_masks({n: p.detach() for n, p in model.named_parameters() if p.ndim > 1}, 0.5, structure)
        model = slim(apply_masks(model, with_units(model, masks, structure)), None, images(2))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(model, path, images(1))
    return model, path


@torch.no_grad()
def test_outputs_are_those_of_torch_for_batches_of_any_size(exported):
    model, path = exported
    found = OnnxModel(path)
    for n in (1, 2, 7):
        x = images(n, seed=n)
        assert found(x).shape == (n, 3)
        # Single precision, sums in another order.
        assert torch.allclose(found(x), model(x), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_eight_bits_take_a_quarter_of_the_bytes_and_cost_a_few_percent(exported, tmp_path):
    model, path = exported
    small = tmp_path / "int8.onnx"
    quantize_int8(path, small)
    x = images(64, seed=3)
    expected = model(x)
    assert (OnnxModel(small)(x) - expected).norm() < 0.03 * expected.norm()
    matrices = [i for i in onnx.load(small).graph.initializer if len(i.dims) == 2]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    unsigned = [list(i.dims) for i in matrices if i.data_type == onnx.TensorProto.UINT8]
    assert unsigned == [[m.in_features, m.out_features] for m in linear]
    floats = sum(m.weight.numel() for m in linear)
    assert path.stat().st_size - small.stat().st_size > 3 * floats - 3000  # scales and nodes take some


def test_equal_models_give_equal_bytes_without_paths_of_this_machine(exported, tmp_path):
    model, path = exported
    again, small = tmp_path / "again.onnx", [tmp_path / f"{i}.onnx" for i in range(2)]
    export_onnx(model, again, images(3, seed=9))
    assert again.read_bytes() == path.read_bytes()
    for target in small:
        quantize_int8(path, target)
    assert small[0].read_bytes() == small[1].read_bytes()
    assert all(b".py" not in file.read_bytes() for file in (path, small[0]))


def test_exporting_leaves_no_marks(exported, capfd, tmp_path):
    model, _ = exported
    export_onnx(model, tmp_path / "model.onnx", images(1))
    written = capfd.readouterr()
    assert written.out == written.err == "" and sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx"]


class Branching(nn.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


def test_what_cannot_be_exported_or_read_is_told_in_one_line(tmp_path):
    with pytest.raises(InputError, match="Branching: cannot be written as ONNX"):
        export_onnx(Branching(), tmp_path / "x.onnx", images(1))
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    for read in (OnnxModel, lambda path: quantize_int8(path, tmp_path / "y.onnx")):
        with pytest.raises(InputError, match="broken.onnx: is damaged or not an ONNX model"):
            read(tmp_path / "broken.onnx")
        with pytest.raises(InputError, match="missing.onnx: no such file"):
            read(tmp_path / "missing.onnx")
