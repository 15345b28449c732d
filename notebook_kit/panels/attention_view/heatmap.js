// A matrix of weights as a heat map on a canvas: zoom, a cursor, hover.

import { colourScale, h, set, sharpCanvas, themed } from "../shared/common.js";

const DIVERGING = [[127, 59, 8], [179, 88, 6], [224, 130, 20], [253, 184, 99], [254, 224, 182], [247, 247, 247], [209, 229, 240],
  [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]];

const lookups = new Map();

/** 256 colours as `[r, g, b]`, from low to high, or from negative to positive. */
export function coloursOf(signed) {
  if (!signed) return colourScale();
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (DIVERGING.length - 1), low = Math.min(Math.floor(place), DIVERGING.length - 2);
    return DIVERGING[low].map((v, k) => Math.round(v + (DIVERGING[low + 1][k] - v) * (place - low)));
  });
}

/** The same colours as pixels (ABGR, the format of canvases). */
function pixelColours(signed) {
  if (!lookups.has(signed))
    lookups.set(signed, Uint32Array.from(coloursOf(signed), ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0));
  return lookups.get(signed);
}

/** Bytes as a canvas with one pixel per weight; weights below `least` (a fraction of the scale) are drawn as zero. */
export function pixelCanvas(bytes, rows, columns, signed, least = 0) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer), colours = pixelColours(signed);
  const zero = signed ? 128 : 0, limit = least * (signed ? 127 : 255);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[Math.abs(bytes[i] - zero) < limit ? zero : bytes[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A legend for the colour scale. */
export function legend(low, high, signed) {
  const canvas = h("canvas.av-legend", { "aria-hidden": "true", width: 256, height: 1 });
  const image = new ImageData(256, 1);
  new Uint32Array(image.data.buffer).set(pixelColours(signed));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return h("span.av-scale", {}, h("span", {}, low), canvas, h("span", {}, high));
}

const AXIS = 18;                           // CSS pixels of the name of an axis
const LARGEST_CELL = 26;                   // CSS pixels
const ROOM = { least: 220, most: 620, height: 460 };

/**
 * A heat map. `draw(look, names, { least, lit, sides }, label)` shows a matrix; `onCell(i, j)` is called for the cell under the pointer or
 * the cursor, `onPick(i, j)` when one is chosen.
 */
export class HeatMap {
  constructor(view, { onCell = () => {}, onPick = () => {} } = {}) {
    [this.view, this.onCell, this.onPick] = [view, onCell, onPick];
    this.canvas = h("canvas.av-map", { role: "application", tabindex: "0" });
    this.element = h("div.av-map-host", {}, this.canvas);
    this.look = this.names = this.pixels = this.cursor = this.dragged = null;
    this.marks = { least: 0, lit: [], sides: { rows: "", columns: "" } };
    this.fitView();
    this.listen();
    view.onResize(this.element, () => this.paint());
  }

  /** Show a matrix. */
  draw(look, names, marks, label) {
    const resized = !this.look || this.look.R !== look.R || this.look.C !== look.C;
    if (look !== this.look || marks.least !== this.marks.least) this.pixels = pixelCanvas(look.bytes, look.R, look.C, look.signed, marks.least);
    [this.look, this.names, this.marks] = [look, names, marks];
    if (resized) { this.fitView(); this.cursor = null; }
    this.canvas.setAttribute("aria-label", label);
    this.paint();
  }

  // Zoom and scrolling ----------------------------------------------------------------------------------------------------

  /** Fit the whole matrix: `zoom` is relative to that, `left` and `top` are the first column and row, as fractions. */
  fitView() { this.zoom = 1; this.left = this.top = 0; }

  fit() { this.fitView(); this.paint(); }

  get seen() { return { columns: this.look.C / this.zoom, rows: this.look.R / this.zoom }; }

  /** The side of a cell on the screen. */
  get size() { return this.cell * this.zoom; }

  measure() {
    const { R, C } = this.look, room = Math.max(ROOM.least, Math.min(this.element.clientWidth || 480, ROOM.most));
    const fitted = Math.min(LARGEST_CELL, (room - 104 - AXIS) / C, ROOM.height / R), named = fitted * this.zoom >= 9;
    const marginRight = named ? 20 : 2;    // the slanted name of the last column needs it
    this.marginLeft = (named ? 84 : 30) + AXIS;
    this.marginTop = (named ? 64 : 20) + AXIS;
    this.cell = Math.min(LARGEST_CELL, (room - this.marginLeft - marginRight) / C, Math.max(ROOM.height / R, 1e-6));
    this.mapWidth = C * this.cell;
    this.width = Math.ceil(this.marginLeft + this.mapWidth + marginRight);
    this.height = Math.ceil(this.marginTop + R * this.cell);
    this.left = Math.max(0, Math.min(this.left, C - this.seen.columns));
    this.top = Math.max(0, Math.min(this.top, R - this.seen.rows));
  }

  moveTo(i, j) {
    const { R, C } = this.look, { rows, columns } = this.seen;
    const row = Math.max(0, Math.min(R - 1, i)), column = Math.max(0, Math.min(C - 1, j));
    if (column < this.left) this.left = column; else if (column >= this.left + columns) this.left = column - columns + 1;
    if (row < this.top) this.top = row; else if (row >= this.top + rows) this.top = row - rows + 1;
    this.pointAt([row, column]);
  }

  pointAt(cell) {
    this.cursor = cell;
    this.paint();
    this.onCell(...cell);
  }

  zoomBy(factor, at = null) {
    if (!this.look) return;
    const { R, C } = this.look, { rows, columns } = this.seen;
    const [i, j] = at ?? this.cursor ?? [this.top + rows / 2, this.left + columns / 2];
    const wanted = Math.max(1, Math.min(Math.max(R, C) / 4, this.zoom * factor)) || 1;
    this.left = j - (j - this.left) * (this.zoom / wanted);
    this.top = i - (i - this.top) * (this.zoom / wanted);
    this.zoom = Math.max(1, wanted);
    this.paint();
  }

  // Painting --------------------------------------------------------------------------------------------------------------

  paint() {
    if (!this.look || !this.element.isConnected) return;
    this.measure();
    const { size, marginLeft, marginTop, seen } = this, context = sharpCanvas(this.canvas, this.width, this.height);
    context.clearRect(0, 0, this.width, this.height);
    context.imageSmoothingEnabled = size * (window.devicePixelRatio || 1) < 1;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.pixels, this.left, this.top, seen.columns, seen.rows, marginLeft, marginTop, seen.columns * size, seen.rows * size);
    this.paintSides(context);
    this.paintNames(context);
    this.paintMarks(context);
  }

  /** What the rows and the columns do: "looks" beside the rows, "is looked at" above the columns. */
  paintSides(context) {
    const { rows, columns } = this.marks.sides, { marginLeft, marginTop } = this;
    context.font = `italic 12px ${getComputedStyle(this.view.root).fontFamily}`;
    context.fillStyle = themed(this.view.root, "--nk-faint");
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillText(`${columns} →`, marginLeft, 8);
    context.save();
    context.translate(8, marginTop);
    context.rotate(Math.PI / 2);
    context.fillText(`${rows} →`, 0, 0);
    context.restore();
  }

  /** The names of rows and columns, or numbers at some of them if names do not fit. */
  paintNames(context) {
    const { size, marginLeft, marginTop, look, names } = this, every = size >= 9 ? 1 : Math.ceil(48 / size);
    context.font = `${Math.min(12, Math.max(9, size - 2))}px ${getComputedStyle(this.view.root).fontFamily}`;
    context.fillStyle = themed(this.view.root, "color") || themed(this.view.root, "--nk-text");
    context.textBaseline = "middle";
    const along = (count, first, seen, put) => {
      for (let i = Math.max(0, Math.ceil(first - 0.5)); i < first + seen - 0.3 && i < count; i++) if (i % every === 0) put(i);
    };
    along(look.R, this.top, this.seen.rows, i => {
      const y = marginTop + (i - this.top + 0.5) * size;
      if (y < marginTop + 3) return;
      context.textAlign = "right";
      context.fillText(every > 1 ? String(i) : clipped(context, names.row(i), marginLeft - AXIS - 8), marginLeft - 6, y);
    });
    along(look.C, this.left, this.seen.columns, j => {
      const x = marginLeft + (j - this.left + 0.5) * size;
      if (x < marginLeft + 3) return;
      context.save();
      context.translate(x, marginTop - 5);
      if (every > 1) { context.textAlign = "center"; context.fillText(String(j), 0, -6); }
      else { context.rotate(-Math.PI / 2.6); context.textAlign = "left"; context.fillText(clipped(context, names.column(j), marginTop - AXIS), 0, 0); }
      context.restore();
    });
  }

  /** The selected rows and the cursor. */
  paintMarks(context) {
    const { size, marginLeft, marginTop } = this, lit = new Set(this.marks.lit);
    const y = i => marginTop + (i - this.top) * size;
    context.save();
    context.beginPath();
    context.rect(0, marginTop, marginLeft + this.mapWidth + 2, this.height - marginTop);
    context.clip();
    context.fillStyle = context.strokeStyle = themed(this.view.root, "--nk-accent");
    context.lineWidth = 1.5;
    for (const i of lit) context.fillRect(marginLeft - 4, y(i), 3, Math.max(1, size));
    for (const i of lit) if (size > 3) context.strokeRect(marginLeft, y(i), this.seen.columns * size, size);
    if (this.cursor) {
      const [i, j] = this.cursor, x = marginLeft + (j - this.left) * size, box = Math.max(size, 5);
      for (const [style, line] of [["#000000", 3], ["#ffffff", 1.5]]) {
        context.strokeStyle = style;
        context.lineWidth = line;
        context.strokeRect(x - 1, y(i) - 1, box + 2, box + 2);
      }
    }
    context.restore();
  }

  // Mouse and keys --------------------------------------------------------------------------------------------------------

  listen() {
    set(this.canvas, {
      onpointermove: event => this.onMove(event),
      onpointerdown: event => {
        if (!this.look || event.button !== 0) return;
        this.dragged = { x: event.clientX, y: event.clientY, left: this.left, top: this.top, far: false };
        this.canvas.setPointerCapture(event.pointerId);
      },
      onpointerup: event => {
        const found = this.look && this.cellAt(event);
        if (this.dragged && !this.dragged.far && found) { this.pointAt(found); this.onPick(...found); }
        this.dragged = null;
      },
      onpointercancel: () => { this.dragged = null; },
      onwheel: event => {
        if (!this.look || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        this.zoomBy(event.deltaY < 0 ? 1.25 : 0.8, this.cellAt(event));
      },
      onkeydown: event => this.onKey(event),
    });
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect(), x = event.clientX - box.left - this.marginLeft, y = event.clientY - box.top - this.marginTop;
    const j = Math.floor(this.left + x / this.size), i = Math.floor(this.top + y / this.size);
    return x < 0 || y < 0 || i < 0 || j < 0 || i >= this.look.R || j >= this.look.C ? null : [i, j];
  }

  onMove(event) {
    if (!this.look) return;
    const { dragged } = this;
    if (dragged) {
      this.left = dragged.left - (event.clientX - dragged.x) / this.size;
      this.top = dragged.top - (event.clientY - dragged.y) / this.size;
      dragged.far ||= Math.hypot(event.clientX - dragged.x, event.clientY - dragged.y) > 4;
      this.paint();
      return;
    }
    const found = this.cellAt(event);
    if (found && String(found) !== String(this.cursor)) this.pointAt(found);
  }

  onKey(event) {
    if (!this.look || event.altKey || event.ctrlKey || event.metaKey) return;
    const [i, j] = this.cursor ?? [-1, 0], far = event.shiftKey ? 10 : 1;
    const moves = { ArrowUp: [Math.max(0, i) - far, j], ArrowDown: [i + far, j], ArrowLeft: [Math.max(0, i), j - far], ArrowRight: [Math.max(0, i), j + far] };
    if (event.key in moves) this.moveTo(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.onPick(...this.cursor);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** A text shortened to a width on a canvas. */
function clipped(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  const characters = [...text];
  while (characters.length > 1 && context.measureText(characters.join("") + "…").width > room) characters.pop();
  return characters.join("") + "…";
}
