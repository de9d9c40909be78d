rule relevance:
    input:
        model=flow.model("evaluate", "relevance"),
        card=flow.card("evaluate", "relevance"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/relevance/seed{seed}/metrics.parquet",
        kept="results/{workload}/evaluate/relevance/seed{seed}/kept.parquet",
        maps="results/{workload}/evaluate/relevance/seed{seed}/maps.safetensors",
        timings="results/{workload}/evaluate/relevance/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/relevance/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "relevance"),
        code=flow.closure("stages/evaluate/relevance.py"),
    script:
        "relevance.py"


rule plot_relevance:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "relevance"),
        kept=flow.tables("evaluate", "kept.parquet", "relevance"),
        maps=flow.tables("evaluate", "maps.safetensors", "relevance"),
    output:
        curves=report(
            "results/{workload}/evaluate/relevance/curves.svg",
            caption="../../docs/report/relevance.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "pruning for few classes"},
        ),
        kept=report(
            "results/{workload}/evaluate/relevance/kept.svg",
            caption="../../docs/report/relevance.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "units kept in each layer"},
        ),
        maps=report(
            "results/{workload}/evaluate/relevance/maps.svg",
            caption="../../docs/report/relevance.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "relevance before and after pruning"},
        ),
    log:
        "logs/{workload}/evaluate/plot_relevance.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_relevance.py"),
    script:
        "plot_relevance.py"
