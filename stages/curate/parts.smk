# Both make a raw table; this one for the workloads that are drawn.
ruleorder: render_parts > acquire


rule render_parts:
    output:
        raw="data/raw/{workload}.parquet",
    log:
        "logs/{workload}/curate/acquire.log",
    wildcard_constraints:
        workload=flow.rendered("parts"),
    params:
        settings=flow.source,
        code=flow.closure("stages/curate/parts.py"),
    script:
        "parts.py"
