// A text in which entities or answers are marked.

import { fill, h } from "../shared/common.js";

export class MarkStage {
  constructor(view, { things, colours, inks, parts, question, kind }, _buffers, { onPoint, onPick }) {
    Object.assign(this, { things, colours, inks, parts, kind, visible: [] });
    this.text = h("p.rv-marked", { dir: "auto" });
    this.element = h("div.rv-text", {}, question ? h("p.rv-question", { dir: "auto" }, question) : null, this.text);
    const indexOf = event => { const found = event.target.closest?.(".nk-rv-mark"); return found ? Number(found.dataset.i) : null; };
    this.text.addEventListener("pointerover", event => onPoint(indexOf(event)));
    this.text.addEventListener("pointerleave", () => onPoint(null));
    this.text.addEventListener("click", event => onPick(indexOf(event)));
    this.key = "";
  }

  update({ visible, lit }) {
    this.visible = visible;
    // Answers overlap: only the best one is marked, or the one that is lit.
    const key = `${visible.map(Number).join("")} ${this.kind === "answers" ? lit : ""}`;
    if (key !== this.key) fill(this.text, this.marks(lit));
    this.key = key;
    this.text.classList.toggle("nk-rv-dimmed", lit !== null);
    for (const mark of this.text.querySelectorAll(".nk-rv-mark")) mark.classList.toggle("nk-rv-lit", Number(mark.dataset.i) === lit);
  }

  marks(lit) {
    const chosen = this.kind === "answers" ? (lit ?? 0) : null;
    let last = null;
    return this.parts.map(([text, covering]) => {
      const i = covering.find(k => this.visible[k] && (chosen === null || k === chosen));
      if (i === undefined) { last = null; return text; }
      const isNew = i !== last;
      last = i;
      return h("mark.rv-mark", { "data-i": String(i), style: { "--colour": this.colours[i] } }, text,
        isNew && chosen === null ? h("span.rv-tag", { style: { background: this.colours[i], color: this.inks[i] } }, this.things[i].label) : null);
    });
  }
}
