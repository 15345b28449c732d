// What an answer lists: a threshold, switches for the classes, and one line for each box, segment, span or label.

import { fill, h, roving } from "../shared/common.js";

const MOST_SWATCHES = 5;
const COLOURED = ["boxes", "segments", "entities"];   // what the colours of the lines stand for

export class ThingList {
  constructor(view, { things, colours, kind, is_page: isPage }, { onPoint, onPick, onThreshold, onHidden, isNarrowed }) {
    Object.assign(this, { view, things, colours, kind, onHidden });
    const numbers = things.map(one => one.score).filter(score => score !== null);
    this.top = numbers.every(score => score >= 0 && score <= 1) ? 1 : Math.max(...numbers.map(Math.abs), 1e-9);
    this.rows = things.map((thing, i) => this.row(thing, i));
    this.order = things.map((_, i) => i);
    if (kind === "boxes") this.order.sort((a, b) => things[b].score - things[a].score);   // detectors list them in any order
    this.classes = isNarrowed && !isPage ? this.legend() : null;   // every answer on a page would form a separate class
    this.slider = isNarrowed && numbers.length ? this.threshold(onThreshold) : null;
    this.empty = h("p.faint.rv-nothing", { role: "status" }, things.length ? view.words("all_hidden") : view.words("nothing"));
    this.list = h("ul.rv-things", { "aria-label": view.words("found") }, this.grouped());
    const indexOf = event => { const found = event.target.closest?.(".nk-rv-thing"); return found ? Number(found.dataset.i) : null; };
    this.list.addEventListener("pointerover", event => { if (indexOf(event) !== null) onPoint(indexOf(event)); });
    this.list.addEventListener("pointerleave", () => onPoint(null));
    this.list.addEventListener("focusin", event => { if (event.target.matches(":focus-visible")) onPoint(indexOf(event)); });
    this.list.addEventListener("focusout", () => onPoint(null));
    this.list.addEventListener("click", event => { if (indexOf(event) !== null) onPick(indexOf(event)); });
    roving(this.list, ".nk-rv-thing:not([hidden])")();
    this.element = h("div.rv-side", {}, this.slider?.element, this.classes?.element, this.empty, this.list);
  }

  row({ label, score, detail }, i) {
    const part = Math.max(0, Math.min(1, (score ?? 0) / this.top)), colour = COLOURED.includes(this.kind) ? this.colours[i] : null;
    const bar = h(score === null ? "span" : "span.rv-bar", { "aria-hidden": "true" },
      score === null ? null : h("span.rv-fill", { style: { width: `${(100 * part).toFixed(1)}%`, ...(colour ? { background: colour } : {}) } }));
    const isDetailed = this.kind === "entities" || this.kind === "segments";
    return h("button.rv-thing", { type: "button", "data-i": String(i), "aria-pressed": "false", title: detail ? `${label} · ${detail}` : label },
      colour ? h("span.rv-swatch", { "aria-hidden": "true", style: { background: colour } }) : null,
      h("bdi.rv-label", {}, label || "∅"),
      isDetailed && detail ? h("bdi.rv-detail.faint", {}, detail) : null,
      bar, h("span.rv-score", {}, score === null ? "" : score.toFixed(this.top === 1 ? 3 : 2)));
  }

  /** The rows, with a heading before each gap of a text if there are several. */
  grouped() {
    const several = this.things.some(thing => thing.gap > 0);
    return this.order.map(i => {
      const isFirst = several && (i === 0 || this.things[i].gap !== this.things[i - 1].gap);
      return h("li", {}, isFirst ? h("p.faint.rv-gap-name", {}, this.view.words("gap", { number: this.things[i].gap + 1 })) : null, this.rows[i]);
    });
  }

  threshold(onThreshold) {
    const { words } = this.view, number = h("output.rv-number");
    const input = h("input", { type: "range", min: "0", max: "1", step: "0.01", "aria-label": words("threshold") });
    input.addEventListener("input", () => onThreshold(Number(input.value)));
    return { input, number, element: h("label.rv-slider", {}, h("span.faint", {}, words("threshold")), input, number) };
  }

  legend() {
    const { words } = this.view, groups = new Map();
    this.things.forEach(({ label }, i) => groups.set(label, [...(groups.get(label) ?? []), i]));
    const boxes = new Map([...groups].map(([label, members]) => [label, this.classBox(label, members)]));
    const all = isOn => this.onHidden(isOn ? [] : [...groups.keys()]);
    const whole = groups.size > 3 ? h("div.rv-whole", {}, h("button", { type: "button", onclick: () => all(true) }, words("all")),
      h("button", { type: "button", onclick: () => all(false) }, words("none"))) : null;
    const element = h("fieldset.rv-classes", { hidden: !groups.size }, h("legend.faint", {}, words("classes")),
      h("div.rv-class-list", {}, [...boxes.values()].map(box => box.element)), whole);
    return { element, boxes };
  }

  classBox(label, members) {
    const input = h("input", { type: "checkbox", checked: true, onchange: () => this.toggle(label, input.checked) });
    const shades = [...new Set(members.map(i => this.colours[i]))].slice(0, MOST_SWATCHES);
    const count = h("span.rv-count.faint");
    return { input, count, members, element: h("label.rv-class", {}, input,
      shades.map(colour => h("span.rv-swatch", { "aria-hidden": "true", style: { background: colour } })), h("bdi", {}, label), count) };
  }

  toggle(label, isOn) {
    const hidden = new Set(this.hidden);
    if (isOn) hidden.delete(label);
    else hidden.add(label);
    this.onHidden([...hidden]);
  }

  update({ visible, lit, selected, threshold, hidden }) {
    this.hidden = hidden;
    this.rows.forEach((row, i) => {
      row.hidden = !visible[i];
      row.classList.toggle("nk-rv-lit", i === lit);
      row.setAttribute("aria-pressed", String(i === selected));
    });
    this.empty.hidden = visible.some(Boolean);
    this.keepInTabOrder();
    if (this.slider) {
      this.slider.input.value = String(threshold);
      this.slider.number.textContent = threshold.toFixed(2);
    }
    for (const [label, { input, count, members }] of this.classes?.boxes ?? []) {
      input.checked = !hidden.has(label);
      const above = members.filter(i => this.things[i].score === null || this.things[i].score >= threshold).length;
      fill(count, above === members.length ? String(members.length) : `${above}/${members.length}`);
    }
    const chosen = selected === null ? null : this.rows[selected];
    if (chosen && selected !== this.chosen) chosen.scrollIntoView?.({ block: "nearest" });
    this.chosen = selected;
  }

  /** One visible row is in the tab order. */
  keepInTabOrder() {
    if (this.rows.some(row => !row.hidden && row.getAttribute("tabindex") === "0")) return;
    const first = this.order.map(i => this.rows[i]).find(row => !row.hidden);
    this.rows.forEach(row => row.setAttribute("tabindex", row === first ? "0" : "-1"));
  }
}
