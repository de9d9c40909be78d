"""Autoencoders have the layers of their authors and give back the shape they take."""

import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.models.autoencoder import conv_autoencoder, mlp_autoencoder


def test_the_multilayer_autoencoder_has_the_authors_layers():
    encoder, decoder = mlp_autoencoder(784)
    kinds = [type(m).__name__ for m in encoder]
    assert kinds == ["Dropout", "Linear", "ReLU"] * 3 + ["Dropout", "Linear"]
    assert [m.out_features for m in encoder if isinstance(m, nn.Linear)] == [500, 500, 2000, 10]
    assert [type(m).__name__ for m in decoder] == ["Linear", "ReLU"] * 3 + ["Linear", "Sigmoid"]
    assert [m.out_features for m in decoder if isinstance(m, nn.Linear)] == [2000, 500, 500, 784]
    assert encoder[0].p == 0.2
    other, _ = mlp_autoencoder(784, seed=1)
    assert not torch.equal(other[1].weight, encoder[1].weight)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 28)])
def test_the_convolutional_autoencoder_gives_back_the_shape_it_takes(channels, side):
    encoder, decoder = conv_autoencoder(channels, side, latent=7)
    x = torch.rand(2, channels, side, side)
    assert encoder(x).shape == (2, 7)
    assert decoder(encoder(x)).shape == x.shape
    assert [m.out_channels for m in encoder if isinstance(m, nn.Conv2d)] == [16, 32, 32, 16]


def test_widths_and_dropout_are_as_asked_and_a_reconstruction_is_within_0_and_1():
    encoder, decoder = mlp_autoencoder(6, [4, 3], latent=2, dropout=0.5, seed=3)
    assert [m.out_features for m in encoder if isinstance(m, nn.Linear)] == [4, 3, 2]
    assert [m.out_features for m in decoder if isinstance(m, nn.Linear)] == [3, 4, 6]
    assert {m.p for m in encoder if isinstance(m, nn.Dropout)} == {0.5}
    x = 50 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    encoder.eval()
    z = encoder(x)
    assert z.shape == (40, 2) and (z < 0).any()
    out = decoder(100 * z)
    assert out.shape == x.shape and float(out.detach().min()) >= 0 and float(out.detach().max()) <= 1
    again, other = mlp_autoencoder(6, [4, 3], latent=2, seed=3), mlp_autoencoder(6, [4, 3], latent=2, seed=4)
    assert torch.equal(again[1][0].weight, decoder[0].weight) and not torch.equal(other[1][0].weight, decoder[0].weight)


def test_two_convolutions_stride_and_the_decoder_mirrors_them():
    encoder, decoder = conv_autoencoder(1, 12, latent=5)
    convolutions = [m for m in encoder if isinstance(m, nn.Conv2d)]
    assert [m.stride for m in convolutions] == [(1, 1), (2, 2), (1, 1), (2, 2)]
    assert [m.out_features for m in encoder if isinstance(m, nn.Linear)] == [256, 5]
    back = [m for m in decoder if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0]) for m in back] == [
        (16, 32, 2),
        (32, 32, 1),
        (32, 16, 2),
        (16, 1, 1),
    ]
    assert [m.out_features for m in decoder if isinstance(m, nn.Linear)] == [256, 16 * 3 * 3]
    assert [type(m).__name__ for m in encoder][:3] == ["Conv2d", "BatchNorm2d", "ReLU"]
    again, other = conv_autoencoder(1, 12, latent=5), conv_autoencoder(1, 12, latent=5, seed=1)
    assert torch.equal(again[0][0].weight, encoder[0].weight) and not torch.equal(other[0][0].weight, encoder[0].weight)


@pytest.mark.parametrize("side", [30, 4, 0])
def test_another_side_than_a_multiple_of_4_from_8_is_refused(side):
    with pytest.raises(InputError, match=f"side is {side}; the convolutional autoencoder takes multiples of 4 from 8"):
        conv_autoencoder(1, side)
