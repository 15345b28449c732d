// Reading exact values: the line below the drawing, and the strongest pairs as a table.

import { fill, h } from "../shared/common.js";
import { strongest } from "./lines.js";
import { floatsOf, litOf, number, stepOf, sumsOf, valueOf } from "./positions.js";

const PAUSE = 25;                          // milliseconds, so that cells that the pointer only crosses are not asked for

/** The readout of a page. The page has `look` and `names`, `flow` and `flowNames` (for rollout), and the drawings. */
export class Readout {
  constructor(page) {
    this.page = page;
    this.turn = 0;
    this.element = h("p.av-readout", { role: "status", "aria-live": "polite" });
    this.pairs = h("details.av-pairs", { ontoggle: () => this.drawPairs() }, h("summary"), h("div.scroll", { tabindex: "0", role: "region" }));
  }

  /** Show the hint, unless there is a readout. */
  hint() {
    if (!this.element.hasChildNodes()) fill(this.element, this.page.kindWords("readout_hint"));
  }

  /** The exact sums of some rows and columns; null without a kernel. */
  async exact(look, rows, columns) {
    const { page } = this, isFlow = look === page.flow;
    if (page.offline) return null;
    const base = isFlow ? page.questions.ofRollout() : page.questions.ofHeads();
    const answer = await page.questions.get("row", { ...base, rows, columns }, isFlow ? "row.flow" : "row");
    return answer && { to: floatsOf(answer.buffers[0]), from: floatsOf(answer.buffers[1]) };
  }

  /** Read one cell of a matrix. */
  async cell(look, names, i, j) {
    if (!look) return;
    const { words } = this.page, turn = ++this.turn;
    const place = h("span", {}, h("b", {}, names.row(i)), " → ", h("b", {}, names.column(j)), ": ");
    fill(this.element, place, words("about", { value: number(valueOf(look, i * look.C + j)), step: stepOf(look) }));
    if (this.page.offline) return;
    await new Promise(done => setTimeout(done, PAUSE));
    if (turn !== this.turn) return;
    const exact = await this.exact(look, [i], []);
    if (exact && turn === this.turn)
      fill(this.element, place, h("span.mono", {}, number(exact.to[j])), ` ${words("exact")}${this.page.about.half ? ` (${words("half")})` : ""}`);
  }

  /** Shade positions by the weights of the one under the pointer, or else of the selected ones. */
  async point(side, i) {
    const { page } = this;
    if (!page.look) return;
    const turn = ++this.turn, { rows, columns, share } = this.pointed(side, i);
    if (!rows.length && !columns.length) { page.shade(null); fill(this.element, page.kindWords("readout_hint")); return; }
    const scaled = values => (values ? values.map(value => value * share) : null);
    const rough = sumsOf(page.look, rows, columns);
    this.show(side, i, { right: scaled(rough.right), left: scaled(rough.left) }, false);
    if (page.offline) return;
    await new Promise(done => setTimeout(done, PAUSE));
    if (turn !== this.turn) return;
    const exact = await this.exact(page.look, rows, columns);
    if (!exact || turn !== this.turn || page.ended) return;
    this.show(side, i, { right: rows.length ? scaled([...exact.to]) : null, left: columns.length ? scaled([...exact.from]) : null }, true);
    this.drawPairs(rows.length && i === null && page.trait("selected").length ? exact.to : null);
  }

  /** The rows and columns that are summed, and the factor of the sum. */
  pointed(side, i) {
    const { look, isPictured } = this.page;
    if (i !== null) return side === "left" ? { rows: [i], columns: [], share: 1 } : { rows: [], columns: [i], share: 1 };
    const lit = litOf(look.rows, this.page.trait("selected"));
    if (lit.length || !isPictured) return { rows: lit, columns: [], share: 1 };
    if (this.first !== null) return { rows: [this.first], columns: [], share: 1 };
    return { rows: Array.from({ length: look.R }, (_, row) => row), columns: [], share: 1 / look.R };
  }

  /** The row to look from if none is chosen: that of a class token or of the surest object; null if all are alike. */
  get first() {
    const { first } = this.page.about.tokens, at = this.page.look.rows.findIndex(group => group.includes(first));
    return at < 0 ? null : at;
  }

  show(side, i, values, isExact) {
    const { page } = this;
    page.shade(values, isExact);
    const name = values.right ? page.names.column : page.names.row;
    fill(this.element, h("span", {}, this.title(side, i)), " ", this.strongestThree(values.right ?? values.left, name), isExact ? ` ${page.words("exact")}` : "");
  }

  /** A description of the shaded weights. */
  title(side, i) {
    const { look, names, isPictured } = this.page, lit = litOf(look.rows, this.page.trait("selected"));
    const from = this.page.kindWords("from");
    if (i !== null) return side === "left" ? `${from} ${names.row(i)} →` : `→ ${this.page.kindWords("to")} ${names.column(i)}`;
    if (lit.length === 1) return `${from} ${names.row(lit[0])} →`;
    if (lit.length || !isPictured) return this.page.kindWords("sum_from", { count: lit.length }, 0);
    return `${from} ${this.first === null ? this.page.kindWords("from_all", {}, 0) : names.row(this.first)} →`;
  }

  strongestThree(values, name) {
    return [...values].map((value, i) => [value, i]).sort(([a], [b]) => Math.abs(b) - Math.abs(a)).slice(0, 3)
      .map(([value, i]) => h("span.av-top", {}, h("b", {}, name(i)), " ", h("span.mono", {}, number(value))));
  }

  /** The table below: the strongest pairs, or the sum of the selected rows. */
  drawPairs(sums = null) {
    const { page } = this, box = this.pairs.lastChild, caption = page.words(sums ? "table_sum" : "as_table");
    this.pairs.firstChild.textContent = caption;
    box.setAttribute("aria-label", caption);
    if (this.pairs.open && page.look) fill(box, sums ? this.sumTable(sums) : this.pairTable());
  }

  sumTable(sums) {
    const { words, names } = this.page;
    const order = [...sums.keys()].sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a])).slice(0, 50);
    return h("table", {}, h("thead", {}, h("tr", {}, [words("to"), words("weight")].map(one => h("th", { scope: "col" }, one)))),
      h("tbody", {}, order.map(j => h("tr", {}, h("th", { scope: "row" }, names.column(j)), h("td", {}, number(sums[j]))))));
  }

  pairTable() {
    const { words, names, look } = this.page, { places } = strongest(look, 0, null, 400);
    const heading = [words("from"), words("to"), words("weight")].map(one => h("th", { scope: "col" }, one));
    const row = k => h("tr", {}, h("td", {}, names.row(Math.floor(k / look.C))), h("td", {}, names.column(k % look.C)), h("td", {}, number(valueOf(look, k))));
    return h("table", {}, h("caption", {}, words("pairs_caption", { step: stepOf(look) })), h("thead", {}, h("tr", {}, heading)),
      h("tbody", {}, places.slice(-50).reverse().map(row)));
  }
}
