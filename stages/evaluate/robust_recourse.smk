rule robust_recourse:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/robust_recourse/seed{seed}/metrics.parquet",
        recourses="results/{workload}/evaluate/robust_recourse/seed{seed}/recourses.parquet",
        audit="results/{workload}/evaluate/robust_recourse/seed{seed}/audit.parquet",
        influence_error="results/{workload}/evaluate/robust_recourse/seed{seed}/influence_error.parquet",
        points="results/{workload}/evaluate/robust_recourse/seed{seed}/points.parquet",
        verdict="results/{workload}/evaluate/robust_recourse/seed{seed}/verdict.json",
    log:
        "logs/{workload}/evaluate/robust_recourse/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "robust_recourse"),
        code=flow.closure("stages/evaluate/robust_recourse.py"),
    script:
        "robust_recourse.py"


rule plot_robust_recourse:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "robust_recourse"),
        influence_error=flow.tables("evaluate", "influence_error.parquet", "robust_recourse"),
        points=flow.tables("evaluate", "points.parquet", "robust_recourse"),
    output:
        validity=report(
            "results/{workload}/evaluate/robust_recourse/validity.svg",
            caption="../../docs/report/robust_recourse.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "validity of recourses under deletion"},
        ),
        front=report(
            "results/{workload}/evaluate/robust_recourse/front.svg",
            caption="../../docs/report/robust_recourse.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "cost and validity of recourses"},
        ),
        influence_error=report(
            "results/{workload}/evaluate/robust_recourse/influence_error.svg",
            caption="../../docs/report/robust_recourse.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "influence against true refits"},
        ),
        changes=report(
            "results/{workload}/evaluate/robust_recourse/changes.svg",
            caption="../../docs/report/robust_recourse.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "what one recourse changes"},
        ),
    log:
        "logs/{workload}/evaluate/plot_robust_recourse.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_robust_recourse.py"),
    script:
        "plot_robust_recourse.py"
