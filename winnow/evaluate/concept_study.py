"""A study of people for factor 3: a page of tasks to hand out, and the analysis of what comes back.

Ramaswamy, Kim, Fong and Russakovsky, CVPR 2023, section 6: 125 people find concepts in pictures and foresee the model
from explanations of 8, 16, 32 or all concepts. The page stands alone: no server, no network; answers are saved as JSON.
Answers of one person hang together: means are compared with errors clustered by person (Liang and Zeger, "Longitudinal
Data Analysis Using Generalized Linear Models", Biometrika, 1986, independent working correlation).
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from winnow.errors import InputError
from winnow.randomness import numpy_generator

CONSENT = (
    "You are asked to look at pictures and at lists of what can be seen in them. This takes about fifteen minutes. "
    "Taking part is voluntary; you can stop at any time by closing the page. Nothing is sent anywhere: at the end you "
    "save your answers as a file, which holds them, the time each took, and no name or address. By going on you say "
    "that you are 18 or older and agree that the answers are used for research."
)


class Task(NamedTuple):
    """One picture: PNG bytes, the concepts it shows, and the model's class."""

    image: str
    png: bytes
    present: frozenset[str]
    predicted: str


class Effect(NamedTuple):
    """Change of an answer for each doubling of the number of concepts: slope, its clustered error, two-sided p."""

    slope: float
    error: float
    p_value: float


def ranked_concepts(coefficients: Mapping[str, Mapping[str, float]], size: int | None) -> list[str]:
    """Concepts of class -> concept -> coefficient by mean absolute coefficient, the first `size` or all."""
    names = list(next(iter(coefficients.values())))
    weight = {name: np.mean([abs(row[name]) for row in coefficients.values()]) for name in names}
    return sorted(names, key=lambda name: (-weight[name], names.index(name)))[:size]


def study_plan(tasks: Sequence[Task], concepts: int, sizes: Sequence[int], people: int, seed: int) -> list[dict]:
    """Who sees what: for each person one arm, in equal shares, and an order of pictures drawn anew.

    sizes: numbers of concepts shown; those not below `concepts` become one arm of all. Raises InputError without a task
    or a person.
    """
    if not tasks or people < 1:
        raise InputError(f"{len(tasks)} pictures for {people} people; a study needs one of each")
    arms = [*sorted({size for size in sizes if size < concepts}), concepts]
    generator = numpy_generator(seed, "study")
    order = generator.permutation([arms[i % len(arms)] for i in range(people)])
    return [
        {"person": i, "size": int(size), "order": generator.permutation(len(tasks)).tolist()}
        for i, size in enumerate(order)
    ]


def study_page(
    tasks: Sequence[Task],
    coefficients: Mapping[str, Mapping[str, float]],
    *,
    sizes: Sequence[int] = (8, 16, 32),
    people: int = 125,
    seed: int = 0,
) -> str:
    """The page as HTML. `#person=7` after its address chooses the seventh plan; without it, the first.

    Each picture: tick the concepts seen, then choose the class whose score, the sum of the ticked concepts'
    coefficients, is the largest; last, how many concepts one would rather have.
    """
    concepts = ranked_concepts(coefficients, None)
    plan = study_plan(tasks, len(concepts), sizes, people, seed)
    pictures = [
        {
            "image": task.image,
            "png": base64.b64encode(task.png).decode(),
            "present": sorted(task.present & set(concepts)),
            "predicted": task.predicted,
        }
        for task in tasks
    ]
    content = {
        "concepts": concepts,
        "coefficients": coefficients,
        "plan": plan,
        "tasks": pictures,
        "sizes": list(sizes),
    }
    # A closing tag inside the data would end the script.
    embedded = json.dumps(content, sort_keys=True).replace("</", "<\\/")
    return _PAGE.replace("%CONSENT%", html.escape(CONSENT)).replace("%CONTENT%", embedded)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>What can be seen, and what follows from it</title>
<style>
body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
img{width:256px;image-rendering:pixelated;float:left;margin:0 1.5rem 1rem 0}
label{display:inline-block;width:12rem}table{border-collapse:collapse;clear:both}
td,th{padding:.1rem .8rem;text-align:right}button{font:inherit;padding:.4rem 1rem;margin:.3rem}
</style><main id="page"></main>
<script type="application/json" id="content">%CONTENT%</script>
<template id="consent"><h1>Before you start</h1><p>%CONSENT%</p></template>
<script>
const study=JSON.parse(document.getElementById("content").textContent), page=document.getElementById("page");
const person=Number(new URLSearchParams(location.hash.slice(1)).get("person")||0);
const plan=study.plan[person%study.plan.length], shown=study.concepts.slice(0,plan.size), answers=[];
let at=0, started=0;
function add(parent,name,text){const e=document.createElement(name);
 if(text!==undefined)e.textContent=text;parent.append(e);return e}
function button(parent,text,act){const b=add(parent,"button",text);b.onclick=act;return b}
function consent(){page.replaceChildren(document.getElementById("consent").content.cloneNode(true));
 button(page,"I agree",()=>next())}
function scores(ticked){return Object.entries(study.coefficients).map(([name,row])=>
 [name,ticked.reduce((sum,c)=>sum+row[c],0)])}
