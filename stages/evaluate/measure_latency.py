"""Time every model, dense and compressed, one after another in one process, and other forms of the compressed ones."""

from winnow.pipeline import stage


@stage(torch=True)
def measure_latency(inputs, outputs, params, log):
    """Write the median milliseconds of a forward pass for each model, form and batch size.

    latency_batch*: the model as it is, by dense kernels. Of compressed models also slim_latency_batch*: without
    dead units, by dense kernels; csr_latency_batch*: linear layers in compressed sparse rows, others dense.
    """
    import pyarrow as pa

    from winnow.compress._measure import latency, with_csr
    from winnow.compress._slimming import slim
    from winnow.models import load_model
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload

    workload = load_workload(inputs.train.parent)
    progress = Progress(log, "latency", "models")
    tables = []
    for done, path in enumerate(inputs.models):
        family, variant, seed = path.parts[-4:-1]
        model = load_model(path)
        forms = {"": model}
        if family == "compress":
            forms["csr_"] = with_csr(model)
        if family == "compress" and workload.task != "language":  # the residual stream ties all units together
            forms["slim_"] = slim(model, None, workload.example_inputs())
        values = {
            f"{form}latency_batch{size}": latency(formed, workload.example_inputs(size), repeats=params.latency_repeats)
            for size in params.latency_batches
            for form, formed in forms.items()
        }
        labels = {"workload": params.workload, "variant": variant, "seed": int(seed.removeprefix("seed"))}
        units = dict.fromkeys(values, "ms")
        tables.append(metric_rows(values, system=family, split="test", units=units, **labels))
        progress(done + 1, len(inputs.models))
    write_parquet(pa.concat_tables(tables), outputs.timings)
