"""Autoencoders that are trained side by side beside those of `fit`, one after the other."""

from dataclasses import replace

import pytest
import torch

from winnow.dictionaries.architectures import ARCHITECTURES
from winnow.dictionaries.planted import planted_dictionary
from winnow.dictionaries.sae import SaeConfig, fit
from winnow.dictionaries.side_by_side import fit_side_by_side
from winnow.errors import InputError

# Nodes of different lengths, so that each has a scale of its own.
NODES = torch.stack([planted_dictionary(24, 12, 2).sample(900, seed=i) * (3 + i) for i in range(3)], 1)
SMALL = SaeConfig(m=32, k=2, l1=1.0, steps=40, batch=64, lr=3e-3, target_l0=2.0, dead_after=0.1)
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec_in", "b_dec_out", "threshold")


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize(
    ("architecture", "revive"), [*((name, "auto") for name in ARCHITECTURES), ("relu_l1", "resample")]
)
def test_each_is_what_it_is_alone(architecture, revive, backend):
    config = replace(SMALL, architecture=architecture, revive=revive, backend=backend)
    for part, found in zip(NODES.unbind(1), fit_side_by_side(NODES, config), strict=True):
        alone = fit(part.contiguous(), config)[0]
        assert (found.architecture, found.activation, found.k, found.info) == (
            alone.architecture, alone.activation, alone.k, alone.info
        )  # fmt: skip
        for name in TENSORS:
            # Products of several matrices at once need not add up in the order of a single one.
            torch.testing.assert_close(getattr(found, name), getattr(alone, name), atol=1e-4, rtol=1e-3, msg=name)


def test_one_that_diverges_is_told():
    with pytest.raises(InputError, match="diverges at step 1"):
        fit_side_by_side(NODES, replace(SMALL, architecture="gated", lr=1e35, warmup=0.0))
