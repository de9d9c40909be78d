"""Train classifiers of unbalanced images in several ways, and keep the transferred one that is meant to be best."""

from winnow.pipeline import stage


@stage(torch=True)
def transfer(inputs, outputs, params, log):
    """Write the kept network with its history, scores of every arm, and what each arm says of each test image."""
    import pyarrow as pa
    import torch
    from safetensors.torch import load_file

    from winnow.models import save_model
    from winnow.models.efficientnet_lite0 import published_state
    from winnow.models.transfer_net import take_network
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import metric_rows, write_parquet
    from winnow.train.transfer_arms import KEPT, PLAIN, Budget, arm_scores, trained_arms
    from winnow.workloads import load_workload

    workload, seed = load_workload(inputs.train.parent), params.seed
    x, y = (torch.cat(parts) for parts in zip(*(workload.arrays(s) for s in ("train", "valid")), strict=True))
    test, truth = workload.arrays("test")

    def network():
        arguments = {"tuned": params.tuned, "hidden": params.hidden, "dropout": params.dropout}
        model = workload.build("transfer_net", seed=seed, **arguments)
        if not params.weights:
            return model
        scales = (torch.from_numpy(part).float() for part in workload.standardisation())
        return take_network(model, published_state(load_file(inputs.weights[0])), *scales)

    def scratch():
        return workload.build("small_cnn", seed=seed)

    def predicted(model):
        with torch.no_grad():
            return torch.cat([model.eval()(rows).argmax(1) for rows in test.split(128)]).numpy()

    labels = {"workload": params.workload, "seed": seed}
    budget = Budget(*(getattr(params, name) for name in Budget._fields))
    progress, said = Progress(log, params.variant, "arms"), {}
    for done, arm in enumerate(trained_arms(scratch, network, x, y, budget)):
        said |= {("small_cnn", arm.name): predicted(arm.scratch), ("transfer", arm.name): predicted(arm.transfer)}
        if arm.name == KEPT:
            save_model(arm.transfer, outputs.model, workload=params.workload)
            history = metric_rows(arm.history, system="transfer", variant=params.variant, split="train", **labels)
            write_parquet(history, outputs.history)
        progress(done + 1, 8)
    tables, rows = [], []
    for (system, arm), found in said.items():
        values = arm_scores(truth.numpy(), found, said[system, PLAIN], [str(c) for c in workload.classes], seed)
        tables.append(metric_rows(values, system=system, variant=arm, split="test", **labels))
        pairs = zip(truth.tolist(), found.tolist(), strict=True)
        rows += [{"system": system, "arm": arm, "label": label, "predicted": told} for label, told in pairs]
    write_parquet(pa.concat_tables(tables), outputs.metrics)
    write_parquet(pa.Table.from_pylist(rows), outputs.classification)
