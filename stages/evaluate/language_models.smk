rule language_models:
    input:
        model=flow.model("evaluate", "language_models"),
        card=flow.card("evaluate", "language_models"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
    output:
        metrics="results/{workload}/evaluate/language_models/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/language_models/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "language_models"),
        code=flow.closure("stages/evaluate/language_models.py"),
    script:
        "language_models.py"


rule plot_language_models:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "language_models"),
    output:
        bits_per_byte=report(
            "results/{workload}/evaluate/language_models/bits_per_byte.svg",
            caption="../../docs/report/language_models.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "bits per byte"},
        ),
    log:
        "logs/{workload}/evaluate/plot_language_models.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_language_models.py"),
    script:
        "plot_language_models.py"
