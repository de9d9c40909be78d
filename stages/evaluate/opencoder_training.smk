rule opencoder_training:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
        tokenizer="results/{workload}/curate/all/seed0/tokenizer.json",
    output:
        metrics="results/{workload}/evaluate/opencoder_training/seed{seed}/metrics.parquet",
        synthetic="results/{workload}/evaluate/opencoder_training/seed{seed}/synthetic.parquet",
    log:
        "logs/{workload}/evaluate/opencoder_training/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "opencoder_training"),
        code=flow.closure("stages/evaluate/opencoder_training.py"),
    script:
        "opencoder_training.py"


rule plot_opencoder_training:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "opencoder_training"),
        synthetic=flow.tables("evaluate", "synthetic.parquet", "opencoder_training"),
    output:
        annealing=report(
            "results/{workload}/evaluate/opencoder_training/annealing.svg",
            caption="../../docs/report/opencoder_training.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: what the rate decays on"},
        ),
        tuning=report(
            "results/{workload}/evaluate/opencoder_training/tuning.svg",
            caption="../../docs/report/opencoder_training.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: tuning in stages"},
        ),
        verification=report(
            "results/{workload}/evaluate/opencoder_training/verification.svg",
            caption="../../docs/report/opencoder_training.rst",
            category="Curation",
            labels={"workload": "{workload}", "figure": "code recipe: what verification finds"},
        ),
    log:
        "logs/{workload}/evaluate/plot_opencoder_training.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_opencoder_training.py"),
    script:
        "plot_opencoder_training.py"
