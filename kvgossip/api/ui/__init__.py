"""The console: the files of a page for browsers, served by routes/console.py. Plain modules of
JavaScript, two style sheets and SVG: what stands here is what runs, without a build.

Laws
- Text is only ever text. Nothing reads markup, so a stored value cannot become a part of the page.
- Values change in place, and nothing blinks. A colour never stands alone: words say the same.
- Nothing is asked while nobody looks, and nothing comes from elsewhere.

console.js is the shell, pages/ has a module for each page, and keys/ the parts of the page Keys.
The others are shared: api.js asks the node, dom.js draws, list.js scrolls over a million rows.
"""
