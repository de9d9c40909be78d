rule language_models:
    input:
        models=flow.models("evaluate", "language_models", "model.safetensors"),
        cards=flow.models("evaluate", "language_models", "model.json"),
        histories=flow.models("evaluate", "language_models", "history.parquet"),
        published=flow.published_models("language_models"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/language_models/seed{seed}/metrics.parquet",
        history="results/{workload}/evaluate/language_models/seed{seed}/history.parquet",
        timings="results/{workload}/evaluate/language_models/seed{seed}/timings.parquet",
        samples="results/{workload}/evaluate/language_models/seed{seed}/samples.parquet",
        backends="results/{workload}/evaluate/language_models/seed{seed}/backends.json",
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
        histories=flow.tables("evaluate", "history.parquet", "language_models"),
        timings=flow.tables("evaluate", "timings.parquet", "language_models"),
        samples=flow.tables("evaluate", "samples.parquet", "language_models"),
    output:
        bits_per_byte=report(
            "results/{workload}/evaluate/language_models/bits_per_byte.svg",
            caption="../../docs/report/language_models.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "bits per byte"},
        ),
        learning=report(
            "results/{workload}/evaluate/language_models/learning.svg",
            caption="../../docs/report/language_models.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "language models: learning"},
        ),
        speed=report(
            "results/{workload}/evaluate/language_models/speed.svg",
            caption="../../docs/report/language_models.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "language models: speed"},
        ),
        samples=report(
            "results/{workload}/evaluate/language_models/samples.html",
            caption="../../docs/report/language_samples.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "what language models write"},
        ),
    log:
        "logs/{workload}/evaluate/plot_language_models.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_language_models.py"),
    script:
        "plot_language_models.py"
