rule prototype_scores:
    input:
        models=flow.models("evaluate", "prototype_scores", "model.safetensors"),
        cards=flow.models("evaluate", "prototype_scores", "model.json"),
        model=flow.model("evaluate", "prototype_scores"),
        card=flow.card("evaluate", "prototype_scores"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/prototype_scores/seed{seed}/metrics.parquet",
        prototypes="results/{workload}/evaluate/prototype_scores/seed{seed}/prototype_scores.parquet",
        curve="results/{workload}/evaluate/prototype_scores/seed{seed}/window_curve.parquet",
        strips="results/{workload}/evaluate/prototype_scores/seed{seed}/strips.parquet",
    log:
        "logs/{workload}/evaluate/prototype_scores/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "prototype_scores"),
        code=flow.closure("stages/evaluate/prototype_scores.py"),
    script:
        "prototype_scores.py"


rule plot_prototype_scores:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "prototype_scores"),
        curve=flow.tables("evaluate", "window_curve.parquet", "prototype_scores"),
        prototypes=flow.tables("evaluate", "prototype_scores.parquet", "prototype_scores"),
        strips=flow.tables("evaluate", "strips.parquet", "prototype_scores"),
    output:
        windows=report(
            "results/{workload}/evaluate/prototype_scores/windows.svg",
            caption="../../docs/report/prototype_scores.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "consistency over windows"},
        ),
        scores=report(
            "results/{workload}/evaluate/prototype_scores/scores.svg",
            caption="../../docs/report/prototype_scores.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "consistency and stability"},
        ),
        accuracy=report(
            "results/{workload}/evaluate/prototype_scores/accuracy.svg",
            caption="../../docs/report/prototype_scores.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "accuracy and consistency"},
        ),
        prototypes=report(
            "results/{workload}/evaluate/prototype_scores/prototypes.svg",
            caption="../../docs/report/prototype_scores.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "consistency of each prototype"},
        ),
        strips=report(
            "results/{workload}/evaluate/prototype_scores/strips.svg",
            caption="../../docs/report/prototype_scores.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "images of the best and the worst prototype"},
        ),
    log:
        "logs/{workload}/evaluate/plot_prototype_scores.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_prototype_scores.py"),
    script:
        "plot_prototype_scores.py"
