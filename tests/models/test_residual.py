"""A block adds its shortcut before the last ReLU, and the outer blocks stride."""

import torch

from winnow.models import build
from winnow.models.residual import ResidualBlock

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}


def test_a_residual_block_adds_its_shortcut_before_the_last_relu():
    block = build("residual", **IMAGE).block2.eval()
    x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    inner = torch.relu(block.norm1(block.conv1(x)))
    torch.testing.assert_close(block(x), torch.relu(block.norm2(block.conv2(inner)) + x))


def test_a_shortcut_that_strides_takes_every_second_pixel_through_a_matrix():
    block = build("residual", **IMAGE).block3.eval()
    x = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(1))
    weight = block.shortcut[1].weight[:, :, 0, 0]
    straight = torch.einsum("oi,nihw->nohw", weight, x[:, :, ::2, ::2])
    inner = torch.relu(block.norm1(block.conv1(x)))
    expected = torch.relu(block.norm2(block.conv2(inner)) + block.shortcut[2](straight))
    torch.testing.assert_close(block(x), expected)


def test_widths_double_with_the_outer_blocks_and_the_middle_one_keeps_size():
    model = build("residual", in_channels=3, height=33, width=32, classes=4, channels=6).eval()
    x, shapes = torch.randn(2, 3, 33, 32, generator=torch.Generator().manual_seed(2)), {}
    for name in model.hook_points():
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: out.shape[1:]})
        )
    logits = model(x)
    assert shapes == {"relu": (6, 17, 16), "block1": (12, 9, 8), "block2": (12, 9, 8), "block3": (24, 5, 4)}
    maps = model.block3(model.block2(model.block1(torch.relu(model.norm(model.conv(x))))))
    torch.testing.assert_close(logits, model.output(maps.mean((2, 3))))
    assert isinstance(model.block2.shortcut, torch.nn.Identity)


def test_a_block_of_another_width_has_a_shortcut_also_without_a_stride():
    block = ResidualBlock(3, 5, 1).eval()
    assert block(torch.randn(1, 3, 4, 4)).shape == (1, 5, 4, 4)
