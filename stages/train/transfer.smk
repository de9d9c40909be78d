rule transfer:
    input:
        weights=flow.published_weights,
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        model="results/{workload}/train/{variant}/seed{seed}/model.safetensors",
        card="results/{workload}/train/{variant}/seed{seed}/model.json",
        history="results/{workload}/train/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/train/{variant}/seed{seed}/metrics.parquet",
        classification="results/{workload}/train/{variant}/seed{seed}/classification.parquet",
    log:
        "logs/{workload}/train/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=flow.variants_by("transfer"),
    params:
        settings=flow.settings("train"),
        code=flow.closure("stages/train/transfer.py"),
    script:
        "transfer.py"


rule plot_transfer:
    input:
        metrics=flow.tables("train", "metrics.parquet"),
        classification=flow.tables("train", "classification.parquet"),
        train="results/{workload}/curate/all/seed0/train.parquet",
    output:
        arms=report(
            "results/{workload}/train/{variant}/arms.svg",
            caption="../../docs/report/transfer.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "draws and balances of training images"},
        ),
        confusion=report(
            "results/{workload}/train/{variant}/confusion.svg",
            caption="../../docs/report/transfer.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "confusion of the transferred network"},
        ),
    log:
        "logs/{workload}/train/plot_{variant}.log",
    wildcard_constraints:
        variant=flow.variants_by("transfer"),
    params:
        settings={},
        code=flow.closure("stages/train/plot_transfer.py"),
    script:
        "plot_transfer.py"
