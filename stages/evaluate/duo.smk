rule duo:
    input:
        model=flow.model("evaluate", "duo", seed=0),
        card=flow.card("evaluate", "duo", seed=0),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/duo/seed{seed}/metrics.parquet",
        use="results/{workload}/evaluate/duo/seed{seed}/use.parquet",
        growth="results/{workload}/evaluate/duo/seed{seed}/growth.parquet",
        skips="results/{workload}/evaluate/duo/seed{seed}/skips.parquet",
        costs="results/{workload}/evaluate/duo/seed{seed}/costs.parquet",
        routes="results/{workload}/evaluate/duo/seed{seed}/routes.parquet",
        tokens="results/{workload}/evaluate/duo/seed{seed}/tokens.parquet",
        model="results/{workload}/evaluate/duo/seed{seed}/model.safetensors",
        card="results/{workload}/evaluate/duo/seed{seed}/model.json",
        scratch="results/{workload}/evaluate/duo/seed{seed}/scratch.safetensors",
        scratch_card="results/{workload}/evaluate/duo/seed{seed}/scratch.json",
    log:
        "logs/{workload}/evaluate/duo/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "duo"),
        code=flow.closure("stages/evaluate/duo.py"),
    script:
        "duo.py"


rule plot_duo:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "duo"),
        use=flow.tables("evaluate", "use.parquet", "duo"),
        growth=flow.tables("evaluate", "growth.parquet", "duo"),
        skips=flow.tables("evaluate", "skips.parquet", "duo"),
        costs=flow.tables("evaluate", "costs.parquet", "duo"),
        tokens=flow.tables("evaluate", "tokens.parquet", "duo"),
    output:
        budgets=report(
            "results/{workload}/evaluate/duo/budgets.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: loss by budget"},
        ),
        use=report(
            "results/{workload}/evaluate/duo/use.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: layers that oracles use"},
        ),
        hindsight=report(
            "results/{workload}/evaluate/duo/hindsight.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: hindsight of oracles"},
        ),
        skips=report(
            "results/{workload}/evaluate/duo/skips.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: layers that oracles skip"},
        ),
        costs=report(
            "results/{workload}/evaluate/duo/costs.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: loss by work"},
        ),
        tokens=report(
            "results/{workload}/evaluate/duo/tokens.svg",
            caption="../../docs/report/duo.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "routes: tokens that gain"},
        ),
    log:
        "logs/{workload}/evaluate/plot_duo.log",
    params:
        settings=flow.settings("evaluate", "duo"),
        code=flow.closure("stages/evaluate/plot_duo.py"),
    script:
        "plot_duo.py"
