# Winnow: raw data -> curate -> train -> compress -> dictionaries -> evaluate -> claims.

import sys
from pathlib import Path

# This checkout's code runs, here and in every job, whichever checkout the environment was installed from.
sys.path.insert(0, workflow.basedir)

from winnow.errors import InputError
from winnow.pipeline import provenance, warm
from winnow.pipeline.workflow import Workflow, prepare_jobs

prepare_jobs(workflow.basedir)

try:
    # Snakemake knows what is asked for only after it has read this file.
    flow = Workflow(
        Path(workflow.basedir),
        config,
        requested=lambda: (workflow.dag_settings.targets if workflow.is_main_process else None),
    )
except InputError as error:
    sys.exit(str(error))

if workflow.is_main_process:
    for stale in provenance.reconcile(after_run=False):
        print(
            f"{stale}: its bytes are not what any recorded job made; it will be made again if needed",
            file=sys.stderr,
        )


container: "docker://docker.io/library/python:3.11-slim"


report: "docs/report/overview.rst"


wildcard_constraints:
    workload="[A-Za-z0-9_]+",
    variant="[A-Za-z0-9_.-]+",
    seed="[0-9]+",


rule all:
    default_target: True
    input:
        flow.targets(default=True),


rule everything:
    input:
        flow.targets(),


for target, files in flow.named_targets().items():

    rule:
        name:
            target
        input:
            files,


for file in flow.rule_files():

    include: file


onstart:
    # Under Snakemake's limit of jobs a second each job that ends wakes the scheduler every second from then on: after
    # hundreds it does nothing else.
    workflow.scheduler.job_rate_limiter = None
    warm.start(len(list(workflow.dag.needrun_jobs())))


onsuccess:
    warm.stop()
    provenance.reconcile(after_run=True)


onerror:
    warm.stop()
    provenance.reconcile(after_run=True)
