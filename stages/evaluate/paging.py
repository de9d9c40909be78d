"""Audit the bounds of paging with predicted bits, and measure what learned and wrong bits do on traces."""

from winnow.pipeline import stage


@stage
def paging(inputs, outputs, params, log):
    """Write metrics of audits and policies, the sweep over wrong bits, the traces, and a stretch of who faults when."""
    import numpy as np
    import pyarrow as pa

    from winnow.evaluate import paging_study
    from winnow.evaluate.paging_audit import Audit, audit_search
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.randomness import numpy_generator
    from winnow.workloads.traces import cyclic_trace, own_trace, trace_of, trace_table, zipf_trace

    documents = [d for path in inputs.documents for d in read_parquet(path, ["package", "path", "text"]).to_pylist()]
    generator = numpy_generator(params.seed, "paging traces")
    packages = generator.permutation(sorted({d["package"] for d in documents})).tolist()
    documents.sort(key=lambda d: (packages.index(d["package"]), d["path"]))
    files = [(d["path"], d["text"]) for d in documents]
    traces = {what: trace_of(files, what)[: params.limit] for what in ("imports", "calls")}
    own = zip(vars(params.traces), inputs.traces, strict=True)
    traces |= {name: own_trace(path)[: params.limit] for name, path in own}
    labels = {"system": "paging", "workload": params.workload, "seed": params.seed, "split": "test"}
    tables, progress = [], Progress(log, "policies", "traces and sizes")
    for done, (name, share) in enumerate((name, share) for name in traces for share in params.shares):
        k = max(1, round(share * len(np.unique(traces[name]))))
        told = paging_study.on_trace(traces[name], k, params.seed)
        if left_out := [policy for policy in paging_study.PREDICTED if policy not in told]:
            log.warning("%s, k %d: nothing to learn, without %s", name, k, ", ".join(left_out))
        for policy, found in told.items():
            tables.append(metric_rows(found, variant=f"{policy}-{name}-{100 * share:g}", **labels))
        progress(done + 1, len(traces) * len(params.shares))
    for row in read_parquet(inputs.audit).to_pylist():
        policy, k = row.pop("policy"), row.pop("k")
        length, starts, steps = 3 * params.audited_requests, params.search_starts, params.search_steps
        searched = audit_search(length, k, policy, starts, steps, params.seed)
        log.info("%s, k %d, searched: %s", policy, k, searched)
        for how, audit in (("all", Audit(**row)), ("searched", searched)):
            tables.append(metric_rows(audit._asdict(), variant=f"{policy}-{how}-k{k}", **labels))
    bad = {"cycle": (cyclic_trace(21, 4000), 20), "zipf": (zipf_trace(200, 4000, generator), 20)}
    rows = paging_study.noise_sweep(bad, params.chances, params.seed, Progress(log, "wrong bits", "runs"))
    for policy in paging_study.NOISY:
        tables.append(metric_rows(paging_study.worst(rows, policy), variant=f"{policy}-noise", **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.noise)
    write_parquet(pa.Table.from_pylist(paging_study.timeline(*bad["zipf"], 150, params.seed)), outputs.timeline)
    write_parquet(trace_table(traces), outputs.traces)