function next(){if(at===plan.order.length)return last();
 const task=study.tasks[plan.order[at]], boxes=[];started=performance.now();page.replaceChildren();
 add(page,"h1","Picture "+(at+1)+" of "+plan.order.length);
 add(page,"img").src="data:image/png;base64,"+task.png;
 add(page,"p","Tick all that you see.");
 for(const c of shown){const l=add(page,"label"),b=document.createElement("input");b.type="checkbox";b.value=c;
  l.append(b," "+c);boxes.push(b)}
 add(page,"p");
 button(page,"Done",()=>{const ticked=boxes.filter(b=>b.checked).map(b=>b.value);
  choose(task,ticked,performance.now()-started)})}
function choose(task,ticked,time){page.replaceChildren();
 add(page,"h1","Which class will the model name?");
 add(page,"p","A class gains the numbers of the concepts that you ticked. The model names one class.");
 const table=add(page,"table");for(const [name,score] of scores(ticked)){const r=add(table,"tr");add(r,"th",name);
  add(r,"td",score.toFixed(2));button(add(r,"td"),"this one",()=>{
   answers.push({image:task.image,size:plan.size,ticked,missed:shown.filter(c=>task.present.includes(c)&&!ticked.includes(c)),
    wrong:ticked.filter(c=>!task.present.includes(c)),chosen:name,predicted:task.predicted,milliseconds:Math.round(time)});
   at+=1;next()})}}
function last(){page.replaceChildren();add(page,"h1","How many concepts would you rather have?");
 for(const size of [...study.sizes,"all"])button(page,String(size),()=>{
  const file=new Blob([JSON.stringify({person,preferred:size,answers},null,1)],{type:"application/json"});
  page.replaceChildren();add(page,"h1","Thank you");const a=add(page,"a","Save your answers");
  a.href=URL.createObjectURL(file);a.download="answers-"+person+".json"})}
consent();
</script></html>
"""


def clustered_slope(x: np.ndarray, y: np.ndarray, person: np.ndarray) -> Effect:
    """Slope of y on x by least squares, with an error robust to any dependence of a person's answers.

    The sandwich with independent working correlation; its factor for few people is n / (n - 1), and p is Student's at
    as many degrees of freedom. x, y: float[n]. person: [n]. Raises InputError for fewer than 3 people or a constant x.
    """
    ids = np.unique(person)
    if len(ids) < 3 or np.ptp(x) == 0:
        raise InputError(f"{len(ids)} people and {len(np.unique(x))} sizes; a slope needs 3 and 2")
    design = np.stack([np.ones_like(x), x], axis=1).astype(float)
    bread = np.linalg.inv(design.T @ design)
    residual = y - design @ (bread @ design.T @ y)
    scores = np.stack([design[person == i].T @ residual[person == i] for i in ids])
    covariance = bread @ (scores.T @ scores) @ bread * len(ids) / (len(ids) - 1)
    slope, error = float((bread @ design.T @ y)[1]), float(np.sqrt(covariance[1, 1]))
    p = 2 * stats.t.sf(abs(slope) / error, len(ids) - 1) if error else float(slope == 0)
    return Effect(slope, error, float(p))


def analyse_study(responses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the answers say: recall, precision, foresight and time by number of concepts, and what people prefer.

    responses: the saved files, as read. Returns means by size, an Effect by doubling for each measure, shares of
    preferences, and the number of people. Raises InputError for a response that is no such file.
    """
    rows = []
    for response in responses:
        try:
            for answer in response["answers"]:
                seen = len(answer["ticked"]) - len(answer["wrong"])
                there, ticked = seen + len(answer["missed"]), len(answer["ticked"])
                row = {"person": response["person"], "size": int(answer["size"])}
                row["recall"] = seen / there if there else np.nan
                row["precision"] = seen / ticked if ticked else np.nan
                row["foresight"] = float(answer["chosen"] == answer["predicted"])
                row["seconds"] = answer["milliseconds"] / 1000
                rows.append(row)
        except (KeyError, TypeError) as error:
            raise InputError(f"a response lacks {error}; give the files as the page saved them") from error
    sizes = np.array([row["size"] for row in rows], float)
    person = np.array([row["person"] for row in rows])
    report: dict[str, Any] = {"people": len({r["person"] for r in responses}), "means": {}, "effects": {}}
    for measure in ("recall", "precision", "foresight", "seconds"):
        y = np.array([row[measure] for row in rows])
        known = np.isfinite(y)
        report["means"][measure] = {
            int(size): float(y[known & (sizes == size)].mean()) for size in np.unique(sizes[known])
        }
        report["effects"][measure] = clustered_slope(np.log2(sizes[known]), y[known], person[known])
    wanted = [str(response["preferred"]) for response in responses]
    report["preferred"] = {name: wanted.count(name) / len(wanted) for name in sorted(set(wanted))}
    return report


def power_table(people: int = 125, arms: int = 4, level: float = 0.05) -> list[dict[str, float]]:
    """Power to find a difference between two arms, in standard deviations over people: normal approximation, two-sided.

    Each row: difference, people in an arm, power.
    """
    each = people // arms
    critical = stats.norm.isf(level / 2)
    rows = []
    for difference in (0.2, 0.4, 0.6, 0.8, 1.0):
        shift = difference * np.sqrt(each / 2)
        power = stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift)
        rows.append({"difference": difference, "people": float(each), "power": float(power)})
    return rows
