from dataclasses import FrozenInstanceError, replace

import pytest

from winnow.dictionaries.config import SaeConfig
from winnow.errors import InputError

SMALL = SaeConfig(m=32, k=2)


def test_a_run_that_names_no_setting_keeps_its_results_from_version_to_version():
    assert SaeConfig() == SaeConfig(
        architecture="topk", m=1024, k=16, l1=1.0, target_l0=16.0, l0_coefficient=10.0, bandwidth=None,
        threshold=0.1, threshold_lr=20.0, steps=300, batch=4096, lr=None, seed=0, revive="auto", dead_after=0.2,
        aux_coefficient=1 / 32, anneal=0.0, warmup=0.05, decay=0.2, backend="auto", threads=1,
    )  # fmt: skip


def test_settings_are_not_changed_once_they_are_checked():
    with pytest.raises(FrozenInstanceError):
        SMALL.k = 64


@pytest.mark.parametrize("name", ["l1", "l0_coefficient", "aux_coefficient", "anneal", "warmup", "decay"])
def test_a_part_can_be_switched_off(name):
    assert getattr(replace(SMALL, **{name: 0.0}), name) == 0


@pytest.mark.parametrize("name", ["anneal", "warmup", "decay"])
def test_a_share_may_be_the_whole(name):
    assert getattr(replace(SMALL, **{name: 1.0}), name) == 1


@pytest.mark.parametrize(
    ("architecture", "automatic", "others"),
    [
        ("topk", "aux", ["none", "aux"]),
        ("batchtopk", "aux", ["none", "aux"]),
        ("relu_l1", "ghost", ["none", "ghost", "resample"]),
        ("jumprelu", "none", ["none"]),
        ("gated", "none", ["none"]),
    ],
)
def test_dead_latents_are_revived_as_asked_or_as_the_architecture_does_it(architecture, automatic, others):
    assert SaeConfig(architecture).revival == automatic
    assert [SaeConfig(architecture, revive=name).revival for name in others] == others


def test_the_default_lr_follows_the_square_root_law():
    assert SaeConfig(m=16384).peak_lr == pytest.approx(2e-4)
    assert SaeConfig(m=4096).peak_lr == pytest.approx(4e-4)
    assert SaeConfig(m=10_000).peak_lr == pytest.approx(2.56e-4)
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
