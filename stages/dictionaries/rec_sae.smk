rule user_states:
    input:
        model=flow.harvested("model.safetensors"),
        card=flow.harvested("model.json"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        users="results/{workload}/curate/all/seed0/users.parquet",
    output:
        meta="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/meta.json",
        rows="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/rows.parquet",
        shard0="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00000.safetensors",
        shard1="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00001.safetensors",
        shard2="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00002.safetensors",
        shard3="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00003.safetensors",
        shard4="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00004.safetensors",
        shard5="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00005.safetensors",
        shard6="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00006.safetensors",
        shard7="results/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}/shard-00007.safetensors",
    log:
        "logs/{workload}/dictionaries/activations/{model}/seed{seed}/{hook}/{split}.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
        model="[A-Za-z0-9_.-]+",
        hook="[A-Za-z0-9_.]+(-to-[A-Za-z0-9_.]+)?",
        split="train|valid|test",
    params:
        settings=flow.harvest,
        code=flow.closure("stages/dictionaries/user_states.py"),
    script:
        "user_states.py"


rule rec_sae_dictionary:
    input:
        model=flow.model("dictionaries"),
        card=flow.card("dictionaries"),
        train="results/{workload}/curate/all/seed0/train.parquet",
        valid="results/{workload}/curate/all/seed0/valid.parquet",
        activations=flow.activations("dictionaries", "train"),
        held_out=flow.activations("dictionaries", "valid"),
    output:
        dictionary="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.safetensors",
        card="results/{workload}/dictionaries/{variant}/seed{seed}/dictionary.json",
        features="results/{workload}/dictionaries/{variant}/seed{seed}/features.parquet",
        history="results/{workload}/dictionaries/{variant}/seed{seed}/history.parquet",
        metrics="results/{workload}/dictionaries/{variant}/seed{seed}/metrics.parquet",
    log:
        "logs/{workload}/dictionaries/{variant}/seed{seed}.log",
    wildcard_constraints:
        workload=flow.workloads_of("interactions"),
    params:
        settings=flow.settings("dictionaries"),
        code=flow.closure("stages/dictionaries/rec_sae.py"),
    script:
        "rec_sae.py"
