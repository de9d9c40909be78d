rule opencoder:
    input:
        raw="data/raw/{workload}.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/opencoder/seed{seed}/metrics.parquet",
        funnel="results/{workload}/evaluate/opencoder/seed{seed}/funnel.parquet",
        dropped="results/{workload}/evaluate/opencoder/seed{seed}/dropped.parquet",
        shown="results/{workload}/evaluate/opencoder/seed{seed}/shown.parquet",
        signals="results/{workload}/evaluate/opencoder/seed{seed}/signals.parquet",
    log:
        "logs/{workload}/evaluate/opencoder/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "opencoder"),
        code=flow.closure("stages/evaluate/opencoder.py"),
    script:
        "opencoder.py"


rule plot_opencoder:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "opencoder"),
        funnel=flow.tables("evaluate", "funnel.parquet", "opencoder"),
        dropped=flow.tables("evaluate", "dropped.parquet", "opencoder"),
        shown=flow.tables("evaluate", "shown.parquet", "opencoder"),
        signals=flow.tables("evaluate", "signals.parquet", "opencoder"),
    output:
        ablation=report(
            "results/{workload}/evaluate/opencoder/ablation.svg",
            caption="../../docs/report/opencoder.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: what each arm teaches"},
        ),
        funnel=report(
            "results/{workload}/evaluate/opencoder/funnel.svg",
            caption="../../docs/report/opencoder.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: what stays"},
        ),
        signals=report(
            "results/{workload}/evaluate/opencoder/signals.svg",
            caption="../../docs/report/opencoder.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: why files go"},
        ),
        map=report(
            "results/{workload}/evaluate/opencoder/map.svg",
            caption="../../docs/report/opencoder.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: two signals of each file"},
        ),
        page=report(
            "results/{workload}/evaluate/opencoder/dropped.html",
            caption="../../docs/report/opencoder_dropped.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: dropped files to look at"},
        ),
    log:
        "logs/{workload}/evaluate/plot_opencoder.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_opencoder.py"),
    script:
        "plot_opencoder.py"
