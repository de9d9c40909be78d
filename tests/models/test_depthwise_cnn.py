"""Depthwise convolutions mix no maps, and every second block strides."""

import torch

from winnow.models import build

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}


def test_the_depthwise_convolutions_mix_no_maps():
    block = build("depthwise_cnn", **IMAGE).blocks[1]
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 3] += 1
    differs = (block.depthwise(changed) != block.depthwise(x)).flatten(2).any(dim=2)[0]
    assert differs.nonzero().flatten().tolist() == [3]
    assert block.pointwise.kernel_size == (1, 1)


def test_a_block_filters_each_map_and_then_mixes_them():
    block = build("depthwise_cnn", **IMAGE).blocks[0].eval()
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(3))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
    filtered = torch.einsum("nchwij,cij->nchw", padded, block.depthwise.weight[:, 0])
    filtered = torch.relu(block.norm1(filtered))
    mixed = torch.einsum("oc,nchw->nohw", block.pointwise.weight[:, :, 0, 0], filtered)
    torch.testing.assert_close(block(x), torch.relu(block.norm2(mixed)), atol=1e-5, rtol=1e-4)


def test_stem_and_every_second_block_stride_and_maps_are_averaged():
    model = build("depthwise_cnn", in_channels=2, height=17, width=16, classes=4, channels=[4, 6, 8, 10]).eval()
    x, shapes = torch.randn(3, 2, 17, 16, generator=torch.Generator().manual_seed(4)), {}
    for name in model.hook_points():
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: out.shape[1:]})
        )
    logits = model(x)
    assert shapes == {"relu": (4, 9, 8), "blocks.0": (6, 5, 4), "blocks.1": (8, 5, 4), "blocks.2": (10, 3, 2)}
    maps = model.blocks(torch.relu(model.norm(model.conv(x))))
    torch.testing.assert_close(logits, model.output(maps.mean((2, 3))))
