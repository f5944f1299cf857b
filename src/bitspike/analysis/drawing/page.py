"""The empty page of a report: one file, nothing fetched, light and dark, on a phone and on paper."""

from __future__ import annotations

import base64
import hashlib

from bitspike.analysis.drawing.copying import SCRIPT
from bitspike.analysis.drawing.glossary import words
from bitspike.analysis.drawing.markup import Html, escape

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --ink: #1c2127; --soft: #5a6472; --line: #dfe2e7; --on: #fff;
  --accent: #0069a6; --second: #c44f00; --good: #00724f; --good-pale: #e6f5ee; --bad: #b3210f; --bad-pale: #fdece8;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #121519; --card: #1b1f25; --ink: #e9ebee; --soft: #9ca6b3; --line: #343b45; --on: #10151a;
    --accent: #5bb8f0; --second: #f0a04b; --good: #4fd6a2; --good-pale: #12291f; --bad: #ff8a75; --bad-pale: #331b18;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header p { margin: .2rem 0; }
h1 {
  font-size: clamp(1.7rem, 5vw, 2.4rem); line-height: 1.15; letter-spacing: -.015em; margin: .3rem 0 .6rem;
  overflow-wrap: anywhere;
}
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
b, strong { font-weight: 650; }
small, figcaption { font-size: .86rem; color: var(--soft); }
code, pre {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .86em;
  overflow-wrap: anywhere;
}
pre {
  background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem;
  white-space: pre-wrap; margin: .6rem 0;
}
a { color: var(--accent); }
details { margin: .8rem 0 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; }
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; }

section {
  --under: var(--card); background: var(--under); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.35rem 1.5rem 1.45rem; margin: 1.1rem 0;
}
section > :last-child { margin-bottom: 0; }
.kicker { color: var(--soft); font-size: .9rem; }
.question { font-size: 1.15rem; color: var(--soft); max-width: 44rem; }
.lead { font-size: 1.2rem; line-height: 1.5; margin: .1rem 0 1.2rem; }
.soft { color: var(--soft); }
.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
.warn, .bad h2, .bad strong { color: var(--bad); }
.good { --under: var(--good-pale); border-color: var(--good); }
.good h2 { color: var(--good); }
.bad { --under: var(--bad-pale); border-color: var(--bad); }
.mark { display: inline-block; width: 1.35em; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 1rem 1.5rem; margin: 0; }
.tiles > div { border-left: 3px solid var(--line); padding-left: .9rem; }
.tiles .first { border-color: var(--accent); }
.tiles dt { color: var(--soft); font-size: .86rem; }
.tiles dd { margin: 0; font-size: 1.55rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-weight: 400; line-height: 1.4; margin-top: .15rem; }

.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 1.5rem; }
.many {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13.5rem), 1fr)); gap: 1.2rem 1.5rem;
  margin-top: 1rem;
}
.plot { max-width: 30rem; }
.plot svg { overflow: visible; }

