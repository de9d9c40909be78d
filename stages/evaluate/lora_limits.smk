rule lora_limits:
    input:
        model=flow.model("evaluate", "lora_limits"),
        card=flow.card("evaluate", "lora_limits"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
    output:
        metrics="results/{workload}/evaluate/lora_limits/seed{seed}/metrics.parquet",
        gradients="results/{workload}/evaluate/lora_limits/seed{seed}/gradients.parquet",
        norms="results/{workload}/evaluate/lora_limits/seed{seed}/norms.parquet",
        phases="results/{workload}/evaluate/lora_limits/seed{seed}/phases.parquet",
        timings="results/{workload}/evaluate/lora_limits/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/lora_limits/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "lora_limits"),
        code=flow.closure("stages/evaluate/lora_limits.py"),
    script:
        "lora_limits.py"


rule plot_lora_limits:
    input:
        gradients=flow.tables("evaluate", "gradients.parquet", "lora_limits"),
        norms=flow.tables("evaluate", "norms.parquet", "lora_limits"),
        phases=flow.tables("evaluate", "phases.parquet", "lora_limits"),
        metrics=flow.tables("evaluate", "metrics.parquet", "lora_limits"),
        timings=flow.tables("evaluate", "timings.parquet", "lora_limits"),
    output:
        errors=report(
            "results/{workload}/evaluate/lora_limits/errors.svg",
            caption="../../docs/report/lora_limits.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "adapters: error of fast gradients",
            },
        ),
        growth=report(
            "results/{workload}/evaluate/lora_limits/growth.svg",
            caption="../../docs/report/lora_limits.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "adapters: entries of real heads",
            },
        ),
        heads=report(
            "results/{workload}/evaluate/lora_limits/heads.svg",
            caption="../../docs/report/lora_limits.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "adapters: entries of each head"},
        ),
        phases=report(
            "results/{workload}/evaluate/lora_limits/phases.svg",
            caption="../../docs/report/lora_limits.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "adapters: rank by entries and length"},
        ),
        work=report(
            "results/{workload}/evaluate/lora_limits/work.svg",
            caption="../../docs/report/lora_limits.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "adapters: work by length"},
        ),
        speed=report(
            "results/{workload}/evaluate/lora_limits/speed.svg",
            caption="../../docs/report/lora_limits.rst",
            category="Models",
            labels={"workload": "{workload}", "figure": "adapters: time by length"},
        ),
    log:
        "logs/{workload}/evaluate/plot_lora_limits.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_lora_limits.py"),
    script:
        "plot_lora_limits.py"
