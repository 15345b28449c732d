// Switching heads off: the heads that are off, and the prediction without them.

import { fill, h, keyOf } from "../shared/common.js";
import { predictionTable } from "./sidebar.js";

/** The heads of a page that are switched off. */
export class Ablation {
  constructor(page) {
    const { words } = page;
    this.page = page;
    this.isOn = false;                   // whether a click in the atlas switches heads off
    this.predictedFor = null;
    this.prediction = predictionTable(page.view);
    this.button = h("button", { type: "button", "aria-pressed": "false", onclick: () => { this.isOn = !this.isOn; page.schedule(); } }, words("ablate"));
    this.allOn = h("button", { type: "button", onclick: () => page.put({ ablated: [] }) }, words("all_on"));
    this.element = h("div.av-ablation");
    this.cannot = h("p.faint", {}, words("ablate_cannot"));
  }

  /** Switch heads off, or on again if all of them are off. */
  toggle(pairs) {
    const off = new Map(this.page.trait("ablated").map(pair => [String(pair), pair])), all = pairs.every(pair => off.has(String(pair)));
    for (const pair of pairs) { if (all) off.delete(String(pair)); else off.set(String(pair), pair); }
    this.page.put({ ablated: [...off.values()].sort(([a, b], [c, d]) => a - c || b - d) });
  }

  toggleLayer(layer) { this.toggle(Array.from({ length: this.page.headsOf(layer) }, (_, head) => [layer, head])); }

  /** Ask for the prediction without the heads that are off; once, even if it fails. */
  predict() {
    const { page } = this, last = page.trait("prediction") ?? {}, pairs = page.trait("ablated");
    const values = { version: page.about.version, ablated: pairs };
    if (!page.about.can_ablate || page.offline || !(this.isOn || pairs.length || last.rows)) return;
    if ((last.rows && String(last.heads) === String(pairs)) || this.predictedFor === keyOf("predict", values)) return;
    this.predictedFor = keyOf("predict", values);
    page.view.ask("predict", values);    // the answer arrives as the trait
  }

  draw() {
    const { page } = this, { words, about } = page, off = page.trait("ablated");
    this.button.hidden = !about.can_ablate || page.offline;
    this.button.setAttribute("aria-pressed", String(this.isOn));
    this.cannot.hidden = about.can_ablate || !about.reads_text || page.offline;
    this.element.hidden = !about.can_ablate || !(this.isOn || off.length || page.trait("prediction")?.rows);
    const which = off.slice(0, 12).map(([layer, head]) => words("head_name", { layer, head })).join(", ") + (off.length > 12 ? " …" : "");
    fill(this.element, h("div.row", {},
      h("span", {}, off.length ? words("ablate_some", { count: off.length, heads: which }) : words("ablate_none")),
      off.length && !page.offline ? this.allOn : null),
    this.prediction.element, h("p.faint", {}, words("ablate_note")));
  }
}
