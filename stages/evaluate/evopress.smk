rule evopress_database:
    input:
        model=flow.model("evaluate", "evopress", seed=0),
        card=flow.card("evaluate", "evopress", seed=0),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        sparsity="results/{workload}/evaluate/evopress/database/sparsity.safetensors",
        bits="results/{workload}/evaluate/evopress/database/bits.safetensors",
        audit="results/{workload}/evaluate/evopress/database/audit.parquet",
        violations="results/{workload}/evaluate/evopress/database/violations.parquet",
    log:
        "logs/{workload}/evaluate/evopress_database.log",
    params:
        settings=flow.settings("evaluate", "evopress"),
        code=flow.closure("stages/evaluate/evopress_database.py"),
    script:
        "evopress_database.py"


rule evopress:
    input:
        model=flow.model("evaluate", "evopress", seed=0),
        card=flow.card("evaluate", "evopress", seed=0),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        sparsity="results/{workload}/evaluate/evopress/database/sparsity.safetensors",
        bits="results/{workload}/evaluate/evopress/database/bits.safetensors",
        audit="results/{workload}/evaluate/evopress/database/audit.parquet",
        violations="results/{workload}/evaluate/evopress/database/violations.parquet",
    output:
        metrics="results/{workload}/evaluate/evopress/seed{seed}/metrics.parquet",
        history="results/{workload}/evaluate/evopress/seed{seed}/history.parquet",
        levels="results/{workload}/evaluate/evopress/seed{seed}/levels.json",
    log:
        "logs/{workload}/evaluate/evopress/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "evopress"),
        code=flow.closure("stages/evaluate/evopress.py"),
    script:
        "evopress.py"


rule evopress_models:
    input:
        model=flow.model("evaluate", "evopress", seed=0),
        card=flow.card("evaluate", "evopress", seed=0),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
        sparsity="results/{workload}/evaluate/evopress/database/sparsity.safetensors",
        bits="results/{workload}/evaluate/evopress/database/bits.safetensors",
        levels=lambda wildcards: flow.tables("evaluate", "levels.json", "evopress")(wildcards)[0],
    output:
        depth="results/{workload}/evaluate/evopress/models/depth.safetensors",
        depth_card="results/{workload}/evaluate/evopress/models/depth.json",
        sparsity="results/{workload}/evaluate/evopress/models/sparsity.safetensors",
        sparsity_card="results/{workload}/evaluate/evopress/models/sparsity.json",
        bits="results/{workload}/evaluate/evopress/models/bits.safetensors",
        bits_card="results/{workload}/evaluate/evopress/models/bits.json",
        metrics="results/{workload}/evaluate/evopress/models/metrics.parquet",
        timings="results/{workload}/evaluate/evopress/models/timings.parquet",
    log:
        "logs/{workload}/evaluate/evopress_models.log",
    params:
        settings=flow.settings("evaluate", "evopress"),
        code=flow.closure("stages/evaluate/evopress_models.py"),
    script:
        "evopress_models.py"


rule plot_evopress:
    input:
        audit="results/{workload}/evaluate/evopress/database/audit.parquet",
        violations="results/{workload}/evaluate/evopress/database/violations.parquet",
        history=flow.tables("evaluate", "history.parquet", "evopress"),
        levels=flow.tables("evaluate", "levels.json", "evopress"),
        metrics=flow.tables("evaluate", "metrics.parquet", "evopress"),
        models="results/{workload}/evaluate/evopress/models/metrics.parquet",
    output:
        additivity=report(
            "results/{workload}/evaluate/evopress/additivity.svg",
            caption="../../docs/report/evopress.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "EvoPress: do errors add up?"},
        ),
        search=report(
            "results/{workload}/evaluate/evopress/search.svg",
            caption="../../docs/report/evopress.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "EvoPress: searches of equal cost"},
        ),
        arms=report(
            "results/{workload}/evaluate/evopress/arms.svg",
            caption="../../docs/report/evopress.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "EvoPress: choices beside it"},
        ),
        kept=report(
            "results/{workload}/evaluate/evopress/kept.svg",
            caption="../../docs/report/evopress.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "EvoPress: which layers stay"},
        ),
        realised=report(
            "results/{workload}/evaluate/evopress/realised.svg",
            caption="../../docs/report/evopress.rst",
            category="Compression",
            labels={"workload": "{workload}", "figure": "EvoPress: models on disk"},
        ),
    log:
        "logs/{workload}/evaluate/plot_evopress.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_evopress.py"),
    script:
        "plot_evopress.py"
