"""Cluster images, or rows of a table, by TELL and by what it is compared with."""

from winnow.pipeline import stage


@stage(torch=True)
def tell(inputs, outputs, params, log):
    """Write the model, scores of every clusterer, histories, the clusters of the training inputs and the centres."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.evaluate.clusterers import Plan, deep, shallow
    from winnow.evaluate.clustering import clustering_scores
    from winnow.evaluate.clustering_tables import centre_rows, label_rows
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.unit_interval import shown_by, unit_inputs

    workload = load_workload(inputs.train.parent)
    # From 0 to 1, where the decoder's sigmoid lives.
    inputs_of = unit_inputs(workload, ["train", "test"])
    x = {split: rows for split, (rows, _) in inputs_of.items()}
    classes = {split: labels.numpy() for split, (_, labels) in inputs_of.items()}
    plan = Plan(
        clusters=params.clusters or len(workload.classes),
        warm_epochs=params.warm_epochs,
        epochs=params.epochs,
        batch=params.batch_size,
        learning_rate=params.learning_rate,
        hidden=params.hidden,
        latent=params.latent,
        dropout=params.dropout,
        weight=params.weight,
        weights=params.weights,
        passes=params.passes,
        stream_batch=params.stream_batch,
        seed=params.seed,
    )

    def look(labels):
        return {"nmi": clustering_scores(classes["train"], labels.numpy())["nmi"]}

    metrics, history = [], []
    for found in (*shallow(x["train"], x["test"], plan), *deep(x["train"], x["test"], plan, look)):
        told = {"system": found.system, "workload": params.workload, "variant": found.variant, "seed": params.seed}
        history.append(metric_rows(found.history, split="train", **told))
        for split, labels in (("train", found.train), ("test", found.test)):
            if labels is not None:
                scores = clustering_scores(classes[split], labels)
                scores |= found.measured if split == "train" else {}
                metrics.append(metric_rows(scores, split=split, units=dict.fromkeys(scores, ""), **told))
        if (found.system, found.variant) == ("tell", "main"):
            model = found.model
        log.info("%s, %s: done", found.system, found.variant)
    write_parquet(label_rows(model, x["train"], classes["train"], workload.classes), outputs.labels)
    write_parquet(centre_rows(model, x["train"], shown_by(workload)), outputs.centres)
    save_file({name: tensor.contiguous() for name, tensor in sorted(model.state_dict().items())}, outputs.model)
    write_parquet(pa.concat_tables(history), outputs.history)
    write_parquet(pa.concat_tables(metrics), outputs.metrics)
