rule find_benchmark:
    input:
        functions="results/{workload}/curate/find_functions/seed{seed}/functions.parquet",
    output:
        metrics="results/{workload}/evaluate/find_benchmark/seed{seed}/metrics.parquet",
        interpretations="results/{workload}/evaluate/find_benchmark/seed{seed}/interpretations.parquet",
        scores="results/{workload}/evaluate/find_benchmark/seed{seed}/scores.parquet",
        curves="results/{workload}/evaluate/find_benchmark/seed{seed}/curves.parquet",
        leaderboard="results/{workload}/evaluate/find_benchmark/seed{seed}/leaderboard.json",
    log:
        "logs/{workload}/evaluate/find_benchmark/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "find_benchmark"),
        code=flow.closure("stages/evaluate/find_benchmark.py"),
    script:
        "find_benchmark.py"


rule plot_find_benchmark:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "find_benchmark"),
        curves=flow.tables("evaluate", "curves.parquet", "find_benchmark"),
    output:
        success=report(
            "results/{workload}/evaluate/find_benchmark/success.svg",
            caption="../../docs/report/find_benchmark.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "FIND: who describes what"},
        ),
        texts=report(
            "results/{workload}/evaluate/find_benchmark/texts.svg",
            caption="../../docs/report/find_benchmark.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "FIND: functions of texts"},
        ),
        relations=report(
            "results/{workload}/evaluate/find_benchmark/relations.svg",
            caption="../../docs/report/find_benchmark.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "FIND: relations and their corrupted group"},
        ),
        budgets=report(
            "results/{workload}/evaluate/find_benchmark/budgets.svg",
            caption="../../docs/report/find_benchmark.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "FIND: what queries buy"},
        ),
        worst=report(
            "results/{workload}/evaluate/find_benchmark/worst.svg",
            caption="../../docs/report/find_benchmark.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "FIND: the worst descriptions"},
        ),
    log:
        "logs/{workload}/evaluate/plot_find_benchmark.log",
    params:
        settings=flow.settings("evaluate", "find_benchmark"),
        code=flow.closure("stages/evaluate/plot_find_benchmark.py"),
    script:
        "plot_find_benchmark.py"
