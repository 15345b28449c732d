// The head view for axes with a picture: choose a patch on the left, see on the right what it attends to.

import { fill, h, set, sharpCanvas, themed } from "../shared/common.js";
import { coloursOf } from "./heatmap.js";

export const OPACITY = 0.54;               // of the colours over the picture
const BRIGHT = 0.2;                        // added for the largest weight
const LARGEST = 380;                       // CSS pixels of a picture's longer side
const SMALLEST = 120;
const LEAST_TOP = 0.02;                    // of the largest weight: negligible weights stay dark
const NOTHING = 1e-20;                     // weights across the edge of a window
const LEAST_CELL = 9;                      // CSS pixels of a patch from which the grid is drawn
const STRIP = { frames: 84, patches: 130, widest: 900, ticks: 16, tick: 70 };   // CSS pixels of a spectrogram and of its seconds

/** The bounding box of each group of positions, `[left, top, right, bottom]` as fractions of the picture; null if it has none. */
function boxesOf(boxes, groups) {
  return groups.map(group => {
    const sides = group.map(i => boxes?.[i]).filter(Boolean);
    if (!sides.length) return null;
    const side = (k, choose) => choose(...sides.map(box => box[k]));
    return [side(0, Math.min), side(1, Math.min), side(2, Math.max), side(3, Math.max)];
  });
}

/** An image element from the bytes of a picture. */
export function imageOf(data, onLoad) {
  const image = new Image();
  const address = URL.createObjectURL(new Blob([data]));
  image.onload = () => { URL.revokeObjectURL(address); onLoad(); };
  image.src = address;
  return image;
}

/** Seconds at which a scale has its marks, at most so many. */
function ticksOf([begin, end], most) {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10].find(one => (end - begin) / one <= most) ?? 20;
  return Array.from({ length: Math.floor((end - begin) / step + 1e-6) + 1 }, (_, i) => Number((begin + i * step).toFixed(2)));
}

/** One side: the picture as a canvas, and positions that are not on it (a class token, queries) as buttons above it. */
class Side {
  constructor(view, name, paint) {
    this.view = view;
    this.boxes = [];                     // what can be pointed at
    this.frames = [];                    // what positions have found
    this.labels = null;
    this.isGrid = false;
    this.span = null;                    // seconds at which a spectrogram begins and ends
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
    this.boxes = boxesOf(axis.boxes ?? axis.objects, groups);
    this.frames = boxesOf(axis.objects, groups);
    this.labels = axis.grid ? null : labels;
    this.isGrid = Boolean(axis.grid);
    this.span = axis.span ?? null;
    if (this.version !== version) this.image = axis.picture ? imageOf(axis.picture, this.paint) : null;
    this.version = version;
    this.host.hidden = !this.boxes.some(Boolean);
    const chips = groups.map((_, i) => i).filter(i => !this.boxes[i] || this.frames[i]);
    chips.sort((a, b) => Boolean(this.frames[b]) - Boolean(this.frames[a]) || a - b);
    fill(this.tokens, chips.map(i =>
      h("button.av-chip", { type: "button", "data-i": i, "aria-pressed": "false" }, h("span.av-label", {}, labels(i)), h("span.av-value", {}))));
    this.tokens.hidden = !this.tokens.children.length;
  }

  /** Height divided by width. */
  get aspect() {
    if (this.span) return this.height / this.width;
    if (this.image?.naturalWidth) return this.image.naturalHeight / this.image.naturalWidth;
    const box = this.boxes.find(Boolean);
    return box ? (box[2] - box[0]) / (box[3] - box[1]) : 1;
  }

  /** Width and height of the picture in CSS pixels. */
  get size() {
    const most = this.span ? STRIP.widest : LARGEST, room = Math.max(SMALLEST, Math.min(most, this.element.clientWidth || most));
    if (this.span) return [room, this.isGrid ? STRIP.patches : STRIP.frames];
    const width = Math.round(Math.min(room, LARGEST / Math.max(1, this.aspect)));
    return [width, Math.round(width * this.aspect)];
  }

