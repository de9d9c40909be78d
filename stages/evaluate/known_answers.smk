rule known_answers:
    output:
        metrics="results/{workload}/evaluate/known_answers/seed{seed}/metrics.parquet",
        scores="results/{workload}/evaluate/known_answers/seed{seed}/scores.parquet",
    log:
        "logs/{workload}/evaluate/known_answers/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "known_answers"),
        code=flow.closure("stages/evaluate/known_answers.py"),
    script:
        "known_answers.py"


rule plot_known_answers:
    input:
        scores=flow.tables("evaluate", "scores.parquet", "known_answers"),
    output:
        answers=report(
            "results/{workload}/evaluate/known_answers/answers.svg",
            caption="../../docs/report/known_answers.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "measures held against known answers"},
        ),
    log:
        "logs/{workload}/evaluate/plot_known_answers.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_known_answers.py"),
    script:
        "plot_known_answers.py"
