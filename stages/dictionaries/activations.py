"""Harvest a language model's activations at one hook point, or at a pair of them."""

from winnow.pipeline import stage


@stage(torch=True)
def activations(inputs, outputs, params, log):
    """Write the rows in a random order over shards, which token each is, and what the store is of."""
    from winnow.dictionaries.activations import SHARDS
    from winnow.dictionaries.harvest import Harvest, corpus_of
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.workloads import load_workload

    harvest = Harvest(
        corpus_of(load_workload(inputs.train.parent), params.split),
        params.hook.split("-to-"),
        rows=params.rows,
        seed=params.seed,
        split=params.split,
        model_sha256=file_sha256(inputs.model),
        corpus_sha256=file_sha256(inputs.corpus),
        work=params.resume_folder / "harvest",
    )
    harvest.scatter(load_model(inputs.model), Progress(log, "activations", "ranges of sequences"))
    shards = [getattr(outputs, f"shard{number}") for number in range(SHARDS)]
    harvest.gather(shards, outputs.rows, outputs.meta)
    log.info("%d rows of %s", harvest.count, params.hook)
