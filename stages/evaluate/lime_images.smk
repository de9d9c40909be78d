rule lime_images:
    input:
        model=flow.model("evaluate", "lime_images"),
        card=flow.card("evaluate", "lime_images"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/lime_images/seed{seed}/metrics.parquet",
        localisation="results/{workload}/evaluate/lime_images/seed{seed}/localisation.parquet",
        explanations="results/{workload}/evaluate/lime_images/seed{seed}/explanations.parquet",
        picks="results/{workload}/evaluate/lime_images/seed{seed}/picks.json",
    log:
        "logs/{workload}/evaluate/lime_images/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "lime_images"),
        code=flow.closure("stages/evaluate/lime_images.py"),
    script:
        "lime_images.py"


rule plot_lime_images:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "lime_images"),
    output:
        localisation=report(
            "results/{workload}/evaluate/lime_images/localisation.svg",
            caption="../../docs/report/lime_images.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "LIME against what is there"},
        ),
        coverage=report(
            "results/{workload}/evaluate/lime_images/coverage.svg",
            caption="../../docs/report/lime_images.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "coverage of the submodular pick"},
        ),
    log:
        "logs/{workload}/evaluate/plot_lime_images.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_lime_images.py"),
    script:
        "plot_lime_images.py"
