"""A log of events of one's own runs the same chain, by a section of params.yaml and no code."""

import json
from collections import Counter

import numpy as np
import pytest

SECTION = """
plays:
  kind: interactions
  path: data/own/plays.csv
  items: data/own/tracks.csv
  columns: {user: listener, item: track, time: at}
  seeds: [0]
  curate: {core: 2, window: 8}
  train:
    sasrec: {arguments: {d: 8}, epochs: 1}
  evaluate:
    models: {latency_repeats: 3}
"""


@pytest.fixture
def plays(checkout):
    """Sixty listeners who go through twenty tracks, and one track that is heard once."""
    generator = np.random.default_rng(0)
    lines = ["listener;track;at"]
    for listener in range(60):
        for step in range(int(generator.integers(4, 12))):
            lines.append(f"{listener:03d};t{(listener + step) % 20};2024-01-{1 + step:02d} 10:00:00")
    lines.append("000;rare;2024-02-01 10:00:00")
    folder = checkout.path / "data/own"
    folder.mkdir(parents=True)
    (folder / "plays.csv").write_text("\n".join(lines) + "\n")
    tracks = ["track,title,genres,artist", *(f"t{i},Track {i},rock|pop,Artist {i % 3}" for i in range(20))]
    (folder / "tracks.csv").write_text("\n".join(tracks) + "\n")
    (checkout.path / "params.yaml").write_text((checkout.path / "params.yaml").read_text() + SECTION)
    return checkout


def test_a_log_of_events_runs_the_whole_chain_and_is_followed(plays):
    jobs = plays.snakemake("plays")
    assert jobs["acquire_interactions"] == jobs["curate_interactions"] == jobs["sequential_recommender"] == 1
    report = json.loads((plays.path / "results/plays/curate/all/seed0/report.json").read_text())
    assert report["users"] == 60 and report["dropped"]["too_rare"] == 1
    summary = json.loads((plays.path / "summaries/plays.json").read_text())
    assert 0 <= summary["evaluate"]["sasrec"]["train"]["test.ndcg10"] <= 1
    assert plays.snakemake("-n", "plays") == Counter()
    plays.edit("data/own/tracks.csv", "Track 3", "Song 3")
    assert plays.snakemake("-n", "plays")["acquire_interactions"] == 1


def test_a_column_that_is_not_there_ends_in_one_line(plays):
    plays.edit("params.yaml", "track, time: at", "track, time: when")
    done = plays.run("snakemake", "plays_curate", check=False)
    assert done.returncode != 0
    expected = "data/own/plays.csv: no column 'when'; it has listener, track, at: name the one of the time in `columns`"
    assert expected in done.stdout + done.stderr
