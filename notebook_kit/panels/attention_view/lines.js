// The head view: tokens on the left and right, connected by lines whose width and opacity show the weight.

import { fill, h, roving, set, sharpCanvas, themed } from "../shared/common.js";

export const LINE_HEIGHT = 18;
const MOST_LINES = 4000;
const LINES_ROOM = 470;                    // the height, also in the style, above which tokens scroll

/** The strongest weights of a matrix as `{ places, strengths, all }`, weakest first; `least` is a fraction of the scale. */
export function strongest(look, least, onlyRows = null, most = MOST_LINES) {
  const { bytes, R, C, signed } = look, zero = signed ? 128 : 0, full = signed ? 127 : 255;
  const limit = Math.max(1, Math.ceil(least * full));
  const rows = onlyRows ?? Array.from({ length: R }, (_, i) => i);
  const counts = new Uint32Array(257);
  for (const i of rows) for (let k = i * C; k < i * C + C; k++) counts[Math.min(255, Math.abs(bytes[k] - zero))]++;
  let all = 0;
  for (let b = limit; b < 256; b++) all += counts[b];
  let cut = 256, kept = 0;
  while (cut > limit && kept + counts[cut - 1] <= most) kept += counts[--cut];
  if (cut === 256) { cut = 255; }                       // if even the strongest are too many, use some of them
  const places = [];
  for (const i of rows) for (let k = i * C; k < i * C + C; k++) if (Math.abs(bytes[k] - zero) >= Math.max(cut, limit)) places.push(k);
  if (places.length > most) places.length = most;
  places.sort((a, b) => Math.abs(bytes[a] - zero) - Math.abs(bytes[b] - zero));
  return { places, strengths: places.map(k => Math.abs(bytes[k] - zero) / full), all };
}

/**
 * The head view. `draw(look, names, { least, lit, values }, labels)`; `onPoint(side, i)` is called for the token under the pointer
 * or in focus (or null), `onPick(side, i)` when one is chosen.
 */
export class LinesView {
  constructor(view, { onPoint = () => {}, onPick = () => {} } = {}) {
    [this.view, this.onPoint, this.onPick] = [view, onPoint, onPick];
    this.canvas = h("canvas.av-web", { "aria-hidden": "true" });
    this.lists = Object.fromEntries(["left", "right"].map(side => [side, h(`ul.av-tokens.av-${side}`, { role: "listbox", "aria-multiselectable": "true" })]));
    this.middle = h("div.av-middle", {}, this.canvas);
    this.heads = { left: h("span.av-side-name"), right: h("span.av-side-name") };
    this.scroller = h("div.av-lines", {}, h("div.av-lines-grid", {}, this.lists.left, this.middle, this.lists.right));
    this.element = h("div.av-lines-frame", {},
      h("div.av-lines-grid", { "aria-hidden": "true" }, this.heads.left, h("span"), this.heads.right), this.scroller);
    this.look = this.web = this.pointed = this.shaded = null;
    this.marks = { least: 0, lit: [], litRight: [], values: null };
    this.shown = "";
    for (const side of ["left", "right"]) this.listen(side);
    this.scroller.addEventListener("scroll", () => this.paint(), { passive: true });
    view.onResize(this.element, () => this.paint());
  }

  /** Show a matrix; returns the lines that are drawn. */
  draw(look, names, marks, labels) {
    const key = JSON.stringify([look.rows, look.columns, names.key]);
    if (key !== this.shown) {
      this.fillList("left", look.R, names.row);
      this.fillList("right", look.C, names.column);
      this.shown = key;
      this.pointed = this.shaded = null;
    }
    for (const side of ["left", "right"]) this.lists[side].setAttribute("aria-label", labels[side]);
    [this.heads.left.textContent, this.heads.right.textContent] = [labels.looks, labels.looked];
    if (look !== this.look || marks.least !== this.marks.least || String(marks.lit) !== String(this.marks.lit))
      this.web = strongest(look, marks.least, marks.lit.length ? marks.lit : null);
    [this.look, this.marks] = [look, marks];
    this.shade();
    this.paint();
    return this.web;
  }

  fillList(side, count, name) {
    fill(this.lists[side], Array.from({ length: count }, (_, i) =>
      h("li", { role: "option", tabindex: i === 0 ? "0" : "-1", "data-i": i, title: name(i) },
        h("span.av-label", {}, name(i)), h("span.av-value", {}))));
  }

  /** Shade the tokens by these weights; null removes the shading. */
  values(values) {
    this.marks = { ...this.marks, values };
    this.shade();
  }

