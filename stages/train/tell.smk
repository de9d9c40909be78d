rule tell:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        model="results/{workload}/train/{variant}/seed{seed}/model.safetensors",
        history="results/{workload}/train/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/train/{variant}/seed{seed}/metrics.parquet",
        labels="results/{workload}/train/{variant}/seed{seed}/labels.parquet",
        centres="results/{workload}/train/{variant}/seed{seed}/centres.parquet",
    log:
        "logs/{workload}/train/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=flow.variants_by("tell"),
    params:
        settings=flow.settings("train"),
        code=flow.closure("stages/train/tell.py"),
    script:
        "tell.py"


rule plot_tell:
    input:
        metrics=flow.tables("train", "metrics.parquet"),
        history=flow.tables("train", "history.parquet"),
        labels=flow.tables("train", "labels.parquet"),
        centres=flow.tables("train", "centres.parquet"),
    output:
        clusterers=report(
            "results/{workload}/train/{variant}/clusterers.svg",
            caption="../../docs/report/tell.rst",
            category="Clustering",
            labels={"workload": "{workload}", "figure": "clusterers"},
        ),
        centres=report(
            "results/{workload}/train/{variant}/centres.svg",
            caption="../../docs/report/tell.rst",
            category="Clustering",
            labels={"workload": "{workload}", "figure": "centres"},
        ),
        training=report(
            "results/{workload}/train/{variant}/training.svg",
            caption="../../docs/report/tell.rst",
            category="Clustering",
            labels={"workload": "{workload}", "figure": "losses and objective"},
        ),
        confusion=report(
            "results/{workload}/train/{variant}/confusion.svg",
            caption="../../docs/report/tell.rst",
            category="Clustering",
            labels={"workload": "{workload}", "figure": "clusters and classes"},
        ),
    log:
        "logs/{workload}/train/plot_{variant}.log",
    wildcard_constraints:
        variant=flow.variants_by("tell"),
    params:
        settings={},
        code=flow.closure("stages/train/plot_tell.py"),
    script:
        "plot_tell.py"
