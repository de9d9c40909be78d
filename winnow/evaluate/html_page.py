"""The frame of pages that stand in the report by themselves: one HTML file that asks for nothing else."""

from __future__ import annotations

from html import escape

STYLE = """\
:root { color-scheme: light; }
body { color: #1a1a1a; font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem 1.4rem; }
h1 { font-size: 1.2rem; }"""


def html_page(title: str, style: str, body: str) -> str:
    """A whole page. title: plain text, also its heading. style: CSS over that of all pages. body: HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE}
{style}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""
