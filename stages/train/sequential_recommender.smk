rule sequential_recommender:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        model="results/{workload}/train/{variant}/seed{seed}/model.safetensors",
        card="results/{workload}/train/{variant}/seed{seed}/model.json",
        history="results/{workload}/train/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/train/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/train/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=flow.variants_by("sequential_recommender"),
    params:
        settings=flow.settings("train"),
        code=flow.closure("stages/train/sequential_recommender.py"),
    script:
        "sequential_recommender.py"
