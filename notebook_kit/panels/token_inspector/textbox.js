// A text field that marks the characters of some tokens behind its letters.

import { fill, h } from "../shared/common.js";

const MARKED_TEXT = 20_000;   // characters; a longer text would take too long to lay out a second time

export class TextBox {
  constructor(view, name, lines, value, onInput) {
    const { words } = view;
    this.box = h("textarea.text", {
      rows: lines, value, "aria-label": words(name), spellcheck: "false", dir: "auto", placeholder: words("type_here"),
      oninput: () => { this.mark([]); onInput(this.box.value); },
      onscroll: () => this.follow(),
    });
    this.behind = h("div.text.behind", { "aria-hidden": "true", dir: "auto" });
    this.element = h("div.textbox", {}, this.behind, this.box);
    view.onResize(this.box, () => this.follow());
  }

  get value() { return this.box.value; }

  set value(text) { if (this.box.value !== text) { this.box.value = text; this.mark([]); } }

  focus() { this.box.focus(); }

  /** Mark ranges of code points, `[start, end]` each. */
  mark(ranges) {
    const text = this.box.value;
    if (!ranges.length || text.length > MARKED_TEXT) { fill(this.behind); return; }
    const at = unitsOf(text), parts = [];
    let done = 0;
    for (const [start, end] of [...ranges].sort(([a], [b]) => a - b)) {
      const from = Math.max(done, at(start)), to = Math.max(from, at(end));
      parts.push(text.slice(done, from), h("mark", {}, text.slice(from, to)));
      done = to;
    }
    fill(this.behind, parts, `${text.slice(done)}\n`);
    this.follow();
  }

  /** Lie exactly behind the field, which may have a scroll bar. */
  follow() {
    this.behind.style.width = `${this.box.clientWidth + 2}px`;
    this.behind.style.height = `${this.box.clientHeight + 2}px`;
    this.behind.scrollTop = this.box.scrollTop;
  }
}

/** A function from the index of a code point to that of its UTF-16 unit. */
function unitsOf(text) {
  if (!/[\ud800-\udfff]/.test(text)) return at => at;
  const places = [0];
  for (const character of text) places.push(places.at(-1) + character.length);
  return at => places[Math.min(at, places.length - 1)];
}
