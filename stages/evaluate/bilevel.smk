rule bilevel:
    input:
        model=flow.model("evaluate"),
        card=flow.card("evaluate"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/{variant}/seed{seed}/metrics.parquet",
        timings="results/{workload}/evaluate/{variant}/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant="bilevel|bilevel_groups",
    params:
        settings=flow.settings("evaluate"),
        code=flow.closure("stages/evaluate/bilevel.py"),
    script:
        "bilevel.py"


rule plot_bilevel:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet"),
    output:
        accuracy=report(
            "results/{workload}/evaluate/{variant}/accuracy.svg",
            caption="../../docs/report/bilevel.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "accuracy, {variant}"},
        ),
        cost=report(
            "results/{workload}/evaluate/{variant}/cost.svg",
            caption="../../docs/report/bilevel.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "accuracy by cost, {variant}"},
        ),
        overlap=report(
            "results/{workload}/evaluate/{variant}/overlap.svg",
            caption="../../docs/report/bilevel.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "how masks settle, {variant}"},
        ),
    log:
        "logs/{workload}/evaluate/plot_{variant}.log",
    wildcard_constraints:
        variant="bilevel|bilevel_groups",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_bilevel.py"),
    script:
        "plot_bilevel.py"
