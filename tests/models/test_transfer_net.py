"""The network under the new head is the published one: same features, pixels undone to what it expects."""

import pytest
import torch

from winnow.errors import InputError
from winnow.models import build
from winnow.models.efficientnet_lite0 import EfficientNetLite0
from winnow.models.transfer_net import TransferNet, take_network

SHAPE = {"height": 32, "width": 32, "classes": 5}


def published():
    torch.manual_seed(3)
    network = EfficientNetLite0(3, 32, 32, 1000).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tuned", [1, 2, 7])
def test_features_are_the_published_networks_on_the_pixels_it_expects(channels, tuned):
    network = published()
    model = build("transfer_net", seed=1, in_channels=channels, tuned=tuned, **SHAPE).eval()
    mean, deviation = torch.full((channels,), 0.4), torch.full((channels,), 0.2)
    assert take_network(model, network.state_dict(), mean, deviation) is model
    pixels = torch.randint(0, 256, (2, channels, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    x = (pixels / 255 - 0.4) / 0.2
    with torch.no_grad():
        seen = ((pixels - 127) / 128).expand(-1, 3, -1, -1)
        expected = network.head(network.blocks(network.stem(seen))).mean((2, 3))
        # float32 through some fifty layers
        assert torch.allclose(model.pooled(model.below(x)), expected, rtol=1e-3, atol=1e-4)
        assert torch.equal(model(x), model.dense(model.pooled(model.below(x))))
    assert len(model.top) == tuned + 1


def test_norms_never_train_and_the_head_does():
    model = TransferNet(1, **SHAPE).train()
    assert not any(m.training for part in (model.base, model.top) for m in part.modules())
    assert model.dense.training and not model.eval().dense.training


@pytest.mark.parametrize("changes", [{"in_channels": 2}, {"tuned": 0}, {"tuned": 16}])
def test_what_cannot_be_built_is_refused(changes):
    with pytest.raises(InputError, match="1 or 3"):
        build("transfer_net", **{"in_channels": 1} | SHAPE | changes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.pop("head.norm.weight"),
        lambda s: s.update({"stem.more": torch.ones(1)}),
        lambda s: s.update({"head.norm.weight": torch.ones(3)}),
    ],
)
def test_weights_that_do_not_fit_are_refused(spoil):
    state = dict(published().state_dict())
    spoil(state)
    with pytest.raises(InputError, match="do not fit"):
        take_network(TransferNet(1, **SHAPE), state, torch.zeros(1), torch.ones(1))
