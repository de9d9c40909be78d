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
        overlays="results/{workload}/evaluate/lime_images/seed{seed}/overlays.safetensors",
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
        localisation=flow.tables("evaluate", "localisation.parquet", "lime_images"),
        explanations=flow.tables("evaluate", "explanations.parquet", "lime_images"),
        overlays=flow.tables("evaluate", "overlays.safetensors", "lime_images"),
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
        overlays=report(
            "results/{workload}/evaluate/lime_images/overlays.svg",
            caption="../../docs/report/lime_images.rst",
            category="Gallery",
            labels={"workload": "{workload}", "figure": "LIME on an image of each class, beside what is there"},
        ),
    log:
        "logs/{workload}/evaluate/plot_lime_images.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_lime_images.py"),
    script:
        "plot_lime_images.py"
