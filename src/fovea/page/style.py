"""The style sheet of every report: one column, quiet colours, figures that line up, light, dark and print."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1e21; --soft: #5c636b; --line: #dcdfe3; --wash: #f5f6f7; --accent: #0b5394;
  --good: #1a6b3c; --bad: #a32020; --warn: #8a5a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --ink: #e4e6e9; --soft: #9aa2ab; --line: #33383e; --wash: #1d2024; --accent: #7fb3e6;
    --good: #6cc48f; --bad: #f08c8c; --warn: #dcae5a;
  }
  figure img { filter: brightness(.92); }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3rem 1.5rem 4rem; max-width: 54rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums lining-nums; overflow-wrap: break-word;
}
header { border-bottom: 2px solid var(--ink); padding-bottom: 1rem; margin-bottom: 1.75rem; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 650; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; font-weight: 650; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
.meta { color: var(--soft); margin: 0; }
.badge {
  display: inline-block; border: 1px solid currentColor; border-radius: 3px;
  padding: 0 .5em; margin-right: .6em;
  font-size: .85rem; font-weight: 600;
}
.finished { color: var(--good); } .failed { color: var(--bad); }
.interrupted, .unfinished { color: var(--warn); }
.note, .label, figcaption, caption, small { color: var(--soft); font-size: .875rem; }
.label { margin: 1rem 0 .25rem; }
.error {
  white-space: pre-wrap; border-left: 3px solid var(--bad); background: var(--wash); padding: .75rem 1rem;
  max-width: none; font: 14px/1.5 ui-monospace, "SF Mono", Consolas, "Noto Sans Mono", monospace;
}
dl { margin: 0; }
.headline { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1.1rem 1.5rem; }
.headline dt, .facts dt { color: var(--soft); font-size: .875rem; }
.headline dd { margin: 0; font-size: 1.45rem; line-height: 1.3; font-weight: 600; }
.headline .long { font-size: 1.05rem; padding-top: .2rem; }
.headline small { display: block; font-weight: 400; }
.facts div { display: grid; grid-template-columns: 11rem 1fr; gap: 1rem; padding: .2rem 0; }
.facts dd { margin: 0; min-width: 0; }
.facts dt { padding-top: .1rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; border-top: 1px solid var(--ink); }
table { border-bottom: 1px solid var(--ink); }
caption { text-align: left; padding: 0 0 .4rem; }
th, td { padding: .22rem 1.4rem .22rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid var(--line); white-space: nowrap; }
.num { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 2px; }
figcaption { margin-top: .35rem; line-height: 1.4; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.75rem, 1fr)); gap: 1rem .9rem; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--wash); }
.gallery figcaption { font-size: .8rem; }
pre {
  margin: .25rem 0 .75rem; padding: .7rem .9rem; background: var(--wash); border: 1px solid var(--line);
  border-radius: 3px; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.5 ui-monospace, "SF Mono", Consolas, "Noto Sans Mono", monospace;
}
pre.copy { user-select: all; -webkit-user-select: all; cursor: copy; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); font-size: .95rem; }
.bars { display: block; width: 100%; height: 3rem; margin: .9rem 0 .25rem; }
.bars rect { fill: var(--accent); opacity: .7; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); }
footer { color: var(--soft); font-size: .85rem; }
@media print {
  @page { margin: 18mm 16mm; }
  :root {
    --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #fff; --accent: #0b5394;
    --good: #1a6b3c; --bad: #a32020; --warn: #8a5a00;
  }
  body { font-size: 10pt; padding: 0; max-width: none; }
  h2, h2 + .note { break-after: avoid; }
  h2 { margin-top: 1.6rem; }
  figure, tr, .scroll, .headline { break-inside: avoid; }
  .headline { grid-template-columns: repeat(4, 1fr); } .headline dd { font-size: 1.2rem; }
  footer { margin-top: 1rem; } .gallery { grid-template-columns: repeat(6, 1fr); }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  .label, summary { break-after: avoid; }
  pre { font-size: 8pt; }
  pre.copy { cursor: auto; }
}
"""
