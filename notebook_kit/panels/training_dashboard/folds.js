// The folds below the chart: the events, the values of the chart as a table, and the settings of the run.

import { fill, h } from "../shared/common.js";
import { MARKS, valueText } from "./marks.js";
import { withUnit } from "./numbers.js";

const MOST_EVENTS = 100;
const MOST_ROWS = 60;   // per line

export class Folds {
  /** `opened`: names of the open folds; `onTable()` is called when the table is opened or closed. */
  constructor({ words }, opened, onTable) {
    this.words = words;
    const scroller = name => h("div.scroll", { tabindex: "0", role: "region", "aria-label": words(name) });
    this.table = h("details.td-fold", { ontoggle: onTable }, h("summary", {}, words("as_table")), scroller("as_table"));
    this.table.lastChild.classList.add("nk-td-tall");
    this.events = h("details.td-fold", { hidden: true }, h("summary"), h("ol.td-events"));
    this.facts = h("details.td-fold", { hidden: true }, h("summary", {}, words("settings")), scroller("settings"));
    this.drawn = {};   // the state from which the events and the facts were last drawn
    for (const name of ["table", "events", "facts"]) {
      const fold = this[name];
      fold.open = opened.has(name);
      fold.addEventListener("toggle", () => (fold.open ? opened.add(name) : opened.delete(name)));
    }
    this.element = h("div.td-folds", {}, this.events, this.table, this.facts);
  }

  /** Show the values of lines, newest first, with a stride for long runs. */
  drawTable(lines) {
    if (!this.table.open) return;
    const box = this.table.lastChild, scroll = box.scrollTop, cells = tableCells(this.words, lines);
    const rows = [...cells].sort(([a], [b]) => b - a).map(([step, values]) => h("tr", {},
      h("th", { scope: "row" }, step.toLocaleString("en")), lines.map((_, k) => h("td", {}, values[k] ?? ""))));
    fill(box, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, this.words("step")), lines.map(one => h("th", { scope: "col" }, h("bdi", {}, one.label))))),
      h("tbody", {}, rows)));
    box.scrollTop = scroll;
  }

  drawEvents(marks) {
    const events = marks.filter(mark => mark.text);
    this.events.hidden = !events.length;
    if (!this.isNew("events", `${events.length} ${events.at(-1)?.step}`)) return;
    this.events.firstChild.textContent = this.words("events", { count: events.length });
    fill(this.events.lastChild, events.slice(-MOST_EVENTS).reverse().map(mark => h("li", { "data-kind": mark.kind },
      h("span.td-event-sign", { "aria-hidden": "true" }, MARKS[mark.kind] ?? "•"),
      h("span.faint", {}, `${this.words("step_at", { step: mark.step.toLocaleString("en") })} `),
      h("bdi", {}, mark.text))));
  }

  drawFacts(run) {
    const facts = Object.entries(run?.facts ?? {}).flatMap(([name, value]) => (isTable(value) ? Object.entries(value) : [[name, value]]))
      .filter(([name, value]) => name !== "probes" && value !== null && value !== "");
    this.facts.hidden = !facts.length;
    if (!this.isNew("facts", JSON.stringify(facts))) return;
    fill(this.facts.lastChild, h("table", {}, h("tbody", {}, facts.map(([name, value]) => h("tr", {},
      h("th", { scope: "row" }, h("bdi", {}, name)), h("td", {}, h("bdi", {}, valueText(value))))))));
  }

  isNew(name, state) {
    if (this.drawn[name] === state) return false;
    this.drawn[name] = state;
    return true;
  }
}

function isTable(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Step -> the values of the lines at that step, as text. */
function tableCells(words, lines) {
  const rows = new Map();
  lines.forEach(({ name, series }, k) => {
    const stride = Math.max(1, Math.ceil(series.size / MOST_ROWS));
    for (let i = series.size - 1; i >= 0; i -= stride) {
      const cells = rows.get(series.step[i]) ?? [];
      rows.set(series.step[i], cells);
      cells[k] = series.bad[i] && !Number.isFinite(series.mean[i]) ? words("not_finite_short") : withUnit(name, series.mean[i]);
    }
  });
  return rows;
}