  /** Clear the canvas and draw the picture, in grey if weights are drawn over it. */
  start(isGrey) {
    const [width, height] = this.size, context = sharpCanvas(this.canvas, width, height + (this.span ? STRIP.ticks : 0));
    [this.width, this.height] = [width, height];
    context.fillStyle = themed(this.view.root, "--nk-raised");
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    if (isGrey) context.filter = "grayscale(1)";
    if (this.image?.naturalWidth) context.drawImage(this.image, 0, 0, width, height);
    context.filter = "none";
    if (this.span) this.drawTicks(context);
    return context;
  }

  /** Draw the seconds below a spectrogram. */
  drawTicks(context) {
    const [begin, end] = this.span, x = at => (at - begin) / (end - begin) * this.width;
    context.font = "11px sans-serif";
    context.fillStyle = context.strokeStyle = themed(this.view.root, "--nk-faint");
    context.textBaseline = "top";
    for (const at of ticksOf(this.span, this.width / STRIP.tick)) {
      const text = `${at} s`, wide = context.measureText(text).width;
      context.fillRect(Math.round(x(at)), this.height, 1, 4);
      context.fillText(text, Math.max(0, Math.min(this.width - wide, x(at) - wide / 2)), this.height + 4);
    }
  }

  /** Draw the edges of the patches, unless they are too small to be seen. */
  drawGrid(context) {
    const cell = this.boxes.find(Boolean);
    if (!this.isGrid || !cell || (cell[2] - cell[0]) * this.width < LEAST_CELL) return;
    const xs = new Set(), ys = new Set();
    for (const box of this.boxes) if (box) { const [x, y, wide, high] = this.rectangle(box); xs.add(x).add(x + wide); ys.add(y).add(y + high); }
    for (const [style, shift] of [["rgb(0 0 0 / 22%)", 0.5], ["rgb(255 255 255 / 30%)", -0.5]]) {
      context.strokeStyle = style;
      context.lineWidth = 1;
      context.beginPath();
      for (const x of xs) { context.moveTo(x + shift, 0); context.lineTo(x + shift, this.height); }
      for (const y of ys) { context.moveTo(0, y + shift); context.lineTo(this.width, y + shift); }
      context.stroke();
    }
  }

  /** Draw the boxes of what was found. */
  drawFrames(context) {
    if (this.isGrid) return;
    for (const box of this.frames) if (box) this.outline(context, box, "#ffffff", 1.2);
  }

  /** Name what was found; last, so that no outline crosses the names. */
  drawLabels(context, colour) {
    if (this.isGrid) return;
    context.font = "600 11px sans-serif";
    context.textBaseline = "middle";
    this.frames.forEach((box, i) => {
      if (!box) return;
      const [x, y] = this.rectangle(box), text = this.labels?.(i) ?? "", wide = context.measureText(text).width + 8;
      const left = Math.max(0, Math.min(x, this.width - wide)), top = Math.max(0, y - 16);
      context.fillStyle = colour;
      context.fillRect(left, top, wide, 16);
      context.fillStyle = "#ffffff";
      context.fillText(text, left + 4, top + 8.5);
    });
  }

  /** Shade the positions that are not on the picture by their weights, as parts of `top`; null removes the shading. */
  shadeTokens(values, top = 1) {
    for (const one of this.tokens.children) {
      const value = values?.[Number(one.dataset.i)];
      one.style.setProperty("--part", value === undefined ? "0" : String(Math.min(1, Math.abs(value) / top)));
      one.lastChild.textContent = value === undefined ? "" : value.toFixed(3).replace("-", "−");
    }
  }

  rectangle(box) {
    const [left, top, right, bottom] = box.map((side, k) => Math.round(side * (k % 2 ? this.height : this.width)));   // no seams
    return [left, top, right - left, bottom - top];
  }

