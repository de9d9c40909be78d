"""Audit the bounds of paging with predicted bits on all short traces, once for all seeds."""

from winnow.pipeline import stage


@stage
def paging_audit(inputs, outputs, params, log):
    """Write a row for each policy and size of the cache."""
    import pyarrow as pa

    from winnow.evaluate.paging_audit import BOUNDED, audit_all
    from winnow.pipeline.tables import write_parquet

    rows = []
    for policy in BOUNDED:
        for k in params.audited_sizes:
            audit = audit_all(params.audited_requests, k, policy)
            log.info("%s, k %d, all: %s", policy, k, audit)
            rows.append({"policy": policy, "k": k} | audit._asdict())
    write_parquet(pa.Table.from_pylist(rows), outputs.audit)
