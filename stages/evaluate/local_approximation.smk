rule local_approximation:
    input:
        models=flow.models("evaluate", "local_approximation", "model.safetensors"),
        cards=flow.models("evaluate", "local_approximation", "model.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/local_approximation/seed{seed}/metrics.parquet",
        attributions="results/{workload}/evaluate/local_approximation/seed{seed}/attributions.parquet",
        distances="results/{workload}/evaluate/local_approximation/seed{seed}/distances.parquet",
        recovery="results/{workload}/evaluate/local_approximation/seed{seed}/recovery.parquet",
        limits="results/{workload}/evaluate/local_approximation/seed{seed}/limits.parquet",
        losses="results/{workload}/evaluate/local_approximation/seed{seed}/losses.parquet",
        perturbation="results/{workload}/evaluate/local_approximation/seed{seed}/perturbation.parquet",
    log:
        "logs/{workload}/evaluate/local_approximation/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "local_approximation"),
        code=flow.closure("stages/evaluate/local_approximation.py"),
    script:
        "local_approximation.py"


rule plot_local_approximation:
    input:
        distances=flow.tables("evaluate", "distances.parquet", "local_approximation"),
        limits=flow.tables("evaluate", "limits.parquet", "local_approximation"),
        losses=flow.tables("evaluate", "losses.parquet", "local_approximation"),
        perturbation=flow.tables("evaluate", "perturbation.parquet", "local_approximation"),
    output:
        agreement=report(
            "results/{workload}/evaluate/local_approximation/agreement.svg",
            caption="../../docs/report/local_approximation.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "framework against methods"},
        ),
        losses=report(
            "results/{workload}/evaluate/local_approximation/losses.svg",
            caption="../../docs/report/local_approximation.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "loss in each neighbourhood"},
        ),
        limits=report(
            "results/{workload}/evaluate/local_approximation/limits.svg",
            caption="../../docs/report/local_approximation.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "way to the limits"},
        ),
        perturbation=report(
            "results/{workload}/evaluate/local_approximation/perturbation.svg",
            caption="../../docs/report/local_approximation.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "perturbation tests"},
        ),
    log:
        "logs/{workload}/evaluate/plot_local_approximation.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_local_approximation.py"),
    script:
        "plot_local_approximation.py"
