// The logit lens: a table of layers by positions, each cell with the next token that the layer would predict.

import { fill, h, roving, set } from "../shared/common.js";
import { visible } from "../shared/letters.js";
import { colourOf, percentOf } from "../shared/probabilities.js";
import { floatsOf } from "./positions.js";

/** The lens view; `onBlock(first)` asks for the block of positions that starts there. */
export class LensView {
  constructor(view, onBlock) {
    [this.view, this.words, this.onBlock] = [view, view.words, onBlock];
    this.now = this.chosen = null;
    this.cells = [];
    this.caption = h("p.faint", {}, this.words("lens_caption"));
    this.cannot = h("p.av-lens-cannot");
    this.back = this.turnButton("lens_before", "◂", -1);
    this.on = this.turnButton("lens_after", "▸", 1);
    this.where = h("span", { role: "status" });
    this.pages = h("div.row.av-lens-pages", {}, this.back, this.where, this.on, h("span.av-lens-scale"));
    this.grid = h("div.scroll.av-lens-scroll", { role: "region", tabindex: "-1" });
    this.detail = h("div.av-lens-detail", { "aria-live": "polite" });
    this.element = h("div.av-lens", {}, this.cannot, this.caption, this.pages, this.grid, this.detail);
    this.listen();
  }

  turnButton(name, sign, step) {
    const turn = () => this.onBlock(Math.max(0, this.now.first + step * this.now.block));
    return h("button", { type: "button", "aria-label": this.words(name), title: this.words(name), onclick: turn }, sign);
  }

  listen() {
    const cellOf = event => event.target.closest?.(".nk-av-lens-cell");
    const placeOf = cell => [Number(cell.dataset.row), Number(cell.dataset.column)];
    set(this.grid, {
      onclick: event => {
        const cell = cellOf(event);
        if (cell) { this.choose(...placeOf(cell)); cell.focus({ preventScroll: true }); }
      },
      onpointerover: event => { const cell = cellOf(event); if (cell) this.describe(...placeOf(cell)); },
      onpointerleave: () => { if (this.chosen) this.describe(...this.chosen); },
    });
    roving(this.grid, ".nk-av-lens-cell", { columns: () => this.now.count, onMove: cell => this.choose(...placeOf(cell)) });
  }

  /** Show this text instead of the lens; an empty text shows the lens. */
  refuse(text) {
    fill(this.cannot, text);
    this.cannot.hidden = !text;
    for (const part of [this.caption, this.pages, this.grid, this.detail]) part.hidden = Boolean(text);
  }

  draw(answer) {
    if (this.now?.answer === answer) return;
    const { values, buffers } = answer, labels = new Map(values.labels.map(([id, text, kind]) => [id, [text, kind]]));
    this.now = { ...values, answer, rows: values.layers.length + 1, labels, ids: intsOf(buffers[0]), chances: floatsOf(buffers[1]) };
    const had = this.grid.contains(document.activeElement);
    this.drawTable();
    this.drawPages();
    this.choose(this.now.rows - 1, this.now.count - 1);
    if (had) this.cells.at(-1).focus();
  }

  // The table -------------------------------------------------------------------------------------------------------------

  at(row, column) { return (row * this.now.count + column) * this.now.top; }

  nameOf(id) { return shownText(this.now.labels.get(id) ?? ["", 0]); }

  rowName(row) { return row === 0 ? this.words("lens_embeddings") : String(this.now.layers[row - 1]); }

