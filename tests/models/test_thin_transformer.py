"""What is left of a transformer computes as before, and what is gone adds nothing."""

import pytest
import torch

from winnow.models import build
from winnow.models.thin_transformer import ThinTransformer

SIZES = {"vocabulary": 11, "width": 16, "layers": 3, "heads": 2}


def whole():
    model = build("transformer", seed=1, **SIZES).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


TOKENS = torch.tensor([[1, 4, 2, 9, 3], [7, 0, 5, 5, 10]])


def test_layers_that_are_gone_are_as_if_they_put_out_zero():
    model, thin = whole(), ThinTransformer(**SIZES, attention=(0, 2), mlp=(2, 1)).eval()
    kept = dict(model.state_dict())
    assert set(thin.state_dict()) < set(kept)
    thin.load_state_dict({name: kept[name] for name in thin.state_dict()})
    with torch.no_grad():
        model.blocks[1].attention.output.weight.zero_()
        model.blocks[0].mlp.down.weight.zero_()
    torch.testing.assert_close(thin(TOKENS), model(TOKENS))
    assert not any("blocks.1.attention" in name or "blocks.0.mlp" in name for name in thin.state_dict())
    # Norms go with their layers.
    gone = set(kept) - set(thin.state_dict())
    assert {name.split(".")[2] for name in gone} == {"attention", "attention_norm", "mlp", "mlp_norm"}


def test_all_layers_make_the_whole_model_and_none_its_embeddings():
    model, thin = whole(), ThinTransformer(**SIZES, attention=(0, 1, 2), mlp=(0, 1, 2)).eval()
    thin.load_state_dict(model.state_dict())
    torch.testing.assert_close(thin(TOKENS), model(TOKENS))
    bare = ThinTransformer(**SIZES).eval()
    x = bare.embedding(TOKENS)
    torch.testing.assert_close(bare(TOKENS), bare.norm(x) @ bare.embedding.weight.T)


def test_only_what_is_left_can_be_looked_at():
    thin = ThinTransformer(**SIZES, attention=(0,), mlp=(1,))
    names = dict(thin.named_modules())
    points = thin.hook_points()
    assert points and all(point in names for point in points)
    assert any("1.mlp" in point for point in points) and not any(
        "0.mlp" in point or "2.mlp" in point for point in points
    )
    assert set(points) == set(whole().hook_points()) - {
        p for p in whole().hook_points() if "0.mlp" in p or "2.mlp" in p
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attention": (0, 3)}, r"attention is \[0, 3\]; the model has the blocks 0 to 2"),
        ({"mlp": (-1,)}, r"mlp is \[-1\]"),
    ],
)
def test_a_block_that_the_whole_model_has_not_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        ThinTransformer(**SIZES, **changed)
