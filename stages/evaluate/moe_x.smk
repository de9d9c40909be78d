rule moe_x:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/moe_x/seed{seed}/metrics.parquet",
        history="results/{workload}/evaluate/moe_x/seed{seed}/history.parquet",
        models="results/{workload}/evaluate/moe_x/seed{seed}/models.safetensors",
        traces="results/{workload}/evaluate/moe_x/seed{seed}/traces.parquet",
        features="results/{workload}/evaluate/moe_x/seed{seed}/features.parquet",
        experts="results/{workload}/evaluate/moe_x/seed{seed}/experts.parquet",
        encoders="results/{workload}/evaluate/moe_x/seed{seed}/encoders.parquet",
        timings="results/{workload}/evaluate/moe_x/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/moe_x/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "moe_x"),
        code=flow.closure("stages/evaluate/moe_x.py"),
    script:
        "moe_x.py"


rule plot_moe_x:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "moe_x"),
        features=flow.tables("evaluate", "features.parquet", "moe_x"),
        experts=flow.tables("evaluate", "experts.parquet", "moe_x"),
        encoders=flow.tables("evaluate", "encoders.parquet", "moe_x"),
    output:
        scores=report(
            "results/{workload}/evaluate/moe_x/scores.svg",
            caption="../../docs/report/moe_x.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "experts: loss, sparsity, meaning",
            },
        ),
        experts=report(
            "results/{workload}/evaluate/moe_x/experts.svg",
            caption="../../docs/report/moe_x.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "experts: scores of routers"},
        ),
        contexts=report(
            "results/{workload}/evaluate/moe_x/contexts.svg",
            caption="../../docs/report/moe_x.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "experts: where units are strongest"},
        ),
        encoders=report(
            "results/{workload}/evaluate/moe_x/encoders.svg",
            caption="../../docs/report/moe_x.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "experts: units in a plane"},
        ),
    log:
        "logs/{workload}/evaluate/plot_moe_x.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_moe_x.py"),
    script:
        "plot_moe_x.py"