  drawTable() {
    const { words, now } = this, heading = text => h("th", { scope: "col", role: "columnheader" }, text);
    this.cells = [];
    this.grid.setAttribute("aria-label", words("lens"));
    fill(this.grid, h("table.av-lens-table", { role: "grid", "aria-label": words("lens_grid") },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heading(words("layer")), now.read.map(token => heading(h("bdi", {}, shownText(token)))))),
      h("tbody", { role: "rowgroup" }, Array.from({ length: now.rows }, (_, row) => this.row(row)))));
  }

  row(row) {
    const isLast = row === this.now.rows - 1, name = this.rowName(row);
    return h(isLast ? "tr.av-lens-last" : "tr", { role: "row" },
      h("th", { scope: "row", role: "rowheader" }, isLast ? `${name} = ${this.words("lens_output")}` : name),
      Array.from({ length: this.now.count }, (_, column) => this.cell(row, column)));
  }

  cell(row, column) {
    const { now } = this, last = now.rows - 1, start = this.at(row, column), id = now.ids[start], chance = now.chances[start];
    const { back, ink } = colourOf(chance), agrees = id === now.ids[this.at(last, column)];
    const attributes = { role: "gridcell", tabindex: "-1", "data-row": row, "data-column": column, "aria-selected": "false", style: { "background-color": back, color: ink } };
    const cell = h(`td.av-lens-cell${agrees ? ".av-lens-agrees" : ""}`, attributes,
      h("span.av-lens-word", {}, h("bdi", {}, this.nameOf(id))), h("span.av-lens-chance", {}, percentOf(chance)),
      agrees && row !== last ? h("span.sr", {}, this.words("lens_agrees")) : null);
    this.cells.push(cell);
    return cell;
  }

  drawPages() {
    const { words, now } = this, colours = Array.from({ length: 16 }, (_, i) => h("span", { style: { "background-color": colourOf(i / 15).back } }));
    this.where.textContent = words("lens_where", { first: now.first, last: now.first + now.count - 1, all: now.positions });
    this.back.disabled = now.first === 0;
    this.on.disabled = now.first + now.count >= now.positions;
    this.back.hidden = this.on.hidden = now.positions <= now.block;
    fill(this.pages.lastChild, h("span", {}, "0%"), h("span.av-lens-colours", { "aria-hidden": "true" }, colours), h("span", {}, "100%"),
      h("span.av-lens-key", {}, h("span.av-lens-mark", { "aria-hidden": "true" }), words("lens_key")));
  }

  // A cell ----------------------------------------------------------------------------------------------------------------

  choose(row, column) {
    this.chosen = [row, column];
    for (const cell of this.cells) {
      const mine = Number(cell.dataset.row) === row && Number(cell.dataset.column) === column;
      cell.setAttribute("aria-selected", String(mine));
      cell.setAttribute("tabindex", mine ? "0" : "-1");
    }
    this.describe(row, column);
  }

  /** The likeliest tokens of a cell, below the table. */
  describe(row, column) {
    const { now, words } = this;
    if (!now) return;
    const start = this.at(row, column), most = now.chances[start] || 1;
    const title = words(row === now.rows - 1 ? "lens_at_last" : row === 0 ? "lens_at_first" : "lens_at", { layer: this.rowName(row) });
    const line = k => h("tr", {}, h("th", { scope: "row" }, h("bdi.mono", {}, this.nameOf(now.ids[start + k]))),
      h("td", {}, h("span.av-lens-bar", { "aria-hidden": "true" }, h("span", { style: { width: `${(100 * now.chances[start + k] / most).toFixed(1)}%` } })),
        h("span.mono", {}, now.chances[start + k].toFixed(6))));
    fill(this.detail,
      h("h4", {}, title, " ", h("bdi.mono.av-lens-read", {}, shownText(now.read[column])), h("span.faint", {}, ` (${words("lens_position", { position: now.first + column })})`)),
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("token")), h("th", { scope: "col" }, words("lens_probability")))),
        h("tbody", {}, Array.from({ length: now.top }, (_, k) => line(k)))));
  }
}

/** A token in readable form; kind 2 is a part of a character, written as bytes. */
function shownText([text, kind]) {
  return kind === 2 ? text : visible(text);
}

/** The int32 numbers in a buffer. */
function intsOf(view) {
  return new Int32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}
