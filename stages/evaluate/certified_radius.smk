rule certified_radius:
    input:
        model=flow.model("evaluate", "certified_radius"),
        card=flow.card("evaluate", "certified_radius"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/certified_radius/seed{seed}/metrics.parquet",
        radius="results/{workload}/evaluate/certified_radius/seed{seed}/radius.parquet",
        explanations="results/{workload}/evaluate/certified_radius/seed{seed}/explanations.parquet",
        components="results/{workload}/evaluate/certified_radius/seed{seed}/components.parquet",
    log:
        "logs/{workload}/evaluate/certified_radius/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "certified_radius"),
        code=flow.closure("stages/evaluate/certified_radius.py"),
    script:
        "certified_radius.py"


rule plot_certified_radius:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "certified_radius"),
        explanations=flow.tables("evaluate", "explanations.parquet", "certified_radius"),
        components=flow.tables("evaluate", "components.parquet", "certified_radius"),
    output:
        certified=report(
            "results/{workload}/evaluate/certified_radius/certified.svg",
            caption="../../docs/report/certified_radius.rst",
            category="Robustness",
            labels={"workload": "{workload}", "figure": "certified accuracy"},
        ),
        components=report(
            "results/{workload}/evaluate/certified_radius/components.svg",
            caption="../../docs/report/certified_radius.rst",
            category="Robustness",
            labels={"workload": "{workload}", "figure": "components of each class"},
        ),
        evidence=report(
            "results/{workload}/evaluate/certified_radius/evidence.svg",
            caption="../../docs/report/certified_radius.rst",
            category="Robustness",
            labels={"workload": "{workload}", "figure": "evidence for one image"},
        ),
    log:
        "logs/{workload}/evaluate/plot_certified_radius.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_certified_radius.py"),
    script:
        "plot_certified_radius.py"
