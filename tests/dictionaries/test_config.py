from dataclasses import replace

import pytest

from winnow.dictionaries.config import SaeConfig
from winnow.errors import InputError

SMALL = SaeConfig(m=32, k=2)


def test_the_default_lr_follows_the_square_root_law():
    assert SaeConfig(m=16384).peak_lr == pytest.approx(2e-4)
    assert SaeConfig(m=4096).peak_lr == pytest.approx(4e-4)
    assert SaeConfig(m=20, k=2).peak_lr == 3e-3
    assert SaeConfig(lr=0.5).peak_lr == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vanilla"}, "architecture: 'vanilla' is unknown; choose one of topk"),
        ({"k": 32}, "k: 32 of m = 32 latents; it must be below m"),
        ({"k": 40}, "k: 40 of m = 32"),
        ({"k": 0}, "k: 0; it must be at least 1"),
        ({"m": 0}, "m: 0"),
        ({"steps": 0}, "steps: 0"),
        ({"batch": 0}, "batch: 0"),
        ({"threads": 0}, "threads: 0"),
        ({"lr": 0.0}, "lr: 0.0; it must be above 0"),
        ({"l1": -1.0}, "l1: -1.0; it must not be negative"),
        ({"target_l0": 0.0}, "target_l0"),
        ({"dead_after": 0.0}, "dead_after"),
        ({"warmup": 1.5}, "warmup: 1.5; it must lie between 0 and 1"),
        ({"decay": -0.1}, "decay"),
        ({"revive": "ghost"}, "revive: 'ghost' does not go with topk; choose one of auto, none, aux"),
    ],
)
def test_settings_out_of_bounds_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **changes)


def test_k_binds_only_where_it_is_used():
    assert SaeConfig("jumprelu", m=8).k == SaeConfig("topk").k == 16
    with pytest.raises(InputError, match="k: 8 of m = 8"):
        SaeConfig("batchtopk", m=8, k=8)
