"""A folder of one's own images runs the same chain, by a section of params.yaml and no code."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

SECTION = """
pets:
  kind: images
  path: data/own/pets
  size: [16, 16]
  seeds: [0]
  train:
    mlp: {model: mlp, epochs: 2}
  evaluate:
    criteria:
      mlp: {sparsities: [0.9], epochs: 1}
    models: {latency_repeats: 3}
    pareto: null
"""


@pytest.fixture
def pets(checkout):
    """Twenty pictures of each of two classes, PNG and JPEG, in colour, of different sizes."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("cats", "dogs")):
        folder = checkout.path / "data/own/pets" / name
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 120, (20 + i, 24, 3), dtype=np.uint8)
            pixels[:, :, label] += 120
            Image.fromarray(pixels).save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
    (checkout.path / "params.yaml").write_text((checkout.path / "params.yaml").read_text() + SECTION)
    return checkout


def test_a_folder_of_pictures_runs_the_whole_chain_and_follows_its_files(pets):
    jobs = pets.snakemake("pets")
    assert jobs["acquire"] == 1 and jobs["train_adamw"] == 1 and jobs["feature_survival"] == 1
    assert (pets.path / "results/pets/evaluate/plots/size.svg").is_file()
    assert pets.snakemake("-n", "pets") == Counter()
    (pets.path / "data/own/pets/cats/new.png").write_bytes((pets.path / "data/own/pets/cats/1.png").read_bytes())
    assert pets.snakemake("-n", "pets")["acquire"] == 1


def test_a_picture_that_cannot_be_read_is_dropped_with_its_reason(pets):
    (pets.path / "data/own/pets/cats/broken.png").write_bytes(b"\x89PNG nothing more")
    pets.snakemake("pets_curate")
    import json

    report = json.loads((pets.path / "results/pets/curate/all/seed0/report.json").read_text())
    assert report["dropped"]["unreadable"] == 1
