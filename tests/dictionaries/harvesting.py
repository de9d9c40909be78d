"""Small stores of activations for tests."""

from winnow.dictionaries.activations import open_store
from winnow.dictionaries.harvest import Harvest

HOOK = "blocks.0.hook_resid_post"


def harvested(folder, model, corpus, hooks=(HOOK,), work="work", shards=3, **changed):
    settings = {"rows": 2000, "seed": 5, "split": "train", "model_sha256": "aa", "corpus_sha256": "bb", **changed}
    harvest = Harvest(corpus, hooks, **settings, work=folder / work)
    harvest.scatter(model)
    names = [folder / f"shard-{number:05d}.safetensors" for number in range(shards)]
    harvest.gather(names, folder / "rows.parquet", folder / "meta.json")
    return open_store(folder / "meta.json")
