// The queries and keys of a pair of tokens: how a head arrives at a weight, dimension by dimension.

import { fill, h, roving, set } from "../shared/common.js";
import { coloursOf } from "./heatmap.js";
import { floatsOf } from "./positions.js";

const ROWS = ["query", "key", "product"];

/** The fold below a head. `page` has `look`, `names`, `about`, `questions` and `trait`. */
export class NeuronsView {
  constructor(page) {
    const { words } = page;
    this.page = page;
    this.turn = 0;
    this.pair = null;                    // indices of the row and the column that were chosen; null for the strongest
    this.key = "";
    const pick = side => h("select", { "aria-label": words(side), onchange: () => this.take(Number(this.picks[0].value), Number(this.picks[1].value)) });
    this.picks = [pick("looks"), pick("looked_at")];
    this.choice = h("div.row.av-pair", {}, ["looks", "looked_at"].map((side, i) => h("label.av-labelled", {}, h("span", {}, words(side)), this.picks[i])));
    this.why = h("p.faint", { hidden: true }, words("neurons_several"));
    this.grid = h("div.av-neurons", { role: "grid" });
    this.read = h("p.av-neuron", { role: "status" });
    this.sum = h("p.av-neuron-sum");
    this.content = h("div", {}, h("p.faint", {}, words("neurons_note")), this.choice, h("div.scroll", {}, this.grid), this.read, this.sum);
    this.element = h("details.av-neuron-fold", { ontoggle: () => this.draw() }, h("summary", {}, words("neurons")), this.why, this.content);
    this.listen();
  }

  listen() {
    const point = event => {
      const cell = event.target.closest?.("[data-at]");
      if (cell) this.describe(Number(cell.dataset.at));
    };
    set(this.grid, { onpointerover: point, onfocusin: point });
    roving(this.grid, "[role=gridcell]", { columns: () => this.size });
  }

  /** Whether the page shows one head whose rows are tokens. */
  get isSingle() {
    const { trait, look } = this.page;
    return trait("heads").length === 1 && !trait("more").length && trait("shown") === "this" && look && [...look.rows, ...look.columns].every(group => group.length === 1);
  }

  /** Whether there is somebody to answer: a kernel, or a file that holds the pairs of the head that is shown. */
  get isAnswered() {
    const { offline, trait } = this.page, file = trait("_offline") ?? {};
    return !offline || (file.layer === trait("layer") && file.pairs === trait("heads")[0]);
  }

  /** Choose a pair by the indices of its row and column; null keeps one of them. */
  take(row, column) {
    const [i, j] = this.chosen();
    this.pair = [row ?? i, column ?? j];
    this.draw();
  }

  /** The chosen pair, or the one with the largest weight. */
  chosen() {
    const { look } = this.page;
    if (this.pair && this.pair[0] < look.R && this.pair[1] < look.C) return this.pair;
    let best = 0;
    for (let k = 1; k < look.bytes.length; k++) if (look.bytes[k] > look.bytes[best]) best = k;
    return [Math.floor(best / look.C), best % look.C];
  }

  async draw() {
    const { page } = this, { about, look } = page;
    if (this.element.hidden || !this.element.open || !look) return;
    this.why.hidden = this.isSingle;
    this.content.hidden = !this.isSingle;
    if (!this.isSingle || !this.isAnswered) return;
    const [i, j] = this.chosen(), turn = ++this.turn;
    this.drawPicks(i, j);
    const question = { version: about.version, layer: page.trait("layer"), head: page.trait("heads")[0], row: look.rows[i][0], column: look.columns[j][0] };
    const answer = await page.questions.get("neurons", question);
    if (answer && turn === this.turn && !page.ended) this.drawAnswer(answer);
  }

  drawPicks(i, j) {
    const { look, names } = this.page, key = JSON.stringify([names.key, look.rows, look.columns]);
    if (key !== this.key) {
      this.key = key;
      const options = (count, name) => Array.from({ length: count }, (_, k) => h("option", { value: k }, `${k} ${name(k)}`));
      fill(this.picks[0], options(look.R, names.row));
      fill(this.picks[1], options(look.C, names.column));
    }
    [this.picks[0].value, this.picks[1].value] = [String(i), String(j)];
  }

  drawAnswer({ values, buffers }) {
    const { words } = this.page, vectors = buffers.map(floatsOf), size = vectors[0].length, colours = coloursOf(true);
    [this.vectors, this.size] = [vectors, size];
    const row = (name, n) => {
      const top = Math.max(1e-12, ...vectors[n].map(Math.abs));
      return h("div.av-neuron-row", { role: "row" }, h("span.av-neuron-name", { role: "rowheader" }, words(`neurons_${name}`)),
        Array.from(vectors[n], (value, at) => h("span", {
          role: "gridcell", tabindex: n || at ? "-1" : "0", "data-at": at, "aria-label": `${at}: ${short(value)}`,
          style: { "background-color": `rgb(${colours[Math.round(127.5 + value / top * 127.5)].join(",")})` } })));
    };
    this.grid.style.setProperty("--size", String(size));
    this.grid.setAttribute("aria-label", words("neurons_label", { count: size }));
    fill(this.grid, ROWS.map(row));
    const strongest = vectors[2].reduce((best, value, at) => (Math.abs(value) > Math.abs(vectors[2][best]) ? at : best), 0);
    this.describe(strongest);
    const offset = Math.abs(values.offset) > 1e-6 ? `, ${words("neurons_offset", { offset: values.offset < -1e9 ? "−∞" : short(values.offset) })}` : "";
    fill(this.sum, h("b", {}, words("neurons_score", { score: short(values.score) })), offset, " → ", h("b", {}, words("neurons_weight", { weight: values.weight.toFixed(4) })));
  }

  describe(place) {
    const [query, key, product] = this.vectors.map(vector => short(vector[place]));
    this.read.textContent = this.page.words("neurons_at", { place, query, key, product });
  }
}

function short(value) { return value.toFixed(3).replace("-", "−"); }
