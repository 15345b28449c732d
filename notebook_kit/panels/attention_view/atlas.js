// The atlas: every head of the model, one row per layer, as a thumbnail of its matrix or as the colour of a score.

import { colourScale, fill, h, roving, set, sharpCanvas, themed } from "../shared/common.js";
import { legend, pixelCanvas } from "./heatmap.js";
import { bytesOf } from "./positions.js";

const MARGIN = { left: 24, top: 18 };
const PADDING = 4;                         // left and right together, as in the style
const CELL = { least: 14, most: 84, height: 380 };   // CSS pixels; the last is of all rows together

/**
 * The atlas. `draw({ about, atlas, isMaps, score, state }, label)` shows it; `onShow(layer, head, add)` is called when a head is chosen,
 * `onLayer(layer)` for a whole layer.
 */
export class AtlasView {
  constructor(view, { onShow, onLayer }) {
    [this.view, this.onShow, this.onLayer] = [view, onShow, onLayer];
    this.canvas = h("canvas.av-atlas-canvas", { "aria-hidden": "true" });
    this.grid = h("div.av-grid", { role: "grid", "aria-multiselectable": "true" });
    this.element = h("div.av-atlas", {}, this.canvas, this.grid);
    this.range = h("div.av-range");
    this.now = this.thumbnails = this.thumbnailsOf = null;
    this.built = "";
    this.size = 24;
    this.listen();
    view.onResize(this.element, () => this.paint());
  }

  draw(next, label) {
    this.now = next;
    this.grid.setAttribute("aria-label", label);
    this.paint();
    this.mark();
  }

