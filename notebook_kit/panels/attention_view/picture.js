// The head view for axes with a picture: choose a patch on the left, see on the right what it attends to.

import { fill, h, set, sharpCanvas, themed } from "../shared/common.js";
import { coloursOf } from "./heatmap.js";

const OPACITY = 0.64;
const LARGEST = 380;                       // CSS pixels of a picture's longer side
const SMALLEST = 120;
const LEAST_TOP = 0.02;                    // of the largest weight: negligible weights stay dark

/** The box around each group of positions, `[left, top, right, bottom]` as fractions of the picture; null if it is not on it. */
function boxesOf(axis, groups) {
  return groups.map(group => {
    const sides = group.map(i => axis.boxes?.[i]).filter(Boolean);
    if (!sides.length) return null;
    const side = (k, choose) => choose(...sides.map(box => box[k]));
    return [side(0, Math.min), side(1, Math.min), side(2, Math.max), side(3, Math.max)];
  });
}

/** An image element from the bytes of a picture. */
function imageOf(data, onLoad) {
  const image = new Image();
  const address = URL.createObjectURL(new Blob([data]));
  image.onload = () => { URL.revokeObjectURL(address); onLoad(); };
  image.src = address;
  return image;
}

/** One side: the picture as a canvas, and positions that are not on it (a class token, queries) as buttons above it. */
class Side {
  constructor(view, name, paint) {
    this.view = view;
    this.boxes = [];
    this.image = null;
    this.caption = h("figcaption");
    this.tokens = h("div.av-chips", { role: "group" });
    this.canvas = h("canvas.av-picture-canvas", name === "from" ? { role: "application", tabindex: "0" } : { role: "img" });
    this.host = h("div.av-picture-host", {}, this.canvas);
    this.element = h("figure.av-picture-side", { "data-side": name }, this.caption, this.tokens, this.host);
    this.paint = paint;
    this.key = "";
  }

  /** Set the axis; its picture is loaded once. */
  take(axis, groups, labels, version) {
    const key = JSON.stringify([version, groups]);
    if (key === this.key) return;
    this.key = key;
    this.boxes = boxesOf(axis, groups);
    if (this.version !== version) this.image = axis.picture ? imageOf(axis.picture, this.paint) : null;
    this.version = version;
    this.host.hidden = !this.boxes.some(Boolean);
    fill(this.tokens, this.boxes.map((box, i) => box ? null
      : h("button.av-chip", { type: "button", "data-i": i, "aria-pressed": "false" }, h("span.av-label", {}, labels(i)), h("span.av-value", {}))));
    this.tokens.hidden = !this.tokens.children.length;
  }

  /** Height divided by width. */
  get aspect() {
    if (this.image?.naturalWidth) return this.image.naturalHeight / this.image.naturalWidth;
    const box = this.boxes.find(Boolean);
    return box ? (box[2] - box[0]) / (box[3] - box[1]) : 1;
  }

  /** Clear the canvas and draw the picture, in grey if weights are drawn over it. */
  start(isGrey) {
    const room = Math.max(SMALLEST, Math.min(LARGEST, this.element.clientWidth || LARGEST));
    const width = Math.round(Math.min(room, LARGEST / Math.max(1, this.aspect))), height = Math.round(width * this.aspect);
    const context = sharpCanvas(this.canvas, width, height);
    [this.width, this.height] = [width, height];
    context.fillStyle = themed(this.view.root, "--nk-raised");
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    if (isGrey) context.filter = "grayscale(1)";
    if (this.image?.naturalWidth) context.drawImage(this.image, 0, 0, width, height);
    context.filter = "none";
    return context;
  }

  rectangle(i) {
    const [left, top, right, bottom] = this.boxes[i].map((side, k) => Math.round(side * (k % 2 ? this.height : this.width)));   // no seams
    return [left, top, right - left, bottom - top];
  }

  /** Draw a frame around a box that is visible on any picture. */
  frame(context, i, colour) {
    if (!this.boxes[i]) return;
    for (const [style, line] of [["#000000", 5], ["#ffffff", 3.4], [colour, 1.6]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.strokeRect(...this.rectangle(i));
    }
  }

  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width, y = (event.clientY - frame.top) / frame.height;
    const found = this.boxes.findIndex(box => box && x >= box[0] && x < box[2] && y >= box[1] && y < box[3]);
    return found < 0 ? null : found;
  }

  /** The box next to box i in a direction: the nearest, with sideways distance counting more. */
  next(i, [dx, dy]) {
    const centre = box => [(box[0] + box[2]) / 2, ((box[1] + box[3]) / 2) * this.aspect];
    if (i === null || !this.boxes[i]) return this.boxes.findIndex(Boolean);
    const [x, y] = centre(this.boxes[i]);
    let best = i, least = Infinity;
    this.boxes.forEach((box, k) => {
      if (!box || k === i) return;
      const [u, v] = centre(box), ahead = (u - x) * dx + (v - y) * dy, aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      if (ahead > 1e-6 && ahead + 3 * aside < least) [best, least] = [k, ahead + 3 * aside];
    });
    return best;
  }
}

