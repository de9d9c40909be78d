rule modular_addition:
    output:
        model="results/{workload}/train/{variant}/seed{seed}/model.safetensors",
        card="results/{workload}/train/{variant}/seed{seed}/model.json",
        history="results/{workload}/train/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/train/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/train/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=flow.variants_by("modular_addition"),
    params:
        settings=flow.settings("train"),
        code=flow.closure("stages/train/modular_addition.py"),
    script:
        "modular_addition.py"
