rule rope_alibi:
    input:
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/rope_alibi/seed{seed}/metrics.parquet",
        history="results/{workload}/evaluate/rope_alibi/seed{seed}/history.parquet",
        inside="results/{workload}/evaluate/rope_alibi/seed{seed}/inside.parquet",
        windows="results/{workload}/evaluate/rope_alibi/seed{seed}/windows.parquet",
        models="results/{workload}/evaluate/rope_alibi/seed{seed}/models.safetensors",
    log:
        "logs/{workload}/evaluate/rope_alibi/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "rope_alibi"),
        code=flow.closure("stages/evaluate/rope_alibi.py"),
    script:
        "rope_alibi.py"


rule plot_rope_alibi:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "rope_alibi"),
        inside=flow.tables("evaluate", "inside.parquet", "rope_alibi"),
    output:
        lengths=report(
            "results/{workload}/evaluate/rope_alibi/lengths.svg",
            caption="../../docs/report/rope_alibi.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "positions: beyond the trained length",
            },
        ),
        profile=report(
            "results/{workload}/evaluate/rope_alibi/profile.svg",
            caption="../../docs/report/rope_alibi.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "positions: within a long window",
            },
        ),
        biases=report(
            "results/{workload}/evaluate/rope_alibi/biases.svg",
            caption="../../docs/report/rope_alibi.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "positions: what is added to scores",
            },
        ),
        strengths=report(
            "results/{workload}/evaluate/rope_alibi/strengths.svg",
            caption="../../docs/report/rope_alibi.rst",
            category="Models",
            labels={
                "workload": "{workload}",
                "figure": "positions: strengths of slopes",
            },
        ),
    log:
        "logs/{workload}/evaluate/plot_rope_alibi.log",
    params:
        settings=flow.settings("evaluate", "rope_alibi"),
        code=flow.closure("stages/evaluate/plot_rope_alibi.py"),
    script:
        "plot_rope_alibi.py"
