// The legend: the lines of the chart, each with its last and best value; a click hides or shows a line.

import { fill, h } from "../shared/common.js";
import { lastText, withUnit } from "./numbers.js";
import { swatch } from "./swatch.js";

export class Legend {
  /** `hidden`: keys of the hidden lines; `onToggle()` is called when they change. */
  constructor({ words }, hidden, onToggle) {
    Object.assign(this, { words, hidden, onToggle });
    this.element = h("div.row.td-legend", { role: "group", "aria-label": words("legend") });
    this.drawn = "";
  }

  draw(lines) {
    const wanted = JSON.stringify(lines.map(one => [one.key, one.label]));
    if (wanted !== this.drawn) fill(this.element, lines.map(one => this.key(one)));
    this.drawn = wanted;
    [...this.element.children].forEach((button, i) => {
      button.lastChild.textContent = this.valueText(lines[i]);
      button.setAttribute("aria-pressed", String(!this.hidden.has(lines[i].key)));
    });
    this.element.hidden = !lines.length;
  }

  key(one) {
    const onclick = () => { if (!this.hidden.delete(one.key)) this.hidden.add(one.key); this.onToggle(); };
    return h("button.td-key", { type: "button", "data-key": one.key, onclick }, swatch(one), h("bdi", {}, one.label), h("span.td-last"));
  }

  valueText({ series, best, name }) {
    const last = lastText(this.words, series);
    return best ? `${last} · ${this.words("best_at", { value: withUnit(name, best[0]), step: best[1].toLocaleString("en") })}` : last;
  }

  /** The entries of the visible lines, as `{ swatch, text }`. */
  get shown() {
    return [...this.element.children].filter(button => button.getAttribute("aria-pressed") === "true").map(button => (
      { swatch: button.querySelector("svg"), text: `${button.querySelector("bdi").textContent}  ${button.lastChild.textContent}` }));
  }
}
