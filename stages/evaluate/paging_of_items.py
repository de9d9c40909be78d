"""Measure what learned bits do for caches of the items that users take, in the order of time."""

from winnow.pipeline import stage


@stage
def paging_of_items(inputs, outputs, params, log):
    """Write what each policy does on the second half of the events, in all and in stretches of it."""
    import numpy as np
    import pyarrow as pa

    from winnow.evaluate import paging_study as study
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.workloads.traces import items_in_time

    columns = ["item", "time", "row"]
    trace = items_in_time([read_parquet(path, columns) for path in (inputs.train, inputs.valid, inputs.test)])
    trace = trace[: params.limit]
    labels = {"system": "paging", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables, progress = [], Progress(log, "policies", "sizes")
    for done, share in enumerate(params.shares):
        k = max(1, round(share * len(np.unique(trace))))
        found = study.served(trace, k, params.seed, params.draws)
        gaps = study.block_gaps(found, params.blocks)
        if left_out := [policy for policy in study.PREDICTED if policy not in gaps]:
            log.warning("k %d: nothing to learn, without %s", k, ", ".join(left_out))
        for policy, values in study.told(trace[len(trace) // 2 :], k, found).items():
            name = f"{policy}-items-{100 * share:g}"
            by_block = [("block_gap_closed", value, block) for block, value in enumerate(gaps[policy])]
            tables.append(metric_rows(values, variant=name, **labels))
            tables.append(metric_rows(by_block, variant=name, **labels))
        progress(done + 1, len(params.shares))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