  listen() {
    const cellOf = event => event.target.closest(".nk-av-cell");
    const pick = (cell, event) => this.onShow(Number(cell.dataset.layer), Number(cell.dataset.head), event.shiftKey || event.ctrlKey || event.metaKey);
    set(this.grid, {
      onclick: event => {
        const cell = cellOf(event);
        if (cell) { this.rest(cell); pick(cell, event); }
      },
      onkeydown: event => {
        if (cellOf(event) && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); pick(cellOf(event), event); }
      },
    });
    roving(this.grid, ".nk-av-cell", { columns: () => (this.now ? Math.max(1, this.most) : 1) });
  }

  get cells() { return this.grid.querySelectorAll(".nk-av-cell"); }

  /** The maximum number of heads per layer. */
  get most() { return Math.max(...(this.view.model.get("_about")?.heads ?? [1])); }

  /** Make a cell the one that Tab reaches. */
  rest(cell) { for (const one of this.cells) one.setAttribute("tabindex", one === cell ? "0" : "-1"); }

  build() {
    const { most, size } = this, every = Math.ceil(20 / size), { words } = this.view;
    this.grid.style.setProperty("grid-template-columns", `${MARGIN.left}px repeat(${most}, ${size}px)`);
    const numbers = Array.from({ length: most }, (_, head) =>
      h("span.av-head", { role: "columnheader", "aria-label": `${words("head")} ${head}` }, head % every ? "" : String(head)));
    fill(this.grid,
      h("div.av-row", { role: "row" }, h("span.av-corner", { role: "columnheader" }, h("span.sr", {}, words("layer"))), numbers),
      this.now.about.layers.map((layer, at) => this.row(layer, this.now.about.heads[at])));
  }

  row(layer, heads) {
    const { words } = this.view, { most, size } = this;
    const name = this.now.state.ablating
      ? h("button", { type: "button", "aria-label": words("ablate_layer", { layer }), onclick: () => this.onLayer(layer) }, String(layer))
      : String(layer);
    return h("div.av-row", { role: "row" },
      h("span.av-layer", { role: "rowheader", "aria-label": `${words("layer")} ${layer}` }, name),
      Array.from({ length: heads }, (_, head) =>
        h("div.av-cell", { role: "gridcell", tabindex: "-1", "data-layer": layer, "data-head": head, style: { height: `${size}px` } })),
      heads < most ? h("span", { role: "gridcell", style: { "grid-column": `span ${most - heads}` } }) : null);
  }

  /** Mark the heads that are shown, and those that are off. */
  mark() {
    const { state, score } = this.now, { words } = this.view, off = new Set(state.ablated.map(String)), shown = new Set(state.shown.map(String));
    let stop = null;
    for (const cell of this.cells) {
      const layer = Number(cell.dataset.layer), head = Number(cell.dataset.head), isOff = off.has(String([layer, head]));
      cell.setAttribute("aria-selected", String(shown.has(String([layer, head]))));
      cell.classList.toggle("nk-av-off", isOff);
      const value = score ? `, ${score.name} ${shortScore(score.of(layer, head))}` : "";
      const name = words("cell", { layer, head }) + value + (isOff ? `, ${words("cell_off")}` : "");
      cell.setAttribute("aria-label", name);
      cell.setAttribute("title", name);
      if (layer === state.layer && head === state.heads[0]) stop = cell;
    }
    if (!this.grid.contains(document.activeElement) && stop) this.rest(stop);
  }

  paint() {
    if (!this.now || !this.element.isConnected) return;
    const { about, atlas, score, state } = this.now, room = Math.max(180, this.element.clientWidth);
    const high = Math.max(30, Math.floor(CELL.height / about.layers.length));
    const fitted = Math.max(CELL.least, Math.min(CELL.most, high, Math.floor((room - MARGIN.left - PADDING) / this.most)));
    const key = JSON.stringify([about.version, fitted, state.ablating, this.view.root.lang]);
    if (key !== this.built) { this.size = fitted; this.build(); this.mark(); this.built = key; }
    const context = sharpCanvas(this.canvas, MARGIN.left + this.most * this.size, MARGIN.top + about.layers.length * this.size);
    fill(this.range);
    if (score) this.paintScores(context);
    else if (atlas) this.paintThumbnails(context);
  }

  /** Call `put(layer, head, x, y)` for every head. */
  each(put) {
    const { layers, heads } = this.now.about;
    layers.forEach((layer, at) => {
      for (let head = 0; head < heads[at]; head++) put(layer, head, MARGIN.left + head * this.size, MARGIN.top + at * this.size);
    });
  }

  paintScores(context) {
    const { score } = this.now, { size } = this, values = [], colours = colourScale();
    this.each((layer, head) => { const value = score.of(layer, head); if (Number.isFinite(value)) values.push(value); });
    const low = Math.min(...values), high = Math.max(...values);
    if (values.length) fill(this.range, legend(shortScore(low), shortScore(high), false));
    this.each((layer, head, x, y) => {
      const value = score.of(layer, head);
      if (!Number.isFinite(value)) {
        context.strokeStyle = themed(this.view.root, "--nk-line");
        context.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
        return;
      }
      context.fillStyle = `rgb(${colours[high > low ? Math.round((value - low) / (high - low) * 255) : 0].join(",")})`;
      context.fillRect(x + 1, y + 1, size - 2, size - 2);
    });
  }

  paintThumbnails(context) {
    const { atlas } = this.now, { size } = this, [height, width] = atlas.values.size;
    if (this.thumbnailsOf !== atlas) {
      const count = atlas.values.heads.reduce((a, b) => a + b, 0);
      this.thumbnails = pixelCanvas(bytesOf(atlas.buffers[0]), height * count, width, atlas.values.signed);
      this.thumbnailsOf = atlas;
    }
    context.imageSmoothingEnabled = Math.max(width, height) > size;   // small matrices keep sharp cells
    context.imageSmoothingQuality = "high";
    const { isMaps, about } = this.now, isSound = Boolean((about.to_tokens ?? about.tokens).span);
    const longest = Math.max(width, height), keeps = isMaps && !isSound;   // maps keep the proportions of the picture
    const [wide, high] = [width, height].map(side => (keeps ? (size - 2) * side / longest : size - 2));
    let number = 0;
    this.each((_layer, _head, x, y) => context.drawImage(this.thumbnails, 0, height * number++, width, height,
      x + 1 + (size - 2 - wide) / 2, y + 1 + (size - 2 - high) / 2, wide, high));
  }
}

/** A score as text for the table and the atlas. */
export function shortScore(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace("-", "−") : "–";
}
