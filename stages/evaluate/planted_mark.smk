rule planted_mark:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/planted_mark/seed{seed}/metrics.parquet",
        explanations="results/{workload}/evaluate/planted_mark/seed{seed}/explanations.parquet",
        maps="results/{workload}/evaluate/planted_mark/seed{seed}/maps.safetensors",
    log:
        "logs/{workload}/evaluate/planted_mark/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "planted_mark"),
        code=flow.closure("stages/evaluate/planted_mark.py"),
    script:
        "planted_mark.py"


rule plot_planted_mark:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "planted_mark"),
        explanations=flow.tables("evaluate", "explanations.parquet", "planted_mark"),
        maps=flow.tables("evaluate", "maps.safetensors", "planted_mark"),
    output:
        marked=report(
            "results/{workload}/evaluate/planted_mark/marked.svg",
            caption="../../docs/report/planted_mark.rst",
            category="Gallery",
            labels={"workload": "{workload}", "figure": "LIME on a model that goes by a mark"},
        ),
    log:
        "logs/{workload}/evaluate/plot_planted_mark.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_planted_mark.py"),
    script:
        "plot_planted_mark.py"
