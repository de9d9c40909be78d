"""Draw one picture from the tables that other stages wrote."""

from winnow.pipeline import stage


@stage
def plot(inputs, outputs, params, log):
    """Write the picture that the wildcard `plot` names as SVG."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from winnow.evaluate import dictionary_charts, model_charts
    from winnow.evaluate.chart_parts import save_chart
    from winnow.pipeline.tables import read_metrics, read_parquet

    def table(**wanted):
        tables = [read_parquet(path).replace_schema_metadata(None) for path in inputs.tables]
        rows = pa.concat_tables(tables)
        for column, values in wanted.items():
            rows = rows.filter(pc.is_in(rows[column], pa.array(values, rows[column].type)))
        return rows

    def latencies(rows):
        names = [name for name in pc.unique(rows["metric"]).to_pylist() if name.startswith("latency_batch")]
        return {name: f"latency, batch of {name.removeprefix('latency_batch')} (ms)" for name in names}

    makers = {
        "training": lambda: model_charts.training_curves(table(metric=["loss", f"valid_{params.scores[0]}"])),
        "size": lambda: model_charts.cost_bars(table()),
        "latency": lambda: model_charts.cost_bars(table(), latencies(table())),
        "speed": lambda: model_charts.speed_by_sparsity(table(variant=params.variants)),
        "accuracy": lambda: model_charts.model_scores(read_metrics(inputs.tables), params.scores),
        "calibration": lambda: model_charts.reliability_diagram(
            table(variant=params.variants, seed=[params.first_seed])
        ),
        "criteria": lambda: model_charts.accuracy_by_sparsity(read_metrics(inputs.tables), params.scores[0]),
        "layers": lambda: model_charts.density_heat_map(table(system=["global_magnitude", "global_magnitude_mt"])),
        "survival": lambda: dictionary_charts.survival_by_sparsity(table(system=["matched_by_activation"])),
        "density": lambda: dictionary_charts.density_histogram(
            table(system=["matched_by_activation"], seed=[params.first_seed], variant=params.variants[1:2])
        ),
        "unexplained": lambda: dictionary_charts.dictionary_pareto(table(), "fvu"),
        "recovered": lambda: dictionary_charts.dictionary_pareto(table(), "ce_recovered"),
        "recovery": lambda: dictionary_charts.dictionary_pareto(table(), "recovery"),
        "absorption": lambda: dictionary_charts.dictionary_pareto(table(), "absorption"),
    }
    save_chart(makers[params.plot.partition("_")[0]](), outputs.plot)
