rule compression_effects:
    input:
        models=flow.models("evaluate", "compression_effects", "model.safetensors"),
        cards=flow.models("evaluate", "compression_effects", "model.json"),
        made=flow.models("evaluate", "compression_effects", "metrics.parquet"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/compression_effects/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/compression_effects/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "compression_effects"),
        code=flow.closure("stages/evaluate/compression_effects.py"),
    script:
        "compression_effects.py"


rule plot_compression_effects:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "compression_effects"),
        survival=flow.survival_metrics,
    output:
        effects=report(
            "results/{workload}/evaluate/compression_effects/effects.svg",
            caption="../../docs/report/compression_effects.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "explanations of compressed models"},
        ),
        table=report(
            "results/{workload}/evaluate/compression_effects/effects.csv",
            caption="../../docs/report/compression_effects.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "explanations of compressed models, table"},
        ),
    log:
        "logs/{workload}/evaluate/plot_compression_effects.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_compression_effects.py"),
    script:
        "plot_compression_effects.py"
