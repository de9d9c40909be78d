rule prototype_reasons:
    input:
        models=flow.models("evaluate", "prototype_reasons", "model.safetensors"),
        cards=flow.models("evaluate", "prototype_reasons", "model.json"),
        prototypes=flow.models("evaluate", "prototype_reasons", "prototypes.parquet"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/prototype_reasons/seed{seed}/metrics.parquet",
        importances="results/{workload}/evaluate/prototype_reasons/seed{seed}/importances.parquet",
        explanations="results/{workload}/evaluate/prototype_reasons/seed{seed}/explanations.json",
        cards="results/{workload}/evaluate/prototype_reasons/seed{seed}/cards.parquet",
    log:
        "logs/{workload}/evaluate/prototype_reasons/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "prototype_reasons"),
        code=flow.closure("stages/evaluate/prototype_reasons.py"),
    script:
        "prototype_reasons.py"


rule plot_prototype_reasons:
    input:
        importances=flow.tables("evaluate", "importances.parquet", "prototype_reasons"),
        cards=flow.tables("evaluate", "cards.parquet", "prototype_reasons"),
    output:
        agreement=report(
            "results/{workload}/evaluate/prototype_reasons/agreement.svg",
            caption="../../docs/report/prototype_reasons.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "reasons of prototypes on train and test"},
        ),
        importances=report(
            "results/{workload}/evaluate/prototype_reasons/importances.svg",
            caption="../../docs/report/prototype_reasons.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "reasons of each prototype"},
        ),
        cards=report(
            "results/{workload}/evaluate/prototype_reasons/cards.svg",
            caption="../../docs/report/prototype_reasons.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "prototypes with their patches edited"},
        ),
    log:
        "logs/{workload}/evaluate/plot_prototype_reasons.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_prototype_reasons.py"),
    script:
        "plot_prototype_reasons.py"
