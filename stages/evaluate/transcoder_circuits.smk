rule transcoder_circuits:
    input:
        model=flow.model("evaluate", "transcoder"),
        card=flow.card("evaluate", "transcoder"),
        dictionaries=flow.of_layers("transcoder", "dictionary.safetensors"),
        cards=flow.of_layers("transcoder", "dictionary.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        test="results/{workload}/curate/all/seed0/test.parquet",
    output:
        metrics="results/{workload}/evaluate/transcoder_circuits/seed{seed}/metrics.parquet",
        curves="results/{workload}/evaluate/transcoder_circuits/seed{seed}/curves.parquet",
        years="results/{workload}/evaluate/transcoder_circuits/seed{seed}/years.parquet",
        edges="results/{workload}/evaluate/transcoder_circuits/seed{seed}/edges.parquet",
        graphs="results/{workload}/evaluate/transcoder_circuits/seed{seed}/graphs.parquet",
        contributions="results/{workload}/evaluate/transcoder_circuits/seed{seed}/contributions.parquet",
        features="results/{workload}/evaluate/transcoder_circuits/seed{seed}/features.parquet",
    log:
        "logs/{workload}/evaluate/transcoder_circuits/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "transcoder_circuits"),
        code=flow.closure("stages/evaluate/transcoder_circuits.py"),
    script:
        "transcoder_circuits.py"


rule plot_transcoder_circuits:
    input:
        curves=flow.tables("evaluate", "curves.parquet", "transcoder_circuits"),
        years=flow.tables("evaluate", "years.parquet", "transcoder_circuits"),
        edges=flow.tables("evaluate", "edges.parquet", "transcoder_circuits"),
    output:
        circuit=report(
            "results/{workload}/evaluate/transcoder_circuits/circuit.svg",
            caption="../../docs/report/transcoder_circuits.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "transcoders: a circuit"},
        ),
        years=report(
            "results/{workload}/evaluate/transcoder_circuits/years.svg",
            caption="../../docs/report/transcoder_circuits.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "transcoders: years that latents read"},
        ),
        curves=report(
            "results/{workload}/evaluate/transcoder_circuits/curves.svg",
            caption="../../docs/report/transcoder_circuits.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "transcoders: how many latents are enough"},
        ),
    log:
        "logs/{workload}/evaluate/plot_transcoder_circuits.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_transcoder_circuits.py"),
    script:
        "plot_transcoder_circuits.py"
