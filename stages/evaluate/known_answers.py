"""Hold measures of interpretability against planted answers."""

from winnow.pipeline import stage


@stage(torch=True)
def known_answers(inputs, outputs, params, log):
    """Write the metrics of each measure, and its scores in each draw."""
    import pyarrow as pa

    from winnow.evaluate.known_answers import CASES, scores, slug, table
    from winnow.evaluate.known_circuits import circuits
    from winnow.pipeline.tables import metric_rows, write_parquet

    draws = [params.seed * params.draws + i for i in range(params.draws)]
    rows = list(scores((*CASES, circuits), draws))
    labels = {"system": "known_answers", "workload": params.workload, "seed": params.seed, "split": "test"}
    found = table(rows)
    log.info("scores: %s", {measure: round(values["score"], 3) for measure, values in found.items()})
    tables = [metric_rows(values, variant=slug(measure), **labels) for measure, values in found.items()]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist([row | {"seed": params.seed} for row in rows]), outputs.scores)