  shade() {
    const { values, lit, litRight } = this.marks;
    if (!values && this.shaded === String([lit, "", litRight])) return;   // nothing would change, perhaps on a thousand tokens
    this.shaded = values ? null : String([lit, "", litRight]);
    const tint = (list, weights, chosen) => {
      const top = weights ? Math.max(...weights.map(Math.abs), 1e-12) : 1;
      [...list.children].forEach((item, i) => {
        item.setAttribute("aria-selected", String(chosen.has(i)));
        item.style.setProperty("--part", weights ? String(Math.round(Math.abs(weights[i]) / top * 100) / 100) : "0");
        item.lastChild.textContent = weights ? shortNumber(weights[i]) : "";
      });
    };
    tint(this.lists.left, values?.left ?? null, new Set(lit));
    tint(this.lists.right, values?.right ?? null, new Set(litRight));
  }

  paint() {
    const { look, web, pointed } = this;
    if (!look || !this.element.isConnected) return;
    const width = this.middle.clientWidth, height = Math.min(LINES_ROOM, Math.max(look.R, look.C) * LINE_HEIGHT);
    if (width < 4 || height < 4) return;
    const context = sharpCanvas(this.canvas, width, height);
    context.clearRect(0, 0, width, height);
    this.stroke(context, web.places, web.strengths, pointed ? 0.12 : 1);
    if (!pointed) return;
    const places = this.placesOf(...pointed), full = look.signed ? 127 : 255, zero = look.signed ? 128 : 0;
    this.stroke(context, places, places.map(k => Math.abs(look.bytes[k] - zero) / full), 1);
  }

  /** All places of the row or column under the pointer that reach the threshold. */
  placesOf(side, at) {
    const { R, C, bytes, signed } = this.look, places = [], zero = signed ? 128 : 0;
    const limit = Math.max(1, Math.ceil(this.marks.least * (signed ? 127 : 255)));
    for (let n = 0; n < (side === "left" ? C : R); n++) {
      const k = side === "left" ? at * C + n : n * C + at;
      if (Math.abs(bytes[k] - zero) >= limit) places.push(k);
    }
    return places;
  }

  /** Draw lines. Lines of similar strength form one path, so that thousands of them are painted within a frame. */
  stroke(context, places, strengths, fade) {
    const { C, bytes, signed } = this.look, width = this.middle.clientWidth, height = parseFloat(this.canvas.style.height);
    const y = i => i * LINE_HEIGHT + LINE_HEIGHT / 2 - this.scroller.scrollTop;
    const plus = themed(this.view.root, "--nk-accent"), minus = themed(this.view.root, "--nk-av-minus"), buckets = new Map();
    places.forEach((k, n) => {
      const a = y(Math.floor(k / C)), b = y(k % C);
      if ((a < -20 && b < -20) || (a > height + 20 && b > height + 20)) return;
      const bucket = Math.ceil(strengths[n] * 24) * (signed && bytes[k] < 128 ? -1 : 1);
      if (!buckets.has(bucket)) buckets.set(bucket, new Path2D());
      const path = buckets.get(bucket);
      path.moveTo(0, a);
      path.lineTo(width, b);
    });
    for (const [bucket, path] of buckets) {
      const part = Math.abs(bucket) / 24;
      context.strokeStyle = bucket < 0 ? minus : plus;
      context.globalAlpha = (0.06 + 0.94 * part) * fade;
      context.lineWidth = 0.5 + 3 * part;
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }

  listen(side) {
    const list = this.lists[side];
    const at = event => { const item = event.target.closest?.("li"); return item ? Number(item.dataset.i) : null; };
    roving(list, "li", { columns: null });
    set(list, {
      onpointerover: event => { if (at(event) !== null) this.point(side, at(event)); },
      onpointerleave: () => this.point(side, null),
      onfocusin: event => { if (event.target.matches(":focus-visible")) this.point(side, at(event)); },
      onfocusout: event => { if (!list.contains(event.relatedTarget)) this.point(side, null); },
      onclick: event => { if (at(event) !== null) this.onPick(side, at(event)); },
      onkeydown: event => {
        if ((event.key === "Enter" || event.key === " ") && at(event) !== null) { event.preventDefault(); this.onPick(side, at(event)); }
      },
    });
  }

  point(side, i) {
    const now = i === null ? null : [side, i];
    if (String(now) === String(this.pointed)) return;
    this.pointed = now;
    this.paint();
    this.onPoint(side, i);
  }
}

/** A weight in at most five characters. */
function shortNumber(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size && size < 0.005 ? (value < 0 ? "−0" : "0") : value.toFixed(2).replace("-", "−");
}
