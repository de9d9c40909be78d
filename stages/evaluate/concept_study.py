"""Write a page of tasks that asks people what a machine cannot tell: how many concepts an explanation may have."""

from winnow.pipeline import stage


@stage(torch=True)
def concept_study(inputs, outputs, params, log):
    """Write the page, and the power of a study of that many people."""
    import pyarrow as pa

    from winnow.evaluate.concept_features import predictions
    from winnow.evaluate.concept_study import Task, power_table, study_page
    from winnow.models import load_model
    from winnow.pipeline.tables import metric_rows, read_parquet, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.image_tables import encode_png
    from winnow.workloads.parts import CONCEPT_NAMES, probe_arrays

    workload = load_workload(inputs.train.parent)
    pixels, concepts, _ = probe_arrays("study", params.shown, params.seed, workload.shape[1])
    said = predictions(load_model(inputs.model), workload.standardise(pixels)).argmax(dim=1).tolist()
    tasks = []
    for i, (image, present, label) in enumerate(zip(pixels, concepts, said, strict=True)):
        shown = frozenset(name for name, yes in zip(CONCEPT_NAMES, present, strict=True) if yes)
        tasks.append(Task(str(i), encode_png(image), shown, workload.classes[label]))
    coefficients = {}
    for row in read_parquet(inputs.explanations).to_pylist():
        coefficients.setdefault(row["class"], {})[row["concept"]] = row["coefficient"]
    page = study_page(tasks, coefficients, sizes=params.sizes, people=params.people, seed=params.seed)
    outputs.page.write_text(page, encoding="utf-8")
    tables = []
    for row in power_table(params.people, len(params.sizes) + 1):
        labels = {"system": "concept_study", "workload": params.workload, "seed": params.seed, "split": "all"}
        tables.append(metric_rows({"power": row["power"]}, variant=f"difference{row['difference']:g}", **labels))
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    log.info("%d pictures for %d people", len(tasks), params.people)
