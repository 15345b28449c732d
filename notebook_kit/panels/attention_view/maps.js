// All heads of a layer over the picture, as small multiples: where the selected patches, or the class token, look in each.

import { fill, h, roving, set, sharpCanvas, themed } from "../shared/common.js";
import { pixelCanvas } from "./heatmap.js";
import { imageOf, OPACITY } from "./picture.js";
import { bytesOf } from "./positions.js";

const SOUND_ASPECT = 0.5;                  // of a spectrogram
const TILE = { least: 92, most: 168 };     // CSS pixels of the longer side of a picture

/** The small multiples. `draw(answer, { about, layer, picture, isShown }, { title, note })`; `onShow(layer, head, add)` when one is chosen. */
export class MapsView {
  constructor(view, { onShow }) {
    [this.view, this.onShow] = [view, onShow];
    this.heading = h("p.av-maps-title");
    this.grid = h("div.av-maps-grid", { role: "group" });
    this.note = h("p.faint");
    this.element = h("div.av-maps", { hidden: true }, this.heading, this.grid, this.note);
    this.now = this.image = this.version = null;
    this.listen();
    view.onResize(this.element, () => this.paint());
  }

  get canvases() { return [...this.grid.children].map((tile, head) => ({ canvas: tile.firstChild, label: `${this.view.words("head")} ${head}` })); }

  get title() { return this.heading.textContent; }

  listen() {
    set(this.grid, { onclick: event => {
      const tile = event.target.closest(".nk-av-tile");
      if (tile) this.onShow(this.now.layer, Number(tile.dataset.head), event.shiftKey || event.ctrlKey || event.metaKey);
    } });
    roving(this.grid, ".nk-av-tile", { columns: () => Math.max(1, getComputedStyle(this.grid).gridTemplateColumns.split(" ").length) });
  }

  draw(answer, now, { title, note }) {
    const { about, layer, picture } = now, { size: [R, C], signed, heads } = answer.values;
    const at = about.layers.indexOf(layer), before = heads.slice(0, at).reduce((sum, count) => sum + count, 0);
    const bytes = bytesOf(answer.buffers[0]).subarray(before * R * C, (before + heads[at]) * R * C);
    this.now = { ...now, R, C, count: heads[at], colours: pixelCanvas(bytes, R * heads[at], C, signed) };
    if (this.picture !== picture || this.version !== about.version) this.image = picture ? imageOf(picture, () => this.paint()) : null;
    [this.picture, this.version] = [picture, about.version];
    this.heading.textContent = title;
    this.note.textContent = note;
    this.grid.setAttribute("aria-label", title);
    if (this.grid.children.length !== heads[at]) fill(this.grid, Array.from({ length: heads[at] }, (_, head) => this.tile(head)));
    [...this.grid.children].forEach((tile, head) => {
      tile.setAttribute("aria-pressed", String(now.isShown(head)));
      tile.setAttribute("aria-label", this.view.words("show_head", { layer, head }));
    });
    this.paint();
  }

  tile(head) {
    return h("button.av-tile", { type: "button", "data-head": head, tabindex: head ? "-1" : "0" },
      h("canvas", { "aria-hidden": "true" }), h("span", {}, `${this.view.words("head")} ${head}`));
  }

  /** Height divided by width. */
  get aspect() {
    const { R, C, about } = this.now;
    if ((about.to_tokens ?? about.tokens).span) return SOUND_ASPECT;
    return this.image?.naturalWidth ? this.image.naturalHeight / this.image.naturalWidth : R / C;
  }

  paint() {
    if (!this.now || this.element.hidden || !this.element.isConnected) return;
    const { R, C, about, colours } = this.now, axis = about.to_tokens ?? about.tokens;
    const boxes = axis.boxes.filter(Boolean), right = Math.max(...boxes.map(box => box[2])), lower = Math.max(...boxes.map(box => box[3]));
    const room = (this.element.clientWidth || 600) / Math.min(6, this.now.count) - 22;
    const width = Math.round(Math.max(TILE.least, Math.min(TILE.most, room)) / Math.max(1, this.aspect)), height = Math.round(width * this.aspect);
    this.grid.style.setProperty("--tile", `${width}px`);
    [...this.grid.children].forEach((tile, head) => {
      const context = sharpCanvas(tile.firstChild, width, height);
      context.fillStyle = themed(this.view.root, "--nk-raised");
      context.fillRect(0, 0, width, height);
      context.filter = "grayscale(1)";
      context.imageSmoothingQuality = "high";
      if (this.image?.naturalWidth) context.drawImage(this.image, 0, 0, width, height);
      context.filter = "none";
      context.globalAlpha = OPACITY;
      context.imageSmoothingEnabled = false;
      context.drawImage(colours, 0, head * R, C, R, 0, 0, width * right, height * lower);
    });
  }
}
