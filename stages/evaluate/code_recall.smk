rule code_recall:
    input:
        documents=[
            "results/{workload}/curate/all/seed0/train.parquet",
            "results/{workload}/curate/all/seed0/valid.parquet",
            "results/{workload}/curate/all/seed0/test.parquet",
            "results/{workload}/curate/all/seed0/held_out.parquet",
        ],
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/code_recall/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/code_recall/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "code_recall"),
        code=flow.closure("stages/evaluate/code_recall.py"),
    script:
        "code_recall.py"


rule plot_code_recall:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "code_recall"),
    output:
        recall=report(
            "results/{workload}/evaluate/code_recall/recall.svg",
            caption="../../docs/report/code_recall.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: recall in rounds"},
        ),
    log:
        "logs/{workload}/evaluate/plot_code_recall.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_code_recall.py"),
    script:
        "plot_code_recall.py"
