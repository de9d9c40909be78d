rule transcoder:
    input:
        metrics=flow.of_layers("transcoder", "metrics.parquet"),
    output:
        metrics="results/{workload}/evaluate/transcoder/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/transcoder/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "transcoder"),
        code=flow.closure("stages/evaluate/transcoder.py"),
    script:
        "transcoder.py"


rule plot_transcoder:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "transcoder"),
        features=flow.of_layers("transcoder", "features.parquet"),
    output:
        pareto=report(
            "results/{workload}/evaluate/transcoder/pareto.svg",
            caption="../../docs/report/transcoder.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "transcoders beside autoencoders"},
        ),
        density=report(
            "results/{workload}/evaluate/transcoder/density.svg",
            caption="../../docs/report/dictionary.rst",
            category="Dictionaries",
            labels={"workload": "{workload}", "figure": "transcoders: how often latents fire"},
        ),
    log:
        "logs/{workload}/evaluate/plot_transcoder.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_transcoder.py"),
    script:
        "plot_transcoder.py"
