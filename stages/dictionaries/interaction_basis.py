"""Train networks on pairs of images, and find the Interaction Basis of their layers beside other bases."""

from winnow.pipeline import stage


@stage(torch=True)
def interaction_basis(inputs, outputs, params, log):
    """Write the networks with the rotation of their inputs, bases of each kind, edges between them, and histories."""
    import pyarrow as pa
    from safetensors.torch import save_file

    from winnow.dictionaries.basis_files import save_bases
    from winnow.dictionaries.interaction_basis import logit_gauge
    from winnow.evaluate import interaction_study as study
    from winnow.evaluate.pair_networks import parts_of, train_pairs
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.workloads import load_workload
    from winnow.workloads.digit_pairs import digit_pairs, rotation

    workload = load_workload(inputs.train.parent)
    images, labels = workload.arrays("train")
    classes, turn = len(workload.classes), rotation(2 * images[0].numel(), params.seed)
    pairs = digit_pairs(images, labels, params.pairs, turn, params.seed, "train")
    arms = {
        "network": ("apart", params.steps, None),
        "apart": ("apart", params.most_steps, params.target),
        "coupled": ("coupled", params.most_steps, params.target),
    }
    tensors, histories = {"turn": turn}, []
    for name, (question, steps, target) in arms.items():
        model, history = train_pairs(
            pairs.x,
            pairs.answers(question, classes),
            params.hidden,
            classes,
            steps=steps,
            target=target,
            batch_size=params.batch_size,
            learning_rate=params.learning_rate,
            weight_decay=params.weight_decay,
            seed=params.seed,
            name=name,
            progress=Progress(log, name),
        )
        log.info("%s: loss %.3f nats after %d steps", name, *history[-1][1:])
        tensors |= {f"{name}.{key}": value for key, value in model.state_dict().items()}
        labels = {"system": "interaction_basis", "workload": params.workload, "variant": name, "seed": params.seed}
        histories.append(metric_rows(history, split="train", **labels))
        if name == "network":
            parts = parts_of(model)
    x, gauge = pairs.x[: params.rows], logit_gauge([classes, classes])
    bases = {kind: study.bases_of(kind, parts, x, gauge, seed=params.seed) for kind in study.BASES}
    edges = [
        row for kind, found in bases.items() for row in study.edge_rows(kind, study.all_strengths(parts, x, found))
    ]
    save_file(dict(sorted(tensors.items())), outputs.networks)
    save_bases(bases, outputs.bases)
    write_parquet(pa.Table.from_pylist(edges), outputs.edges)
    write_parquet(pa.concat_tables(histories), outputs.history)
