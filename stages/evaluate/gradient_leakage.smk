rule gradient_leakage:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/gradient_leakage/seed{seed}/metrics.parquet",
        leakage="results/{workload}/evaluate/gradient_leakage/seed{seed}/leakage.parquet",
        toy="results/{workload}/evaluate/gradient_leakage/seed{seed}/toy.parquet",
        maps="results/{workload}/evaluate/gradient_leakage/seed{seed}/maps.safetensors",
    log:
        "logs/{workload}/evaluate/gradient_leakage/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "gradient_leakage"),
        code=flow.closure("stages/evaluate/gradient_leakage.py"),
    script:
        "gradient_leakage.py"


rule plot_gradient_leakage:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "gradient_leakage"),
        toy=flow.tables("evaluate", "toy.parquet", "gradient_leakage"),
        maps=flow.tables("evaluate", "maps.safetensors", "gradient_leakage"),
    output:
        leakage=report(
            "results/{workload}/evaluate/gradient_leakage/leakage.svg",
            caption="../../docs/report/gradient_leakage.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "gradients inside the signal block"},
        ),
        maps=report(
            "results/{workload}/evaluate/gradient_leakage/maps.svg",
            caption="../../docs/report/gradient_leakage.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "images and their gradients"},
        ),
        toy=report(
            "results/{workload}/evaluate/gradient_leakage/toy.svg",
            caption="../../docs/report/gradient_leakage.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "gradients of the theory's toy"},
        ),
    log:
        "logs/{workload}/evaluate/plot_gradient_leakage.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_gradient_leakage.py"),
    script:
        "plot_gradient_leakage.py"
