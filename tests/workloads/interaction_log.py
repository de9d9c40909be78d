"""Small logs of events for tests, curated into a folder."""

import numpy as np
import pyarrow as pa

from winnow.curate.interactions import curate_interactions
from winnow.pipeline.tables import write_parquet
from winnow.workloads.interaction_tables import EVENTS
from winnow.workloads.interactions import Interactions


def events(rows):
    """Raw table of (user, item, time) or (user, item, time, rating)."""
    columns = list(zip(*[(*row, None)[:4] for row in rows], strict=True))
    named = {
        "row": list(range(len(rows))),
        "source": ["log"] * len(rows),
        **dict(zip(("user", "item", "time", "rating"), columns, strict=True)),
    }
    return pa.table({name: pa.array(named[name], EVENTS.field(name).type) for name in EVENTS.names}, schema=EVENTS)


def walks(users=40, items=12, length=9, seed=0):
    """Users who mostly go from an item to the next one, in a circle."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        place = int(generator.integers(items))
        for step in range(int(generator.integers(3, length + 1))):
            rows.append((f"u{user}", f"i{place}", 100.0 * user + step))
            place = (place + 1) % items if generator.random() < 0.9 else int(generator.integers(items))
    return events(rows)


def workload(folder, raw, items=None, **settings):
    """The workload of a raw table, curated with nothing taken away."""
    curated = curate_interactions(raw, items, workload="log", **{"core": 1, "repeats": "keep", "window": 5, **settings})
    for split, table in curated.tables.items():
        write_parquet(table, folder / f"{split}.parquet", metadata=curated.metadata)
    return Interactions(folder)
