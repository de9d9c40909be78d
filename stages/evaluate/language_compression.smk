rule language_compression:
    input:
        models=flow.models("evaluate", "language_compression", "model.safetensors"),
        cards=flow.models("evaluate", "language_compression", "model.json"),
        streamed=flow.named_model("language_compression", "streamed", "model.safetensors"),
        streamed_card=flow.named_model("language_compression", "streamed", "model.json"),
        evopress=expand(
            "results/{{workload}}/evaluate/evopress/models/{kind}.safetensors",
            kind=["depth", "sparsity", "bits"],
        ),
        evopress_cards=expand(
            "results/{{workload}}/evaluate/evopress/models/{kind}.json",
            kind=["depth", "sparsity", "bits"],
        ),
        evopress_of=flow.model("evaluate", "evopress", seed=0),
        routed_of=flow.model("evaluate", "duo", seed=0),
        routed="results/{workload}/evaluate/duo/seed{seed}/model.safetensors",
        routed_card="results/{workload}/evaluate/duo/seed{seed}/model.json",
        train="results/{workload}/curate/all/seed0/train.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/language_compression/seed{seed}/metrics.parquet",
        timings="results/{workload}/evaluate/language_compression/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/language_compression/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "language_compression"),
        code=flow.closure("stages/evaluate/language_compression.py"),
    script:
        "language_compression.py"


rule plot_language_compression:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "language_compression"),
        timings=flow.tables("evaluate", "timings.parquet", "language_compression"),
    output:
        trade=report(
            "results/{workload}/evaluate/language_compression/trade.svg",
            caption="../../docs/report/language_compression.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "language models: loss by bytes"},
        ),
        parameters=report(
            "results/{workload}/evaluate/language_compression/parameters.svg",
            caption="../../docs/report/language_parameters.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "language models: loss by parameters"},
        ),
        costs=report(
            "results/{workload}/evaluate/language_compression/costs.svg",
            caption="../../docs/report/language_compression.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "language models: what compression buys"},
        ),
        table=report(
            "results/{workload}/evaluate/language_compression/table.html",
            caption="../../docs/report/language_compression.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "language models: compressed beside dense"},
        ),
    log:
        "logs/{workload}/evaluate/plot_language_compression.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_language_compression.py"),
    script:
        "plot_language_compression.py"
