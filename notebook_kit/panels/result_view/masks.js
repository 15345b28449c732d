// Segments over a picture: coloured masks, of which one can be lit.

import { h } from "../shared/common.js";
import { Picture, named } from "./picture.js";

const OPACITY = 0.55;
const DIMMED = 70;      // alpha, of 255, while another segment is lit

export class MaskStage {
  constructor(view, { things, colours, size, mask_size: [width, height], lengths }, [picture, packed], { onPoint, onPick }) {
    Object.assign(this, { things, width, height });
    this.colours = colours.map(colour => [1, 3, 5].map(k => parseInt(colour.slice(k, k + 2), 16)));
    this.runs = unpacked(packed, lengths);
    this.order = things.map((_, i) => i).sort((a, b) => things[b].area - things[a].area);   // the smaller ones are on top
    this.map = new Int16Array(width * height).fill(-1);   // pixel -> the segment that is seen there
    this.canvas = h("canvas.rv-masks", { width, height, style: { opacity: String(OPACITY) } });
    this.edge = h("canvas.rv-masks", { width, height });
    const label = view.words("alt_segments", { listed: things.slice(0, 10).map(one => one.label).join(", ") });
    this.picture = new Picture(picture, size, label, {
      onPoint: (x, y) => this.point(x === null ? null : this.at(x, y), onPoint),
      onClick: (x, y) => onPick(this.at(x, y)),
    });
    this.picture.cover(this.canvas, this.edge);
    this.pictured = this.picture.element;
    this.element = h("div.rv-masked", {}, this.picture.element, this.opacity(view));
    this.drawn = "";
  }

  opacity(view) {
    const input = h("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(OPACITY) });
    input.addEventListener("input", () => { this.canvas.style.opacity = input.value; });
    return h("label.rv-slider", {}, h("span.faint", {}, view.words("opacity")), input);
  }

  /** The segment at a place; null for none. */
  at(x, y) {
    const column = Math.floor(x * this.width), row = Math.floor(y * this.height);
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return null;
    const i = this.map[row * this.width + column];
    return i < 0 ? null : i;
  }

  point(i, onPoint) {
    this.picture.say(i === null ? null : named(this.things[i]));
    onPoint(i);
  }

  update({ visible, lit }) {
    const key = `${visible.map(Number).join("")} ${lit}`;
    if (key === this.drawn) return;
    this.drawn = key;
    const image = new ImageData(this.width, this.height), pixels = new Uint32Array(image.data.buffer);
    this.map.fill(-1);
    for (const i of this.order) {
      if (!visible[i]) continue;
      const [red, green, blue] = this.colours[i], alpha = lit === null || lit === i ? 255 : DIMMED;
      const pixel = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;   // little-endian, as every browser's machine
      for (const [start, end] of this.runs[i]) { pixels.fill(pixel, start, end); this.map.fill(i, start, end); }
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    this.paintEdge(lit);
  }

  /** The border of the lit segment: white inside, black outside. */
  paintEdge(lit) {
    const { width, height } = this, context = this.edge.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (lit === null) return;
    const inside = new Uint8Array(width * height), image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    for (const [start, end] of this.runs[lit]) inside.fill(1, start, end);
    const reach = Math.max(1, Math.round(width / 400));
    const paint = (row, column, from) => {
      for (let y = Math.max(0, row - reach); y <= Math.min(height - 1, row + reach); y++)
        for (let x = Math.max(0, column - reach); x <= Math.min(width - 1, column + reach); x++)
          pixels[y * width + x] = inside[y * width + x] === from ? 0xffffffff : 0xff000000;
    };
    for (let row = 0; row < height; row++)
      for (let column = 0; column < width; column++) {
        const at = row * width + column;
        if (inside[at] && (!column || !row || column === width - 1 || row === height - 1
          || !inside[at - 1] || !inside[at + 1] || !inside[at - width] || !inside[at + width])) paint(row, column, 1);
      }
    context.putImageData(image, 0, 0);
  }

  end() { this.picture.end(); }
}

/** The runs of each mask as `[start, end]`, from LEB128 numbers: the lengths of runs outside, inside, outside, ... */
function unpacked(data, lengths) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength), masks = [];
  let at = 0;
  for (const length of lengths) {
    const runs = [], stop = at + length;
    let place = 0, isInside = false;
    while (at < stop) {
      let value = 0, shift = 0, byte;
      do { byte = bytes[at++]; value += (byte & 127) * 2 ** shift; shift += 7; } while (byte & 128);
      if (isInside) runs.push([place, place + value]);
      place += value;
      isInside = !isInside;
    }
    masks.push(runs);
  }
  return masks;
}
