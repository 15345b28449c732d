// The rows behind a point of the curve: the examples of a step's batch, the one with the highest loss first.

import { fill, h } from "../shared/common.js";
import { withUnit } from "./numbers.js";

const OFFERS = ["spike", "nonfinite"];

export class Rows {
  /** `ask(step)` returns the answer to the question "rows", or null. */
  constructor({ words }, ask) {
    Object.assign(this, { words, ask });
    this.run = null;
    this.step = null;        // of the rows that are shown
    this.isPending = false;  // the run has yet to measure them
    this.offered = h("div.row.td-offer", { hidden: true });
    this.title = h("h3");
    this.note = h("p.faint");
    this.table = h("div.scroll.td-tall", { tabindex: "0", role: "region", "aria-label": words("rows_text") });
    const close = h("button.td-small", { type: "button", "aria-label": words("rows_close"), title: words("rows_close"), onclick: () => this.close() }, "×");
    this.shown = h("section.td-rows", { hidden: true, "aria-live": "polite" }, h("div.row", {}, this.title, h("span.td-space"), close), this.note, this.table);
    this.element = h("div", {}, this.offered, this.shown);
  }

  /** Offer the rows of the latest spike or non-finite loss, and ask again for those that the run has measured since. */
  draw(run) {
    this.run = run;
    const measured = new Set((run?.events ?? []).filter(event => event.kind === "rows").map(event => event.step));
    const offer = (run?.events ?? []).findLast(event => event.kind === "rows" && OFFERS.includes(event.with.why));
    this.offer(offer);
    if (this.isPending && measured.has(this.step)) this.open(this.step);
  }

  offer(event) {
    const state = event && event.step !== this.step ? `${event.step}` : "";
    this.offered.hidden = !state;
    if (this.offered.dataset.state === state) return;
    this.offered.dataset.state = state;
    if (!state) return;
    const cause = this.run.events.findLast(one => one.kind === event.with.why && one.step === event.step)?.with ?? { name: this.words("name_loss") };
    const values = Object.fromEntries(Object.entries(cause).map(([name, value]) => [name, typeof value === "number" ? withUnit("loss", value) : value]));
    const text = this.words(`event_${event.with.why}`, values);
    fill(this.offered, h("span.td-offer-sign", { "aria-hidden": "true" }, "!"), h("span", {}, this.words("rows_offer", { step: event.step.toLocaleString("en"), text })),
      h("button", { type: "button", "data-step": event.step, onclick: () => this.open(event.step) }, this.words("rows_show")));
  }

  async open(step) {
    this.step = step;
    const answer = await this.ask(step);
    if (!answer || this.step !== step) return;
    const { words } = this, { rows, measured_at: count, is_pending: isPending, is_measured: isMeasured } = answer.values;
    this.isPending = Boolean(isPending);
    this.shown.hidden = false;
    this.offer(null);
    this.title.textContent = words("rows_title", { step: step.toLocaleString("en") });
    this.note.textContent = this.noteOf(rows, { count, isPending, isMeasured, step });
    fill(this.table, rows.length ? this.tableOf(rows, isMeasured) : null);
  }

  noteOf(rows, { count, isPending, isMeasured, step }) {
    if (isMeasured) return this.words("rows_note", { count: count.toLocaleString("en") });
    if (isPending) return this.words("rows_pending");
    return this.words(rows.length ? "rows_numbers" : "rows_none", { step: step.toLocaleString("en") });
  }

  tableOf(rows, isMeasured) {
    const { words } = this, most = Math.max(...rows.map(row => (Number.isFinite(row.loss) ? row.loss : 0)), 1e-9);
    const names = isMeasured ? ["name_loss", "rows_row", "rows_label", "rows_text"] : ["rows_row"];
    return h("table", {}, h("thead", {}, h("tr", {}, names.map(name => h("th", { scope: "col" }, words(name))))),
      h("tbody", {}, rows.map(row => h("tr", {}, isMeasured ? this.lossCell(row.loss, most) : null,
        h("th", { scope: "row" }, row.index.toLocaleString("en")),
        isMeasured ? [h("td", {}, h("bdi", {}, row.label)), h("td.td-row-text", { dir: "auto" }, row.text)] : null))));
  }

  lossCell(loss, most) {
    const isFinite = Number.isFinite(loss), part = isFinite ? Math.max(0, loss) / most : 1;
    return h("td.td-row-loss", { "data-bad": isFinite ? null : "true" }, h("span.td-row-bar", { style: { "--part": part.toFixed(3) } }),
      h("span", {}, isFinite ? withUnit("loss", loss) : this.words("not_finite_short")));
  }

  close() {
    this.step = null;
    this.isPending = false;
    this.shown.hidden = true;
    this.draw(this.run);
  }
}
