"""Judge every claim of the ledger by the metrics of all workloads."""

from winnow.pipeline import stage


@stage
def claims(inputs, outputs, params, log):
    """Write the verdicts with their intervals, as a table and as a page."""
    import json

    import pyarrow as pa

    from winnow.evaluate.chart_parts import save_chart
    from winnow.evaluate.claims import evaluate_claims
    from winnow.evaluate.claims_chart import claims_forest
    from winnow.evaluate.claims_page import claims_page
    from winnow.evaluate.claims_schema import load_claims
    from winnow.pipeline.tables import METRICS_SCHEMA, read_metrics, write_parquet

    ledger = load_claims(inputs.claims)
    measured = [row for path in inputs.benchmarks for row in json.loads(path.read_text()).get("metrics", [])]
    metrics = pa.concat_tables([read_metrics(inputs.metrics), pa.Table.from_pylist(measured, METRICS_SCHEMA)])
    verdicts = evaluate_claims(ledger, metrics, seed=params.seed, scale=params.scale)
    write_parquet(verdicts, outputs.verdicts)
    outputs.page.write_text(claims_page(verdicts), encoding="utf-8")
    save_chart(claims_forest(verdicts), outputs.plot)
    for row in verdicts.to_pylist():
        log.info("%s", row)
