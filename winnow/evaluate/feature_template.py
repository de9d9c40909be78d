"""The page of features, the same whatever the dictionary; `{{title}}` and `{{data}}` are filled in."""

TEMPLATE = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<style>
:root { color-scheme: light; --line: #d0d0d0; --soft: #5f5f5f; --ink: #1a1a1a; --up: #0072b2; --down: #b04a00; }
* { box-sizing: border-box; }
body { color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 0; }
header { border-bottom: 1px solid var(--line); padding: .7rem 1.2rem; }
h1 { font-size: 1.15rem; margin: 0 0 .4rem; }
h2 { font-size: 1.05rem; margin: 0; } h3 { font-size: .95rem; margin: 1rem 0 .35rem; }
main { display: grid; grid-template-columns: 15rem 1fr; min-height: 85vh; }
nav { border-right: 1px solid var(--line); max-height: 88vh; overflow-y: auto; padding: .5rem; }
nav button { background: none; border: 0; border-radius: .3rem; cursor: pointer; display: flex; font: inherit;
  justify-content: space-between; padding: .15rem .5rem; text-align: left; width: 100%; }
nav button[aria-current] { background: #0072b2; color: #fff; } nav button[aria-current] span { color: #fff; }
nav span, .soft { color: var(--soft); font-variant-numeric: tabular-nums; }
section { max-width: 75rem; padding: .8rem 1.4rem 2rem; }
label { margin-right: 1rem; } select, input, .turn { font: inherit; padding: .15rem .4rem; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .5rem 0; }
.grid { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .85rem; text-align: center; }
.picture { height: 104px; position: relative; width: 104px; }
.picture img { height: 100%; image-rendering: pixelated; width: 100%; }
.picture canvas { height: 100%; image-rendering: pixelated; left: 0; mix-blend-mode: normal; position: absolute; top: 0;
  width: 100%; }
.line { border-bottom: 1px solid #eee; font: 14px/1.7 ui-monospace, monospace; padding: .25rem 0;
  white-space: pre-wrap; }
.line i { border-radius: .15rem; font-style: normal; }
.line b { border-bottom: 2px solid var(--down); font-weight: 600; }
.line small { color: var(--soft); float: right; font-family: system-ui; margin-left: 1rem; }
.bars { display: grid; gap: .15rem .6rem; grid-template-columns: max-content 12rem max-content; max-width: 40rem; }
.bars div { align-self: center; height: .8rem; } .neighbours button { margin: 0 .4rem .3rem 0; }
</style>
</head>
<body>
<header>
<h1>{{title}}</h1>
<label>Sort by <select id="order"><option value="feature">number</option><option value="density">share of rows</option>
<option value="largest">largest activation</option><option value="effect">largest effect</option></select></label>
<label>Search tokens and outputs <input id="search" type="search" size="14"></label>
<button class="turn" id="previous">← previous</button> <button class="turn" id="next">next →</button>
<span class="soft" id="count" role="status"></span>
</header>
<main><nav id="list" aria-label="Features"></nav><section id="card" aria-live="polite"></section></main>
<script type="application/json" id="data">{{data}}</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const of = id => document.getElementById(id);
const make = (tag, text, parent, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  if (parent) parent.append(node);
  return node;
};
const percent = share => (100 * share).toPrecision(2) + " %";
const effect = f => Math.max(0, ...f.raised_by, ...f.lowered_by.map(v => -v));
const tokens = f => f.seen.flatMap(s => s.tokens ? [s.tokens[s.at]] : []);
const told = f => [...f.raised, ...f.lowered, ...tokens(f)].join("\n").toLowerCase();
let shown = [], current = 0;

function list() {
  const key = of("order").value, words = of("search").value.toLowerCase();
  const value = f => key === "effect" ? effect(f) : f[key];
  shown = data.features.filter(f => f.seen.length && (!words || told(f).includes(words)));
  shown.sort((a, b) => key === "feature" ? a.feature - b.feature : value(b) - value(a) || a.feature - b.feature);
  of("list").replaceChildren();
  for (const f of shown) {
    const button = make("button", `feature ${f.feature}`, of("list"));
    const number = key === "largest" || key === "effect" ? value(f).toPrecision(3) : percent(f.density);
    make("span", number, button);
    button.dataset.feature = f.feature;
    button.onclick = () => go(f.feature);
  }
  const dead = data.features.filter(f => !f.seen.length).length;
  of("count").textContent = `${shown.length} of ${data.features.length} features; ${dead} never fire here`;
}

function tint(share) { return `rgba(230, 159, 0, ${Math.max(0, Math.min(1, share)).toFixed(2)})`; }

function picture(seen, strongest, parent) {
  const figure = make("figure", undefined, parent), box = make("div", undefined, figure, "picture");
  const image = make("img", undefined, box);
  image.src = data.pictures[seen.example];
  image.alt = `example ${seen.example}`;
  const side = Math.sqrt(seen.map.length);
  if (side > 1) {
    const canvas = make("canvas", undefined, box);
    canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    seen.map.forEach((v, i) => {
      pen.fillStyle = tint(.75 * v / strongest);
      pen.fillRect(i % side, Math.floor(i / side), 1, 1);
    });
  }
  make("figcaption", `${seen.activation} · no. ${seen.example}`, figure);
}

function line(seen, strongest, parent) {
  const row = make("div", undefined, parent, "line");
  make("small", `${seen.activation} · no. ${seen.example}`, row);
  seen.tokens.forEach((token, i) => {
    const piece = make(i === seen.at ? "b" : "i", token, row);
    if (seen.strength[i]) {
      piece.style.background = tint(seen.strength[i] / strongest);
      piece.title = seen.strength[i];
    }
    if (i + 1 < seen.tokens.length) row.append(between);
  });
}
const every = test => data.features.every(f => f.seen.every(s => s.tokens && s.tokens.every(test)));
// Parts of words bring their own spaces; words and titles have none around them.
const between = every(t => !/\s/.test(t)) ? " " : every(t => t === t.trim()) ? " · " : "";

function bars(f, parent) {
  const lowered = f.lowered.map((n, i) => [n, f.lowered_by[i]]).reverse();
  const moved = [...f.raised.map((n, i) => [n, f.raised_by[i]]), ...lowered];
  const most = Math.max(...moved.map(m => Math.abs(m[1]))), box = make("div", undefined, parent, "bars");
  for (const [name, value] of moved) {
    make("span", name, box);
    const bar = make("div", undefined, box);
    bar.style.width = `${most ? 100 * Math.abs(value) / most : 0}%`;
    bar.style.background = value > 0 ? "var(--up)" : "var(--down)";
    make("span", (value > 0 ? "+" : "") + value, box, "soft");
  }
}

function go(number) {
  const f = data.features[number], card = of("card");
  current = number;
  card.replaceChildren();
  make("h2", `Feature ${number}`, card);
  const facts = make("div", undefined, card, "facts");
  make("span", `fires on ${percent(f.density)} of the rows`, facts);
  make("span", `mean ${f.mean} where it fires, at most ${f.largest}`, facts);
  make("h3", "Strongest examples", card);
  if (!f.seen.length) make("p", "It never fires on these examples.", card, "soft");
  const pictures = f.seen.some(s => s.map), holder = make("div", undefined, card, pictures ? "grid" : "");
  for (const s of f.seen) (pictures ? picture : line)(s, f.largest, holder);
  if (f.raised.length) {
    make("h3", "Without it: change of log-probability on these examples (nats)", card);
    bars(f, card);
  }
  make("h3", "Neighbours by decoder direction", card);
  const near = make("div", undefined, card, "neighbours");
  f.neighbours.forEach((n, i) => { make("button", `feature ${n} (${f.cosines[i]})`, near).onclick = () => go(n); });
  for (const button of of("list").children) {
    const here = Number(button.dataset.feature) === number;
    here ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current");
    if (here) button.scrollIntoView({ block: "nearest" });
  }
  history.replaceState(null, "", `#${number}`);
}

function turn(by) {
  const at = shown.findIndex(f => f.feature === current);
  const next = shown[Math.max(0, Math.min(shown.length - 1, at + by))];
  if (next) go(next.feature);
}
of("order").onchange = list;
of("search").oninput = list;
of("previous").onclick = () => turn(-1);
of("next").onclick = () => turn(1);
document.addEventListener("keydown", e => {
  if (e.target.tagName === "INPUT" || e.target.tagName === "SELECT") return;
  if (e.key === "ArrowLeft") turn(-1);
  if (e.key === "ArrowRight") turn(1);
});
list();
const asked = Number(location.hash.slice(1));
const start = data.features[asked] && location.hash ? asked : (shown[0] || data.features[0]).feature;
go(start);
</script>
</body>
</html>
"""
