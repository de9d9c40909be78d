rule contextual_decomposition:
    input:
        model=flow.model("evaluate", "contextual_decomposition"),
        card=flow.card("evaluate", "contextual_decomposition"),
    output:
        metrics="results/{workload}/evaluate/contextual_decomposition/seed{seed}/metrics.parquet",
        nodes="results/{workload}/evaluate/contextual_decomposition/seed{seed}/nodes.parquet",
        faithfulness="results/{workload}/evaluate/contextual_decomposition/seed{seed}/faithfulness.parquet",
        circuit="results/{workload}/evaluate/contextual_decomposition/seed{seed}/circuit.parquet",
        timings="results/{workload}/evaluate/contextual_decomposition/seed{seed}/timings.parquet",
    log:
        "logs/{workload}/evaluate/contextual_decomposition/seed{seed}.log",
    params:
        settings=flow.settings("evaluate", "contextual_decomposition"),
        code=flow.closure("stages/evaluate/contextual_decomposition.py"),
    script:
        "contextual_decomposition.py"


rule plot_contextual_decomposition:
    input:
        nodes=flow.tables("evaluate", "nodes.parquet", "contextual_decomposition"),
        faithfulness=flow.tables("evaluate", "faithfulness.parquet", "contextual_decomposition"),
        circuit=flow.tables("evaluate", "circuit.parquet", "contextual_decomposition"),
    output:
        faithfulness=report(
            "results/{workload}/evaluate/contextual_decomposition/faithfulness.svg",
            caption="../../docs/report/contextual_decomposition.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "circuits: faithfulness"},
        ),
        map=report(
            "results/{workload}/evaluate/contextual_decomposition/map.svg",
            caption="../../docs/report/contextual_decomposition.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "circuits: heads and positions"},
        ),
        effects=report(
            "results/{workload}/evaluate/contextual_decomposition/effects.svg",
            caption="../../docs/report/contextual_decomposition.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "circuits: scores and effects"},
        ),
        circuit=report(
            "results/{workload}/evaluate/contextual_decomposition/circuit.svg",
            caption="../../docs/report/contextual_decomposition.rst",
            category="Explanations",
            labels={"workload": "{workload}", "figure": "circuits: who reads whom"},
        ),
    log:
        "logs/{workload}/evaluate/plot_contextual_decomposition.log",
    params:
        settings={},
        code=flow.closure("stages/evaluate/plot_contextual_decomposition.py"),
    script:
        "plot_contextual_decomposition.py"
