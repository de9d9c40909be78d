"""Fetch and verify a pinned log of events, or read one's own, into a raw table of events and one of items."""

from winnow.pipeline import stage


@stage
def acquire_interactions(inputs, outputs, params, log):
    """Write the events in the order of the log, nothing dropped, and what is known of their items."""
    from winnow.pipeline.readers import read_interactions
    from winnow.pipeline.tables import write_parquet
    from winnow.workloads.interaction_tables import ITEMS, read_event_file, read_item_file

    if getattr(params, "source", None):
        events, items = read_interactions(params.source, "data/sources.yaml")
    else:
        columns = vars(params.columns)
        events, items = read_event_file(params.path, columns), ITEMS.empty_table()
        if getattr(params, "items", None):
            items = read_item_file(params.items, columns)
    log.info("%d events, %d items described", events.num_rows, items.num_rows)
    write_parquet(events, outputs.raw)
    write_parquet(items, outputs.catalogue)
