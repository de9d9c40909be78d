rule kv_quantise:
    input:
        model=flow.model("evaluate", "kv_quantise"),
        card=flow.card("evaluate", "kv_quantise"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/kv_quantise/seed{seed}/metrics.parquet",
        sizes="results/{workload}/evaluate/kv_quantise/seed{seed}/sizes.parquet",
        timings="results/{workload}/evaluate/kv_quantise/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/kv_quantise/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "kv_quantise"),
        code=flow.closure("stages/evaluate/kv_quantise.py"),
    script:
        "kv_quantise.py"


rule plot_kv_quantise:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "kv_quantise"),
        sizes=flow.tables("evaluate", "sizes.parquet", "kv_quantise"),
    output:
        quality=report(
            "results/{workload}/evaluate/kv_quantise/quality.svg",
            caption="../../docs/report/kv_quantise.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "key-value caches: loss by bits"},
        ),
        orders=report(
            "results/{workload}/evaluate/kv_quantise/orders.svg",
            caption="../../docs/report/kv_quantise.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "key-value caches: orders of the same bits"},
        ),
        ages=report(
            "results/{workload}/evaluate/kv_quantise/ages.svg",
            caption="../../docs/report/kv_quantise.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "key-value caches: bits by age"},
        ),
        sizes=report(
            "results/{workload}/evaluate/kv_quantise/sizes.svg",
            caption="../../docs/report/kv_quantise.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "key-value caches: bytes"},
        ),
    log:
        "logs/{workload}/evaluate/plot_kv_quantise.log",
    params:
        settings=flow.settings("evaluate", "kv_quantise"),
        code=flow.closure("stages/evaluate/plot_kv_quantise.py"),
    script:
        "plot_kv_quantise.py"