.wide { overflow-x: auto; margin: .7rem 0; }
td code, th code { overflow-wrap: normal; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { font-weight: 600; text-align: left; color: var(--soft); font-size: .84rem; vertical-align: bottom; }
td { vertical-align: top; }
th, td { padding: .34rem .9rem .34rem 0; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child td { border-bottom: 0; }
td.r, th.r { text-align: right; }
td.r { white-space: nowrap; }
tr > :nth-last-child(n + 10), tr > :nth-last-child(n + 10) ~ * { padding-right: .6rem; }
.meter { display: flex; align-items: center; gap: .7rem; }
.meter > span { min-width: 4.6em; text-align: right; white-space: nowrap; }
.meter i { flex: 1; min-width: 3rem; height: .55rem; border-radius: 3px; background: var(--page); overflow: hidden; }
.meter b { display: block; height: 100%; background: var(--accent); }

.words {
  display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .35rem 1.2rem; margin: 0; font-size: .92rem;
}
.words dt { font-weight: 600; overflow-wrap: anywhere; }
.words dd { margin: 0; color: var(--soft); max-width: 44rem; }
.copied { position: relative; margin: .6rem 0; }
.copied pre { margin: 0; padding-right: 5rem; }
.copied button {
  position: absolute; top: .45rem; right: .5rem; font: inherit; font-size: .78rem; color: var(--accent);
  cursor: pointer; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .15rem .6rem;
}

.shown { display: flex; gap: 1.2rem; align-items: center; margin: .4rem 0 1rem; }
.pixels {
  width: 7rem; height: 7rem; object-fit: contain; image-rendering: pixelated; border: 1px solid var(--line);
  border-radius: 6px; flex: none;
}
.strip { margin: .7rem 0; }
.strip p {
  display: flex; justify-content: space-between; gap: 1rem; margin: 0 0 .15rem; font-size: .86rem; max-width: none;
}
.raster { background: var(--page); border-radius: 4px; }
.raster path { stroke: var(--accent); stroke-width: .8; fill: none; }
.raster .below { stroke: var(--second); stroke-width: .4; }
.traces { display: flex; gap: .6rem; align-items: center; }
.traces .raster { flex: 3 1 0; min-width: 0; }
.membrane { flex: 1 1 0; min-width: 4rem; max-width: 14rem; height: 40px; }
.membrane path { fill: none; stroke: var(--soft); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.membrane .bar { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 4 3; }
.membrane .up { stroke: var(--accent); stroke-width: 2; }
.membrane .down { stroke: var(--second); stroke-width: 2; }
.steps { height: 20px; border-bottom: 1px solid var(--line); vertical-align: bottom; }
.steps path { fill: var(--accent); }
.bars rect { fill: var(--accent); }
.bars .base { stroke: var(--line); }
.bars text { font-size: 11px; }
.bars .ink, .confusion .ink { fill: var(--ink); }
.bars .soft, .confusion .axis { fill: var(--soft); }
.confusion { max-width: 34rem; shape-rendering: crispEdges; }
.confusion text { font-size: .42px; text-anchor: middle; }
.confusion .end { text-anchor: end; }
.confusion .frame { fill: none; stroke: var(--line); stroke-width: .03; }
.confusion .right { fill: var(--accent); }
.confusion .wrong { fill: var(--second); }
.confusion .on { fill: var(--on); }

@media (max-width: 32rem) {
  main { padding: 1.4rem .8rem 2rem; }
  section { padding: 1.05rem 1rem 1.1rem; border-radius: 10px; }
  .lead { font-size: 1.1rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tiles dd { font-size: 1.3rem; }
  th, td { padding-right: .6rem; }
  .meter i { min-width: 2rem; }
  .copied pre { padding: 2.2rem 1rem .8rem; }
  .words { grid-template-columns: 1fr; gap: 0; }
  .words dd { margin-bottom: .6rem; }
  .rows thead { display: none; }
  .rows tr { display: block; padding: .45rem 0; border-bottom: 1px solid var(--line); }
  .rows tr:last-child { border-bottom: 0; }
  .rows td, .rows td.r {
    display: flex; justify-content: space-between; gap: 1rem; padding: .1rem 0; border: 0; text-align: right;
    white-space: normal;
  }
  .rows td::before { content: attr(data-of); color: var(--soft); text-align: left; flex: none; max-width: 45%; }
  .rows td:empty { display: none; }
  .rows .meter { flex: 1; justify-content: flex-end; }
  .columns th:first-child, .columns td:first-child { position: sticky; left: 0; background: var(--under); }
}
@media print {
  @page { margin: 14mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  html { font-size: 12px; }
  body { background: none; }
  main { max-width: none; padding: 0; }
  section { border-radius: 0; border-width: 1px 0 0; padding: .8rem 0; margin: .6rem 0; }
  section.good, section.bad { padding: .8rem 1rem; border-width: 1px; }
  h2, h3, summary, .soft { break-after: avoid; }
  .copied button { display: none; }
  figure, .tiles, .strip, .shown, tr { break-inside: avoid; }
}
"""


# What a browser may do with a page: show it and run its one script; nothing is loaded, whatever the page holds.
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
_POLICY = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_DIGEST}'"


def page(title: str, body: Html) -> str:
    """Write a whole HTML document; it ends with what the words that it uses mean.

    Example:
        >>> page("a < b", Html("<p>text</p>")).count("a &lt; b")
        1
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
{words(body)}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