  /** Draw a frame that is visible on any picture around a position, or around what it has found. */
  frame(context, i, colour) {
    const box = this.frames[i] ?? this.boxes[i];
    if (box) this.outline(context, box, colour, 1.6);
  }

  outline(context, box, colour, width) {
    for (const [style, line] of [["#000000", width + 3.4], ["#ffffff", width + 1.8], [colour, width]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.strokeRect(...this.rectangle(box));
    }
  }

  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width;
    const y = Math.min(0.999, (event.clientY - frame.top) / frame.height * parseFloat(this.canvas.style.height) / this.height);
    const area = box => (box[2] - box[0]) * (box[3] - box[1]);
    let best = null;                     // of boxes within boxes the smallest, so that each can be reached
    this.boxes.forEach((box, i) => {
      const isInside = box && x >= box[0] && x < box[2] && y >= box[1] && y < box[3];
      if (isInside && (best === null || area(box) < area(this.boxes[best]))) best = i;
    });
    return best;
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
 * The picture view. `onPoint(side, i)` is called for the row ("left") or the column ("right") under the pointer or in focus (or null),
 * `onPick(i)` when a row is chosen, `onRead(j)` for the column under the pointer.
 *
 * Where rows and columns are of different kinds, such as words and the moments of a recording, columns can be pointed at as rows can; a
 * click keeps one until the next.
 */
export class PictureView {
  constructor(view, { onPoint, onPick, onRead }) {
    [this.view, this.onPoint, this.onPick, this.onRead] = [view, onPoint, onPick, onRead];
    const paint = () => this.paint();
    this.from = new Side(view, "from", paint);
    this.to = new Side(view, "to", paint);
    this.rollout = new Side(view, "rollout", paint);
    this.element = h("div.av-picture", { hidden: true }, this.from.element, this.to.element, this.rollout.element);
    this.pointed = null;                 // ["left" or "right", index]
    this.pinned = null;                  // a column
    this.isTwoWay = false;
    this.values = this.backValues = this.flowValues = this.own = null;
    this.marks = { sources: [], hasWindow: false };
    this.rollout.element.hidden = true;
    this.look = null;
    this.listen();
    view.onResize(this.element, paint);
  }

  listen() {
    this.listenTo(this.from, "left", i => { this.pinned = null; this.onPick(i); });
    this.listenTo(this.to, "right", j => this.pin(j));
  }

  listenTo(side, name, onPick) {
    const button = event => { const found = event.target.closest?.(".nk-av-chip"); return found ? Number(found.dataset.i) : null; };
    const point = i => {
      if (name === "left" || this.isTwoWay) this.point(i === null ? null : [name, i]);
      else if (i !== null) this.onRead(i);
    };
    const pick = i => { if (i !== null && (name === "left" || this.isTwoWay)) onPick(i); };
    set(side.canvas, {
      onpointermove: event => point(side.at(event)),
      onpointerleave: () => point(null),
      onclick: event => pick(side.at(event)),
      onkeydown: event => this.onKey(event, side, point, pick),
      onblur: () => point(null),
    });
    set(side.tokens, {
      onpointerover: event => { if (button(event) !== null) point(button(event)); },
      onpointerleave: () => point(null),
      onfocusin: event => { if (event.target.matches(":focus-visible")) point(button(event)); },
      onfocusout: () => point(null),
      onclick: event => pick(button(event)),
    });
  }

  /** What the weights are of: the place that is pointed at, else the column that was clicked, else the rows that are selected. */
  get place() {
    if (this.pointed) return this.pointed;
    return this.pinned === null ? ["left", null] : ["right", this.pinned];
  }

  /** Keep a column, or let it go. */
  pin(j) {
    this.pinned = this.pinned === j ? null : j;
    this.pointed = null;
    this.onPoint(...this.place);
  }

  /** Let go of what is pointed at and kept. */
  release() {
    this.pinned = this.pointed = null;
    this.paint();
    this.onPoint(...this.place);
  }

  point(place) {
    if (String(place) === String(this.pointed)) return;
    this.pointed = place;
    this.paint();
    this.onPoint(...this.place);
  }

  onKey(event, side, point, pick) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const i = this.pointed && (this.pointed[0] === "left") === (side === this.from) ? this.pointed[1] : null;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) point(side.next(i, moves[event.key]));
    else if ((event.key === "Enter" || event.key === " ") && i !== null) pick(i);
    else if (event.key === "Escape") this.release();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Show a matrix; `captions` are the texts for the two sides; weights below `least`, a fraction of the scale, are not drawn. `own` are
   * numbers beside the rows, until a column is pointed at.
   */
  draw(look, names, { axes: [rows, columns], version, lit, least, isTwoWay, own = null }, captions) {
    const places = look.fine ?? look, axes = look.fine ? [{ ...look.fine.axes[0], picture: rows.picture }, { ...look.fine.axes[1], picture: columns.picture }] : [rows, columns];
    if (this.pinned !== null && (!isTwoWay || this.look?.C !== look.C)) this.pinned = null;
    [this.look, this.lit, this.least, this.isTwoWay, this.own] = [look, lit, least, isTwoWay, own];
    this.from.take(axes[0], places.rows, names.row, version);
    this.to.take(axes[1], places.columns, names.column, version);
    this.rollout.take(columns, look.columns, names.column, version);
    this.element.classList.toggle("nk-av-strips", Boolean(columns.span));
    set(this.to.canvas, isTwoWay ? { role: "application", tabindex: "0" } : { role: "img" });
    if (!isTwoWay) this.to.canvas.removeAttribute("tabindex");
    fill(this.from.caption, captions.from);
    fill(this.to.caption, captions.to);
    this.toLabel = captions.toLabel;
    this.from.canvas.setAttribute("aria-label", captions.label);
    this.from.tokens.setAttribute("aria-label", captions.from);
    this.to.tokens.setAttribute("aria-label", captions.to);
    this.paint();
  }

  /**
   * Colour the right side by these weights, which come from the rows `sources`; with `hasWindow`, they end at a window. Or colour the left
   * side by the weights with which a column is looked at.
   */
  shade({ right, left }, label, { sources, hasWindow }) {
    [this.values, this.backValues, this.marks] = [right, left, { sources, hasWindow }];
    this.to.canvas.setAttribute("aria-label", [label, this.toLabel].filter(Boolean).join(" "));
    this.paint();
  }

  /** Colour a further picture by the rollout; null removes it. */
  flow(values, caption = "") {
    if (!values && !this.flowValues) return;
    this.flowValues = values;
    this.rollout.element.hidden = !values;
    fill(this.rollout.caption, caption);
    this.rollout.canvas.setAttribute("aria-label", caption);
    this.paint();
  }

  /** The canvases, for export. */
  get canvases() {
    const sides = [this.from, this.to, this.rollout].filter(side => !side.host.hidden && !side.element.hidden);
    return sides.map(side => ({ canvas: side.canvas, label: side.caption.textContent }));
  }

  /** The weight of the brightest colour. */
  get top() { return this.backValues ? this.topOf(this.backValues, this.from) : this.topOf(this.values); }

  /** The largest of the weights on the picture, unless almost all attention is outside it. */
  topOf(values, side = this.to) {
    const isListed = !side.boxes.some(Boolean);
    const sizes = (values ?? []).map(Math.abs), shown = sizes.filter((_, j) => isListed || side.boxes[j]);
    return Math.max(0, ...shown, LEAST_TOP * Math.max(0, ...sizes));
  }

  paint() {
    if (!this.look || !this.element.isConnected || this.element.hidden) return;
    this.paintFrom();
    this.paintWeights(this.to, this.values, this.least * this.look.scale);
    if (this.place[0] === "right" && this.place[1] !== null) this.to.frame(this.to.canvas.getContext("2d"), this.place[1], "#000000");
    if (this.flowValues) this.paintWeights(this.rollout, this.flowValues, 0);
  }

  paintFrom() {
    const { from, backValues } = this, pointed = this.place[0] === "left" ? this.place[1] : null, accent = themed(this.view.root, "--nk-accent");
    if (backValues) this.paintWeights(from, backValues, 0);
    else from.shadeTokens(this.own, Math.max(1e-9, ...(this.own ?? []).map(Math.abs)));
    const context = backValues ? from.canvas.getContext("2d") : from.start(false);
    from.drawGrid(context);
    from.drawFrames(context);
    if (pointed === null && !this.lit.length && !backValues) for (const i of this.marks.sources) from.frame(context, i, accent);
    for (const i of this.lit) from.frame(context, i, accent);
    if (pointed !== null) from.frame(context, pointed, "#000000");
    from.drawLabels(context, accent);
    for (const one of from.tokens.children) one.setAttribute("aria-pressed", String(this.lit.includes(Number(one.dataset.i))));
  }

  /** Colour one side by weights; those below `least` are not drawn. */
  paintWeights(side, values, least) {
    const { look } = this, context = side.start(true), colours = coloursOf(look.signed), top = this.topOf(values, side) || 1;
    values?.forEach((value, j) => {
      if (!side.boxes[j] || Math.abs(value) < least) return;
      const part = look.signed ? 0.5 + value / top / 2 : value / top;
      context.globalAlpha = OPACITY + BRIGHT * Math.abs(look.signed ? 2 * part - 1 : part);
      context.fillStyle = `rgb(${colours[Math.round(255 * Math.max(0, Math.min(1, part)))].join(" ")})`;
      context.fillRect(...side.rectangle(side.boxes[j]));
    });
    context.globalAlpha = 1;
    if (this.marks.hasWindow && side === this.to && values) this.drawWindow(context, side, values);
    if (side !== this.from) this.drawSources(context, side);
    side.shadeTokens(values, side === this.from || this.isTwoWay ? Math.max(1e-9, ...(values ?? [0]).map(Math.abs)) : 1);
  }

  /** Frame the places from which the weights come, so that both pictures can be compared. */
  drawSources(context, side) {
    if (this.marks.sources.length > 12) return;
    context.setLineDash([4, 3]);
    for (const i of this.marks.sources) {
      const box = this.from.frames[i] ?? this.from.boxes[i];
      if (!box) continue;
      for (const [style, width] of [["#000000", 3], ["#ffffff", 1.6]]) {
        context.strokeStyle = style;
        context.lineWidth = width;
        context.strokeRect(...side.rectangle(box));
      }
    }
    context.setLineDash([]);
  }

  /** Draw the edge between patches with and without attention: weights are practically 0 outside a window. */
  drawWindow(context, side, values) {
    const at = new Map();                // the patch that begins at a place
    side.boxes.forEach((box, j) => { if (box) at.set(`${box[0]} ${box[1]}`, j); });
    const isOn = j => j !== undefined && Math.abs(values[j]) > NOTHING;
    context.beginPath();
    side.boxes.forEach((box, j) => {
      if (!box) return;
      const [x, y, wide, high] = side.rectangle(box);
      const right = at.get(`${box[2]} ${box[1]}`), below = at.get(`${box[0]} ${box[3]}`);
      if (right !== undefined && isOn(right) !== isOn(j)) { context.moveTo(x + wide, y); context.lineTo(x + wide, y + high); }
      if (below !== undefined && isOn(below) !== isOn(j)) { context.moveTo(x, y + high); context.lineTo(x + wide, y + high); }
    });
    for (const [style, width] of [["#000000", 4], ["#ffffff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.stroke();
    }
  }
}
