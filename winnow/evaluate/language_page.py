"""What language models write, as one HTML page: each token tinted by how surprising it was to the model itself."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import pyarrow as pa

from winnow.errors import InputError
from winnow.evaluate.html_page import html_page

SURPRISING = 8.0
"""Bits of a token that has the full tint."""
STYLE = """\
h2 { border-top: 1px solid #d0d0d0; font-size: 1.05rem; padding-top: .8rem; }
h3 { font-size: .95rem; margin: 0 0 .3rem; } h3 small, p { color: #5f5f5f; font-weight: 400; }
.row { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); }
pre { background: #fafafa; border: 1px solid #e4e4e4; font: 13px/1.5 ui-monospace, monospace; margin: 0 0 .8rem;
  overflow-wrap: anywhere; padding: .5rem .7rem; white-space: pre-wrap; }
pre b { color: #0072b2; } .scale span { border-radius: .15rem; padding: 0 .4rem; }"""


def samples_page(samples: pa.Table, title: str) -> str:
    """The page: a section for each prompt, in it a column for each model. samples: a table of `SAMPLES`.

    Raises InputError for a table without rows.
    """
    rows = samples.to_pylist()
    if not rows:
        raise InputError("samples: the table has no rows; draw some texts")
    models = list(dict.fromkeys(row["model"] for row in rows))
    sections = []
    for prompt in dict.fromkeys(row["prompt"] for row in rows):
        heading = f"after <code>{escape(prompt.strip())}</code>" if prompt.strip() else "from nothing"
        mine = {model: [row for row in rows if (row["model"], row["prompt"]) == (model, prompt)] for model in models}
        columns = [_column(model, found) for model, found in mine.items() if found]
        sections.append(f'<h2>Texts {heading}</h2>\n<div class="row">\n' + "\n".join(columns) + "\n</div>")
    scale = " ".join(f'<span style="background:{_tint(bits)}">{bits:g}</span>' for bits in (0, 2, 4, SURPRISING))
    told = f"""<p class="scale">Blue is the prompt. A token is tinted by the bits that it cost the model:
{scale}. Bits are means of a text's tokens.</p>"""
    return html_page(title, STYLE, "\n".join([told, *sections]))


def _column(model: str, rows: list[dict[str, Any]]) -> str:
    return f"<section><h3>{escape(model)}</h3>\n" + "\n".join(map(_text, rows)) + "</section>"


def _text(row: dict[str, Any]) -> str:
    bits = [-logprob / math.log(2) for logprob in row["logprobs"]]
    told = [each for each in bits if math.isfinite(each)]
    mean = f"{sum(told) / len(told):.2f} bits, " if told else ""
    words = "".join(
        f'<span style="background:{_tint(cost)}">{escape(word)}</span>' if math.isfinite(cost) else escape(word)
        for word, cost in zip(row["tokens"], bits, strict=True)
    )
    ended = {"stop": "ended", "length": "cut off", "mask": "nothing allowed"}[row["finish"]]
    return f"<pre><b>{escape(row['prompt'])}</b>{words}</pre>\n<p>{mean}{ended}</p>"


def _tint(bits: float) -> str:
    return f"rgba(230,159,0,{min(1.0, max(0.0, bits / SURPRISING)):.2f})"
