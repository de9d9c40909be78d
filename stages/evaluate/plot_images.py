"""Draw the pictures of an image workload from the tables that its stages wrote."""

from winnow.pipeline import stage


@stage
def plot_images(inputs, outputs, params, log):
    """Write one SVG for each picture that the rule names."""
    from winnow.evaluate import charts
    from winnow.pipeline.tables import read_metrics, read_parquet

    def tables(name):
        return [read_parquet(path) for path in getattr(inputs, name, [])]

    makers = {
        "training": lambda: charts.training(read_metrics(inputs.histories)),
        "models": lambda: charts.models(read_metrics(inputs.models)),
        "calibration": lambda: charts.reliability(tables("reliability")[0]),
        "criteria": lambda: charts.accuracy_by_sparsity(read_metrics(inputs.criteria)),
        "layers": lambda: charts.layer_density(tables("layers")),
        "survival": lambda: charts.survival(read_metrics(inputs.survival)),
        "pareto": lambda: charts.pareto(read_metrics(inputs.pareto)),
    }
    for name, path in vars(outputs).items():
        log.info("drawing %s", name)
        charts.save_chart(makers[name](), path)
