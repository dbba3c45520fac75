"""The style sheet of the page: for a screen of any width, bright or dark, and for paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1b1b; --soft: #575757; --line: #d0d0d0; --card: #f6f7f8; --link: #0b57a4;
  --good: #00664a; --fair: #805500; --bad: #a03a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181a; --ink: #ececec; --soft: #b4b4b4; --line: #45494d; --card: #1f2225; --link: #8fc3f5;
    --good: #5fd0a8; --fair: #f0b94a; --bad: #ff9a63;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.3rem; line-height: 1.2; margin: 2.5rem 0 1rem; padding-top: .75rem; }
h2, footer { border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; line-height: 1.3; margin: 0; }
p { margin: .4rem 0; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100vw; }
.skip:focus { position: static; }
.soft { color: var(--soft); font-size: .9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1rem 0; padding: 0; }
nav a { display: inline-block; padding: .25rem 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.numbers > div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
.numbers dt { color: var(--soft); font-size: .9rem; }
.numbers dd { margin: 0; }
.numbers .value { font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.verdict { border: 1px solid var(--line); border-left: .5rem solid var(--level); }
.verdict { border-radius: .5rem; padding: .75rem 1rem; }
.verdict .answer { font-size: 1.2rem; font-weight: 600; color: var(--level); }
.verdict ul { margin: .5rem 0 0; padding-left: 1.2rem; }
.good { --level: var(--good); } .fair { --level: var(--fair); } .bad { --level: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; }
figure svg {
  display: block; width: 100%; height: auto; margin: .75rem 0; color: var(--ink);
  stroke-linejoin: round; stroke-linecap: butt;
}
figure svg text { fill: currentColor; }
summary { cursor: pointer; padding: .4rem 0; color: var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .82rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { padding: .25rem .35rem; overflow-wrap: break-word; max-width: 14rem; }
th, td { text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
tbody th { font-weight: 400; }
.n { text-align: right; }
.n, .t { white-space: nowrap; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 3px solid var(--link); }
figure.wide { grid-column: 1 / -1; }
figure.wide svg { max-width: 46rem; }
dl.words dt { font-weight: 600; }
dl.words dd { margin: 0 0 .5rem; }
footer { margin-top: 2rem; }
@media (max-width: 30rem) {
  body { padding: .6rem; }
  figure { padding: .6rem; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --ink: #000; --soft: #000; --line: #999; --card: #fff; --link: #000;
    --good: #000; --fair: #000; --bad: #000;
  }
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip, summary { display: none; }
  .figures { display: block; }
  figure { border: 0; padding: 0; margin: 0 0 1.5rem; }
  figure svg { max-width: 16cm; break-inside: avoid; }
  figcaption { break-inside: avoid; }
  figcaption, h2, h3, caption { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  th, td { padding: .1rem .35rem; }
  thead { display: table-header-group; }
  tr, .numbers > div, .verdict { break-inside: avoid; }
  a { text-decoration: none; }
}
"""
