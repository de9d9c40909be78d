rule protopnet:
    input:
        weights=flow.published_weights,
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        model="results/{workload}/train/{variant}/seed{seed}/model.safetensors",
        card="results/{workload}/train/{variant}/seed{seed}/model.json",
        history="results/{workload}/train/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/train/{variant}/seed{seed}/metrics.parquet",
        prototypes="results/{workload}/train/{variant}/seed{seed}/prototypes.parquet",
        evidence="results/{workload}/train/{variant}/seed{seed}/evidence.parquet",
        scores="results/{workload}/train/{variant}/seed{seed}/scores.parquet",
    log:
        "logs/{workload}/train/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=flow.variants_by("protopnet"),
    params:
        settings=flow.settings("train"),
        code=flow.closure("stages/train/protopnet.py"),
    script:
        "protopnet.py"


rule plot_protopnet:
    input:
        prototypes=flow.tables("train", "prototypes.parquet"),
        evidence=flow.tables("train", "evidence.parquet"),
        history=flow.tables("train", "history.parquet"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
    output:
        prototypes=report(
            "results/{workload}/train/{variant}/prototypes.svg",
            caption="../../docs/report/protopnet.rst",
            category="Gallery",
            labels={"workload": "{workload}", "figure": "prototypes of {variant}"},
        ),
        evidence=report(
            "results/{workload}/train/{variant}/evidence.svg",
            caption="../../docs/report/protopnet.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "why an image is its class, by {variant}"},
        ),
        losses=report(
            "results/{workload}/train/{variant}/losses.svg",
            caption="../../docs/report/protopnet.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "parts of the loss of {variant}"},
        ),
    log:
        "logs/{workload}/train/plot_{variant}.log",
    wildcard_constraints:
        variant=flow.variants_by("protopnet"),
    params:
        settings={},
        code=flow.closure("stages/train/plot_protopnet.py"),
    script:
        "plot_protopnet.py"
