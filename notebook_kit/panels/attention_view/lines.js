// The head view: tokens left and right, joined by lines whose width and opacity say the weight.

import { fill, h, roving, set, sharpCanvas, themed } from "../shared/common.js";

export const LINE_HEIGHT = 18;
const MOST_LINES = 4000;
const LINES_ROOM = 470;                    // the height, in the style as well, beyond which tokens scroll

/** The strongest weights of a matrix as `{ places, strengths, all }`, weakest first; `least` is 0 to 1 of the scale. */
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
  if (cut === 256) { cut = 255; }                       // more than that of the very strongest: some of them
  const places = [];
  for (const i of rows) for (let k = i * C; k < i * C + C; k++) if (Math.abs(bytes[k] - zero) >= Math.max(cut, limit)) places.push(k);
  if (places.length > most) places.length = most;
  places.sort((a, b) => Math.abs(bytes[a] - zero) - Math.abs(bytes[b] - zero));
  return { places, strengths: places.map(k => Math.abs(bytes[k] - zero) / full), all };
}

/**
 * The head view. `draw(look, names, { least, lit, values })`; `onPoint(side, i)` is called for the token under the pointer or in
 * focus (or null), `onPick(side, i)` when one is chosen.
 */
export function linesView(view, { onPoint = () => {}, onPick = () => {} } = {}) {
  const canvas = h("canvas.av-web", { "aria-hidden": "true" });
  const leftList = h("ul.av-tokens.av-left", { role: "listbox", "aria-multiselectable": "true" });
  const rightList = h("ul.av-tokens.av-right", { role: "listbox", "aria-multiselectable": "true" });
  const middle = h("div.av-middle", {}, canvas);
  const scroller = h("div.av-lines", {}, h("div.av-lines-grid", {}, leftList, middle, rightList));
  let look = null, marks = { least: 0, lit: [], litRight: [], values: null }, web = null, pointed = null, shown = "", shaded = null;

  const paint = () => {
    if (!look || !scroller.isConnected) return;
    const width = middle.clientWidth, height = Math.min(LINES_ROOM, Math.max(look.R, look.C) * LINE_HEIGHT);
    if (width < 4 || height < 4) return;
    const context = sharpCanvas(canvas, width, height), offset = scroller.scrollTop;
    context.clearRect(0, 0, width, height);
    const plus = themed(view.root, "--nk-accent"), minus = themed(view.root, "--nk-av-minus");
    const y = i => i * LINE_HEIGHT + LINE_HEIGHT / 2 - offset;
    const stroke = (places, strengths, fade) => {
      // Lines of about one strength are one path: thousands of them are painted within a frame.
      const buckets = new Map();
      places.forEach((k, n) => {
        const i = Math.floor(k / look.C), j = k % look.C, a = y(i), b = y(j);
        if ((a < -20 && b < -20) || (a > height + 20 && b > height + 20)) return;
        const bucket = Math.ceil(strengths[n] * 24) * (look.signed && look.bytes[k] < 128 ? -1 : 1);
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
    };
    const full = look.signed ? 127 : 255, zero = look.signed ? 128 : 0;
    const limit = Math.max(1, Math.ceil(marks.least * full));
    stroke(web.places, web.strengths, pointed ? 0.12 : 1);
    if (pointed) {
      const places = [], [side, at] = pointed;
      for (let n = 0; n < (side === "left" ? look.C : look.R); n++) {
        const k = side === "left" ? at * look.C + n : n * look.C + at;
        if (Math.abs(look.bytes[k] - zero) >= limit) places.push(k);
      }
      stroke(places, places.map(k => Math.abs(look.bytes[k] - zero) / full), 1);
    }
  };

  const items = (list, count, name) => fill(list, Array.from({ length: count }, (_, i) =>
    h("li", { role: "option", tabindex: i === 0 ? "0" : "-1", "data-i": i, title: name(i) },
      h("span.av-label", {}, name(i)), h("span.av-value", {}))));

  const shade = () => {
    if (!marks.values && shaded === String([marks.lit, "", marks.litRight])) return;   // a thousand tokens that look as before
    shaded = marks.values ? null : String([marks.lit, "", marks.litRight]);
    const tint = (list, values, lit) => {
      const top = values ? Math.max(...values.map(Math.abs), 1e-12) : 1;
      [...list.children].forEach((item, i) => {
        item.setAttribute("aria-selected", String(lit.has(i)));
        item.style.setProperty("--part", values ? String(Math.round(Math.abs(values[i]) / top * 100) / 100) : "0");
        item.lastChild.textContent = values ? shortNumber(values[i]) : "";
      });
    };
    const { values } = marks;
    tint(leftList, values?.left ?? null, new Set(marks.lit));
    tint(rightList, values?.right ?? null, new Set(marks.litRight));
  };

  for (const [list, side] of [[leftList, "left"], [rightList, "right"]]) {
    roving(list, "li", { columns: null });
    const at = event => { const item = event.target.closest?.("li"); return item ? Number(item.dataset.i) : null; };
    const point = i => {
      const now = i === null ? null : [side, i];
      if (JSON.stringify(now) === JSON.stringify(pointed)) return;
      pointed = now;
      paint();
      onPoint(side, i);
    };
    set(list, {
      onpointerover: event => { if (at(event) !== null) point(at(event)); },
      onpointerleave: () => point(null),
      onfocusin: event => { if (event.target.matches(":focus-visible")) point(at(event)); },
      onfocusout: event => { if (!list.contains(event.relatedTarget)) point(null); },
      onclick: event => { if (at(event) !== null) onPick(side, at(event)); },
      onkeydown: event => {
        if ((event.key === "Enter" || event.key === " ") && at(event) !== null) { event.preventDefault(); onPick(side, at(event)); }
      },
    });
  }
  scroller.addEventListener("scroll", () => paint(), { passive: true });
  view.onResize(scroller, () => paint());

  return {
    element: scroller, paint,
    get web() { return web; },
    get pointed() { return pointed; },
    /** Shade the tokens by these weights, or not at all. */
    values(values) { marks = { ...marks, values }; shade(); },
    draw(newLook, newNames, newMarks, labels) {
      const key = JSON.stringify([newLook.rows, newLook.columns, newNames.key]);
      if (key !== shown) {
        items(leftList, newLook.R, newNames.row, "left");
        items(rightList, newLook.C, newNames.column, "right");
        shown = key;
        pointed = shaded = null;
      }
      leftList.setAttribute("aria-label", labels.left);
      rightList.setAttribute("aria-label", labels.right);
      if (newLook !== look || newMarks.least !== marks.least || String(newMarks.lit) !== String(marks.lit))
        web = strongest(newLook, newMarks.least, newMarks.lit.length ? newMarks.lit : null);
      [look, marks] = [newLook, newMarks];
      shade();
      paint();
      return web;
    },
  };
}

/** A weight in at most five characters. */
function shortNumber(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size && size < 0.005 ? (value < 0 ? "−0" : "0") : value.toFixed(2).replace("-", "−");
}
