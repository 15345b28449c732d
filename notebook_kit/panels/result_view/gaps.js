// A text with gaps, in which the words for them can be tried.

import { fill, h } from "../shared/common.js";

export class GapStage {
  constructor(_view, { things, colours, pieces }) {
    Object.assign(this, { things, pieces });
    const first = gap => things.find(thing => thing.gap === gap);
    const best = pieces.slice(1).map((_, gap) => first(gap));
    this.slots = best.map(thing => h("mark.rv-slot", { style: { "--colour": colours[0] ?? "currentcolor" } }, thing?.label.trim() ?? "…"));
    this.best = best;
    this.element = h("div.rv-text", {}, h("p.rv-marked", { dir: "auto" }, pieces.map((piece, k) => [piece, this.slots[k]])));
  }

  update({ lit }) {
    const thing = lit === null ? null : this.things[lit];
    if (!this.slots.length) {          // it is not known where the gaps are
      fill(this.element, h("p.rv-marked", { dir: "auto" }, (thing ?? this.things[0])?.sequence ?? this.pieces[0]));
      return;
    }
    this.slots.forEach((slot, gap) => {
      const word = thing?.gap === gap ? thing : this.best[gap];
      slot.textContent = word?.label.trim() || "…";
    });
  }
}
