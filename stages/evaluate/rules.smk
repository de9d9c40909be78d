rule pruning_criteria:
    input:
        model=flow.model("evaluate"),
        card=flow.card("evaluate"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/{variant}/seed{seed}/metrics.parquet",
        layers="results/{workload}/evaluate/{variant}/seed{seed}/layers.parquet",
    log:
        "logs/{workload}/evaluate/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant="criteria_[A-Za-z0-9_]+",
    params:
        settings=flow.settings("evaluate"),
        code=flow.closure("stages/evaluate/pruning_criteria.py"),
    script:
        "pruning_criteria.py"


rule dictionary_pareto:
    input:
        model=flow.model("evaluate", "pareto"),
        card=flow.card("evaluate", "pareto"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/pareto/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/evaluate/pareto/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("images", "table"),
    params:
        settings=flow.settings("evaluate", "pareto"),
        code=flow.closure("stages/evaluate/dictionary_pareto.py"),
    script:
        "dictionary_pareto.py"


rule measure_models:
    input:
        models=flow.all_models("model.safetensors"),
        cards=flow.all_models("model.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/models/metrics.parquet",
        reliability="results/{workload}/evaluate/models/reliability.parquet",
    log:
        "logs/{workload}/evaluate/models.log",
    params:
        settings=flow.settings("evaluate", "models"),
        code=flow.closure("stages/evaluate/measure_models.py"),
    script:
        "measure_models.py"


rule measure_latency:
    input:
        models=flow.all_models("model.safetensors"),
        cards=flow.all_models("model.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        timings="results/{workload}/evaluate/latency/timings.parquet",
    log:
        "logs/{workload}/evaluate/latency.log",
    params:
        settings=flow.settings("evaluate", "models"),
        code=flow.closure("stages/evaluate/measure_latency.py"),
    script:
        "measure_latency.py"


rule feature_survival:
    input:
        dictionaries=flow.survival("dictionary.safetensors"),
        dictionary_cards=flow.survival("dictionary.json"),
        models=flow.survival("model.safetensors"),
        cards=flow.survival("model.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/survival/metrics.parquet",
        features="results/{workload}/evaluate/survival/features.parquet",
    log:
        "logs/{workload}/evaluate/survival.log",
    params:
        settings=flow.settings("evaluate", "survival"),
        code=flow.closure("stages/evaluate/feature_survival.py"),
    script:
        "feature_survival.py"


rule planted_dictionaries:
    output:
        metrics="results/{workload}/evaluate/planted/metrics.parquet",
    log:
        "logs/{workload}/evaluate/planted.log",
    params:
        settings=flow.settings("evaluate", "planted"),
        code=flow.closure("stages/evaluate/planted_dictionaries.py"),
    script:
        "planted_dictionaries.py"


rule plot:
    input:
        tables=flow.plot_tables,
    output:
        plot=report(
            "results/{workload}/evaluate/plots/{plot}.svg",
            caption="../../docs/report/plot.rst",
            category=flow.plot_category,
            labels={"workload": "{workload}", "figure": "{plot}"},
        ),
    log:
        "logs/{workload}/evaluate/plots/{plot}.log",
    wildcard_constraints:
        plot="[a-z_]+",
    params:
        settings=flow.plot_settings,
        code=flow.closure("stages/evaluate/plot.py"),
    script:
        "plot.py"


rule summarise:
    input:
        metrics=flow.metrics,
    output:
        summary=report(
            "summaries/{workload}.json",
            caption="../../docs/report/summary.rst",
            category="Summary",
            labels={"workload": "{workload}", "figure": "means over seeds"},
        ),
    log:
        "logs/{workload}/summarise.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/summarise.py"),
    script:
        "summarise.py"


rule claims:
    input:
        claims="claims.yaml",
        metrics=flow.claim_metrics,
        benchmarks=flow.benchmarks(),
    output:
        verdicts="results/claims.parquet",
        page=report(
            "results/claims.html",
            caption="../../docs/report/claims.rst",
            category="Claims",
            labels={"workload": "all", "figure": "ledger of claims"},
        ),
        plot=report(
            "results/claims.svg",
            caption="../../docs/report/claims.rst",
            category="Claims",
            labels={"workload": "all", "figure": "effects and intervals"},
        ),
    log:
        "logs/claims.log",
    params:
        settings=flow.claim_settings,
        code=flow.closure("stages/evaluate/claims.py"),
    script:
        "claims.py"