/**
 * The picture view. `onPoint(i)` is called for the row under the pointer or in focus (or null), `onPick(i)` when one is chosen,
 * `onRead(j)` for the column under the pointer.
 */
export class PictureView {
  constructor(view, { onPoint, onPick, onRead }) {
    [this.view, this.onPoint, this.onPick, this.onRead] = [view, onPoint, onPick, onRead];
    const paint = () => this.paint();
    this.from = new Side(view, "from", paint);
    this.to = new Side(view, "to", paint);
    this.element = h("div.av-picture", { hidden: true }, this.from.element, this.to.element);
    this.pointed = null;
    this.values = null;
    this.look = null;
    this.listen();
    view.onResize(this.element, paint);
  }

  listen() {
    const button = event => { const found = event.target.closest?.(".nk-av-chip"); return found ? Number(found.dataset.i) : null; };
    set(this.from.canvas, {
      onpointermove: event => this.point(this.from.at(event)),
      onpointerleave: () => this.point(null),
      onclick: event => { const i = this.from.at(event); if (i !== null) this.onPick(i); },
      onkeydown: event => this.onKey(event),
      onblur: () => this.point(null),
    });
    set(this.from.tokens, {
      onpointerover: event => { if (button(event) !== null) this.point(button(event)); },
      onpointerleave: () => this.point(null),
      onfocusin: event => { if (event.target.matches(":focus-visible")) this.point(button(event)); },
      onfocusout: () => this.point(null),
      onclick: event => { if (button(event) !== null) this.onPick(button(event)); },
    });
    this.to.canvas.addEventListener("pointermove", event => { const j = this.to.at(event); if (j !== null) this.onRead(j); });
    this.to.tokens.addEventListener("pointerover", event => { if (button(event) !== null) this.onRead(button(event)); });
  }

  point(i) {
    if (i === this.pointed) return;
    this.pointed = i;
    this.paint();
    this.onPoint(i);
  }

  onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) this.point(this.from.next(this.pointed, moves[event.key]));
    else if ((event.key === "Enter" || event.key === " ") && this.pointed !== null) this.onPick(this.pointed);
    else if (event.key === "Escape") this.point(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Show a matrix; `captions` are the texts for the two sides; weights below `least`, a fraction of the scale, are not drawn. */
  draw(look, names, { axes: [rows, columns], version, lit, least }, captions) {
    [this.look, this.lit, this.least] = [look, lit, least];
    this.from.take(rows, look.rows, names.row, version);
    this.to.take(columns, look.columns, names.column, version);
    fill(this.from.caption, captions.from);
    fill(this.to.caption, captions.to);
    this.from.canvas.setAttribute("aria-label", captions.label);
    this.from.tokens.setAttribute("aria-label", captions.from);
    this.to.tokens.setAttribute("aria-label", captions.to);
    this.paint();
  }

  /** Colour the right side by these weights. */
  shade(values, label) {
    this.values = values;
    this.to.canvas.setAttribute("aria-label", label);
    this.paint();
  }

  /** The canvases, for export. */
  get canvases() { return [this.from, this.to].filter(side => !side.host.hidden).map(side => ({ canvas: side.canvas })); }

  /** The weight of the brightest colour: the largest on the picture, unless almost all attention is outside it. */
  get top() {
    const sizes = (this.values ?? []).map(Math.abs), shown = sizes.filter((_, j) => this.to.boxes[j]);
    return Math.max(0, ...shown, LEAST_TOP * Math.max(0, ...sizes));
  }

  paint() {
    if (!this.look || !this.element.isConnected || this.element.hidden) return;
    this.paintFrom();
    this.paintTo();
  }

  paintFrom() {
    const context = this.from.start(false), accent = themed(this.view.root, "--nk-accent");
    for (const i of this.lit) this.from.frame(context, i, accent);
    if (this.pointed !== null) this.from.frame(context, this.pointed, "#000000");
    for (const one of this.from.tokens.children) one.setAttribute("aria-pressed", String(this.lit.includes(Number(one.dataset.i))));
  }

  paintTo() {
    const { to, values, look } = this, context = to.start(true), colours = coloursOf(look.signed), top = this.top || 1;
    values?.forEach((value, j) => {
      if (!to.boxes[j] || Math.abs(value) < this.least * look.scale) return;
      const part = look.signed ? 0.5 + value / top / 2 : value / top;
      context.globalAlpha = OPACITY;
      context.fillStyle = `rgb(${colours[Math.round(255 * Math.max(0, Math.min(1, part)))].join(" ")})`;
      context.fillRect(...to.rectangle(j));
    });
    context.globalAlpha = 1;
    for (const one of to.tokens.children) {
      const value = values?.[Number(one.dataset.i)];
      one.style.setProperty("--part", value === undefined ? "0" : String(Math.min(1, Math.abs(value))));
      one.lastChild.textContent = value === undefined ? "" : value.toFixed(3).replace("-", "−");
    }
  }
}
