rule block_attention:
    input:
        model=flow.model("evaluate", "block_attention"),
        card=flow.card("evaluate", "block_attention"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        held_out="results/{workload}/curate/all/seed0/held_out.parquet",
    output:
        metrics="results/{workload}/evaluate/block_attention/seed{seed}/metrics.parquet",
        mass="results/{workload}/evaluate/block_attention/seed{seed}/mass.parquet",
        trace="results/{workload}/evaluate/block_attention/seed{seed}/trace.parquet",
    log:
        "logs/{workload}/evaluate/block_attention/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "block_attention"),
        code=flow.closure("stages/evaluate/block_attention.py"),
    script:
        "block_attention.py"


rule plot_block_attention:
    input:
        metrics=flow.tables("evaluate", "metrics.parquet", "block_attention"),
        mass=flow.tables("evaluate", "mass.parquet", "block_attention"),
    output:
        quality=report(
            "results/{workload}/evaluate/block_attention/quality.svg",
            caption="../../docs/report/block_attention.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "drawn blocks: quality at equal cost"},
        ),
        mass=report(
            "results/{workload}/evaluate/block_attention/mass.svg",
            caption="../../docs/report/block_attention.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "drawn blocks: where attention lies"},
        ),
        folding=report(
            "results/{workload}/evaluate/block_attention/folding.svg",
            caption="../../docs/report/block_attention.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "drawn blocks: folded"},
        ),
        copying=report(
            "results/{workload}/evaluate/block_attention/copying.svg",
            caption="../../docs/report/block_attention.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "drawn blocks: after fine-tuning"},
        ),
    log:
        "logs/{workload}/evaluate/plot_block_attention.log",
    params:
        settings=flow.settings("evaluate", "block_attention"),
        code=flow.closure("stages/evaluate/plot_block_attention.py"),
    script:
        "plot_block_attention.py"
