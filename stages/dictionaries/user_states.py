"""Harvest what a recommender knows of users at each of their events: the states that items are scored by."""

from winnow.pipeline import stage


@stage(torch=True)
def user_states(inputs, outputs, params, log):
    """Write the states of one group of users in a random order over shards, which event each is, and what of."""
    from winnow.dictionaries.activations import SHARDS
    from winnow.dictionaries.harvest import Harvest
    from winnow.dictionaries.rec_sae import group_corpus, members
    from winnow.models import load_model
    from winnow.pipeline.hashing import file_sha256
    from winnow.pipeline.progress import Progress
    from winnow.pipeline.tables import read_parquet
    from winnow.workloads import load_workload

    harvest = Harvest(
        group_corpus(load_workload(inputs.train.parent), members(read_parquet(inputs.users), params.split)),
        params.hook.split("-to-"),
        rows=params.rows,
        seed=params.seed,
        split=params.split,
        model_sha256=file_sha256(inputs.model),
        corpus_sha256=file_sha256(inputs.train),
        work=params.resume_folder / "harvest",
    )
    harvest.scatter(load_model(inputs.model), Progress(log, "user_states", "ranges of windows"))
    shards = [getattr(outputs, f"shard{number}") for number in range(SHARDS)]
    harvest.gather(shards, outputs.rows, outputs.meta)
    log.info("%d states of %s", harvest.count, params.hook)
