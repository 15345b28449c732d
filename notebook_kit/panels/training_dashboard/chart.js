// The chart: lines over steps or time, drawn as SVG; zoom, cursor, marks of what happened.

import { fill, h, s } from "../shared/common.js";
import { readableNumber, smoothed, withUnit } from "./store.js";

export const TD_MARKS = { learning_rate: "η", pause: "❚❚", resume: "▸", stop: "■", nonfinite: "!", error: "×", begin: "↻", save: "▲", best: "★", evaluate: "◆", note: "•", end: "■" };
const TD_QUIET = new Set(["save", "best", "evaluate", "end", "resume"]);      // a tick on the axis, not a line through the chart

/** Round places for ticks between two values. */
function ticksBetween(low, high, most) {
  const rough = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(times => times * power).find(one => one >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Places for ticks on a logarithmic scale: powers of ten, and 2 and 5 between them where there is room. */
function logTicks(low, high, most) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  if (to - from > most) return ticksBetween(from, to, most).filter(Number.isInteger).map(power => 10 ** power);
  const times = (to - from) * 3 <= most + 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = from; power <= to; power++) for (const one of times) ticks.push(Number(`${one}e${power}`));
  const inside = ticks.filter(tick => tick >= low * 0.999 && tick <= high * 1.001);
  return inside.length >= 2 ? inside : ticksBetween(low, high, most);
}

/** The first place in a sorted column, up to `size`, whose value is at least x. */
function placeOf(column, size, x) {
  let low = 0, high = size;
  while (low < high) { const middle = (low + high) >> 1; if (column[middle] < x) low = middle + 1; else high = middle; }
  return low;
}

/**
 * `draw({ lines, marks, weight, log, axis, name, title })`, where a line is `{ series, label, colour, dash, dots, smooth, start }`.
 * `onZoom(range)` is called when another part is looked at; `onCursor()` when the cursor moves.
 */
export function chartView(view, { onZoom }) {
  const { words } = view;
  const id = `td-${Math.random().toString(36).slice(2)}`;
  const svg = s("svg", { "aria-hidden": "true", focusable: "false" });
  const tip = h("div.td-tip", { hidden: true });
  const stage = h("div.td-stage", { tabindex: "0", role: "slider", "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0" }, svg, tip);
  const note = h("p.td-note.faint", { hidden: true });
  let given = null, now = null, frame = null, zoom = null, cursor = null, drag = null;

  const column = series => (now.axis === "time" ? series.time : series.step);
  const xOf = x => frame.left + (x - frame.x[0]) / (frame.x[1] - frame.x[0] || 1) * (frame.right - frame.left);
  const fromPixel = pixel => frame.x[0] + (pixel - frame.left) / (frame.right - frame.left) * (frame.x[1] - frame.x[0]);
  const yOf = y => {
    const [low, high] = frame.y, part = frame.log ? (Math.log(y) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (y - low) / (high - low);
    return frame.bottom - part * (frame.bottom - frame.top);
  };
  const label = (x, y, text, more = {}) => s("text", { x, y, "class": "nk-td-label", ...more }, text);
  const round = value => Math.round(value * 10) / 10;

  /** The part of a line that is looked at, one bucket more on each side. */
  const within = one => {
    const x = column(one.series), size = one.series.size;
    return [Math.max(0, placeOf(x, size, frame.x[0]) - 1), Math.min(size, placeOf(x, size, frame.x[1]) + 2)];
  };
  const values = one => (one.smooth && now.weight > 0 ? one.curve : one.series.mean);

  /** From where to where the y axis goes. A few values far outside do not flatten all others: they are said below. */
  const rangeOf = () => {
    const seen = [];
    let off = null;
    for (const one of now.lines) {
      const [from, to] = within(one), curve = values(one), x = column(one.series);
      for (let i = from; i < to; i++) {
        if (x[i] < frame.x[0] || x[i] > frame.x[1]) continue;
        for (const value of [one.series.low[i], one.series.high[i], curve[i]]) if (Number.isFinite(value) && (!frame.log || value > 0)) seen.push(value);
      }
    }
    if (!seen.length) return { range: frame.log ? [0.1, 1] : [0, 1], off, empty: true };
    const sorted = Float64Array.from(seen).sort(), at = part => sorted[Math.round(part * (sorted.length - 1))];
    let low = sorted[0], high = sorted.at(-1);
    if (!frame.log && sorted.length > 40) {
      const spread = at(0.97) - at(0.03);
      if (high - at(0.97) > 4 * spread && spread > 0) { off = high; high = at(0.97) + spread; }
      if (at(0.03) - low > 4 * spread && spread > 0) { off = low; low = at(0.03) - spread; }
    }
    if (frame.log) {
      const room = Math.max(Math.log(high / low) * 0.06, 0.02);
      return { range: [low * Math.exp(-room), high * Math.exp(room)], off };
    }
    const span = high - low, room = span > 1e-6 * Math.abs(high) ? span * 0.06 : Math.abs(high) * 0.05 || 1;
    const floor = low >= 0 && low - room < 0 ? 0 : low - room;
    return { range: [floor, high + room], off };
  };

  const path = (one, curve, from, to) => {
    const x = column(one.series), parts = [];
    let pen = "M";
    for (let i = from; i < to; i++) {
      if (!Number.isFinite(curve[i]) || (frame.log && curve[i] <= 0)) { pen = "M"; continue; }
      parts.push(pen, round(xOf(x[i])), " ", round(yOf(curve[i])));
      pen = "L";
    }
    return parts.join("");
  };
  /** The room between least and greatest, in pieces where values are missing. */
  const band = (one, from, to) => {
    const x = column(one.series), { low, high } = one.series, parts = [];
    let up = [], down = [];
    const close = () => {
      if (up.length) parts.push("M", up.join("L"), "L", down.reverse().join("L"), "Z");
      up = []; down = [];
    };
    for (let i = from; i < to; i++) {
      if (!Number.isFinite(low[i]) || (frame.log && low[i] <= 0)) { close(); continue; }
      const place = round(xOf(x[i]));
      up.push(`${place} ${round(yOf(high[i]))}`);
      down.push(`${place} ${round(yOf(low[i]))}`);
    }
    close();
    return parts.join("");
  };

  const timeTick = seconds => (frame.x[1] >= 7200 ? `${readableNumber(seconds / 3600, 3)} h` : frame.x[1] >= 120 ? `${readableNumber(seconds / 60, 3)} min` : `${readableNumber(seconds, 3)} s`);
  const xText = x => (now.axis === "time" ? timeTick(x) : Math.round(x).toLocaleString("en"));

  const draw = (spec = given) => {
    if (!spec) return;
    given = spec;
    const timeless = spec.axis === "time" && spec.lines.some(one => one.series.size && !Number.isFinite(one.series.time[0]));
    now = timeless ? { ...spec, axis: "step" } : spec;
    const width = Math.max(240, stage.clientWidth || 640), height = width < 480 ? 220 : 290;
    let x0 = Infinity, x1 = -Infinity;
    for (const one of now.lines) {
      const x = column(one.series);
      if (!one.series.size) continue;
      x0 = Math.min(x0, now.axis === "step" ? one.start ?? x[0] : x[0]);
      x1 = Math.max(x1, x[one.series.size - 1]);
      one.curve = one.smooth && now.weight > 0 ? smoothed(one.series, now.weight) : one.series.mean;
    }
    const some = x1 >= x0;
    if (!some) { x0 = 0; x1 = 1; }
    if (x0 === x1) { x0 -= 1; x1 += 1; }
    frame = { left: 58, right: width - 14, top: 20, bottom: height - 26, full: [x0, x1], x: zoom ?? [x0, x1], log: now.log, width, height };
    let { range, off, empty } = rangeOf();
    const said = timeless ? [words("no_times")] : [];
    if (frame.log && empty && some) { frame.log = false; ({ range, off, empty } = rangeOf()); said.push(words("log_none")); }
    else if (frame.log && now.lines.some(one => one.series.least && one.series.least[0] <= 0)) said.push(words("log_some"));
    frame.y = range;
    if (off !== null) said.push(words("off_chart", { value: readableNumber(off) }));
    note.textContent = said.join(" ");
    note.hidden = !said.length;

    const back = s("g", { "class": "nk-td-grid" }), plot = s("g", { "clip-path": `url(#${id})` }), over = s("g");
    for (const tick of frame.log ? logTicks(...frame.y, 5) : ticksBetween(...frame.y, 5)) {
      const y = round(yOf(tick));
      back.append(s("line", { x1: frame.left, x2: frame.right, y1: y, y2: y }), label(frame.left - 6, y + 4, withUnit(now.name, tick), { "text-anchor": "end" }));
    }
    for (const tick of ticksBetween(...frame.x, Math.max(2, Math.floor(width / 110)))) {
      if (now.axis === "step" && !Number.isInteger(tick)) continue;
      const x = round(xOf(tick));
      back.append(s("line", { x1: x, x2: x, y1: frame.bottom, y2: frame.bottom + 4 }), label(x, frame.bottom + 17, xText(tick), { "text-anchor": "middle" }));
    }
    back.append(s("line", { x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom, "class": "nk-td-axis" }));

    for (const one of now.lines) {
      const [from, to] = within(one), colour = `var(--td-${one.colour})`, x = column(one.series), raw = one.smooth && now.weight > 0;
      if (one.series.width > 1 || one.wide) plot.append(s("path", { d: band(one, from, to), "class": "nk-td-band", style: { fill: colour } }));
      else if (raw) plot.append(s("path", { d: path(one, one.series.mean, from, to), "class": "nk-td-raw", style: { stroke: colour } }));
      plot.append(s("path", { d: path(one, values(one), from, to), "class": "nk-td-line", "stroke-dasharray": one.dash, "data-line": one.label, style: { stroke: colour } }));
      if (one.dots || one.series.size === 1) {
        for (let i = from; i < to; i++) {
          if (!Number.isFinite(one.series.mean[i]) || (frame.log && one.series.mean[i] <= 0) || to - from > 80) continue;
          plot.append(s("circle", { cx: round(xOf(x[i])), cy: round(yOf(one.series.mean[i])), r: 3.2, "class": "nk-td-dot", style: { stroke: colour } }));
        }
      }
      for (let i = from; i < to; i++) {
        if (!one.series.bad[i] || x[i] < frame.x[0]) continue;
        const at = round(xOf(x[i]));
        plot.append(s("path", { d: `M${at - 4} ${frame.top}h8l-4 7z`, "class": "nk-td-bad" }));
      }
      const best = one.best;
      if (best && now.axis === "step" && (!frame.log || best[0] > 0) && best[1] >= frame.x[0] && best[1] <= frame.x[1])
        plot.append(label(round(xOf(best[1])), round(yOf(best[0])) + 5, "★", { "text-anchor": "middle", "class": "nk-td-star", style: { fill: colour } }));
    }
    let free = -Infinity, shown = 0;
    for (const mark of now.marks) {
      const x = now.axis === "time" ? mark.seconds : mark.step, at = round(xOf(x));
      if (x === null || x < frame.x[0] || x > frame.x[1] || shown++ > 150) continue;
      const quiet = TD_QUIET.has(mark.kind), sign = TD_MARKS[mark.kind] ?? "•";
      if (!quiet) over.append(s("line", { x1: at, x2: at, y1: frame.top, y2: frame.bottom, "class": `nk-td-mark nk-td-mark-${mark.kind}` }));
      if (!quiet && at - free < 13) continue;
      const y = quiet ? frame.bottom - 3 : frame.top - 5;
      over.append(label(at, y, sign, { "text-anchor": "middle", "class": `nk-td-sign nk-td-sign-${quiet ? "quiet" : mark.kind}` }));
      over.lastChild.append(s("title", {}, mark.text));
      if (!quiet) free = at;
    }
    if (!some || empty) over.append(label(width / 2, height / 2, words(now.lines.length ? "no_values" : "no_lines"), { "text-anchor": "middle" }));
    const pointer = s("g", { "class": "nk-td-pointer" });
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.replaceChildren(s("defs", {}, s("clipPath", { id }, s("rect", { x: frame.left - 5, y: frame.top, width: Math.max(1, frame.right - frame.left + 10), height: Math.max(1, frame.bottom - frame.top) }))), back, plot, over, pointer);
    frame.pointer = pointer;
    stage.setAttribute("aria-label", words("chart_label", { name: now.title }));
    stage.setAttribute("aria-valuemin", String(Math.round(frame.full[0])));
    stage.setAttribute("aria-valuemax", String(Math.round(frame.full[1])));
    drawPointer();
  };

  // Cursor and zoom -----------------------------------------------------------------------------------------------------

  /** What there is at a place: for each line its nearest bucket, and the marks nearby. */
  const at = x => {
    const rows = now.lines.flatMap(one => {
      const all = column(one.series), size = one.series.size;
      if (!size) return [];
      let i = Math.min(size - 1, placeOf(all, size, x));
      if (i > 0 && x - all[i - 1] < all[i] - x) i--;
      return [{ one, i, x: all[i] }];
    });
    const near = Math.min(...rows.map(row => Math.abs(row.x - x)));
    const marks = now.marks.filter(mark => Math.abs(xOf(now.axis === "time" ? mark.seconds : mark.step) - xOf(x)) < 5);
    return { rows: rows.filter(row => Math.abs(row.x - x) <= Math.max(near, (frame.x[1] - frame.x[0]) / 30)), marks };
  };
  const rowText = ({ one, i }) => {
    const { series } = one, value = series.mean[i];
    const many = series.width > 1 && series.low[i] !== series.high[i];
    const parts = [withUnit(now.name, value)];
    if (series.bad[i]) parts.push(words("not_finite", { count: series.bad[i] }));
    if (many) parts.push(`(${withUnit(now.name, series.low[i])}–${withUnit(now.name, series.high[i])})`);
    if (one.smooth && now.weight > 0) parts.push(words("smoothed_value", { value: withUnit(now.name, one.curve[i]) }));
    return parts.join(" ");
  };
  const place = ({ one, i, x }) => {
    if (now.axis === "time") return timeTick(x);
    const before = i > 0 ? one.series.step[i - 1] : (one.start ?? 1) - 1;
    return one.series.width > 1 && x - before > 1 ? words("steps_from_to", { from: (before + 1).toLocaleString("en"), to: x.toLocaleString("en") }) : words("step_at", { step: x.toLocaleString("en") });
  };
  const drawPointer = () => {
    frame.pointer.replaceChildren();
    if (drag && drag.moved) {
      const [a, b] = [drag.from, drag.to].sort((p, q) => p - q);
      frame.pointer.append(s("rect", { x: a, y: frame.top, width: b - a, height: frame.bottom - frame.top, "class": "nk-td-brush" }));
    }
    if (cursor === null || !now.lines.length) { tip.hidden = true; return; }
    const { rows, marks } = at(cursor);
    if (!rows.length) { tip.hidden = true; return; }
    const x = xOf(rows[0].x);
    if (x < frame.left - 1 || x > frame.right + 1) { tip.hidden = true; return; }
    frame.pointer.append(s("line", { x1: x, x2: x, y1: frame.top, y2: frame.bottom, "class": "nk-td-cursor" }));
    for (const { one, i, x: own } of rows) {
      const value = values(one)[i];
      if (Number.isFinite(value) && (!frame.log || value > 0))
        frame.pointer.append(s("circle", { cx: xOf(own), cy: Math.min(frame.bottom, Math.max(frame.top, yOf(value))), r: 4, "class": "nk-td-here", style: { fill: `var(--td-${one.colour})` } }));
    }
    fill(tip, h("div.td-tip-step", {}, place(rows[0])), rows.map(row => h("div.td-tip-row", {},
      swatch(row.one), h("bdi", {}, row.one.label), h("span.td-tip-value", {}, rowText(row)))), marks.slice(0, 4).map(mark => h("div.td-tip-mark", {}, TD_MARKS[mark.kind] ?? "•", " ", mark.text)));
    tip.hidden = false;
    const left = x > (frame.left + frame.right) / 2;
    tip.style.left = left ? "auto" : `${x + 12}px`;
    tip.style.right = left ? `${frame.width - x + 12}px` : "auto";
    stage.setAttribute("aria-valuenow", String(Math.round(rows[0].x)));
    stage.setAttribute("aria-valuetext", [place(rows[0]), ...rows.map(row => `${row.one.label} ${rowText(row)}`), ...marks.slice(0, 4).map(mark => mark.text)].join(". "));
  };
  const zoomTo = range => {
    if (range) {
      const [low, high] = frame.full, least = now.axis === "step" ? 2 : (high - low) / 1e4;
      let [a, b] = range;
      if (b - a < least) { const middle = (a + b) / 2; a = middle - least / 2; b = middle + least / 2; }
      a = Math.max(low, a); b = Math.min(high, b);
      range = b - a >= (high - low) * 0.999 || b <= a ? null : [a, b];
    }
    zoom = range;
    draw();
    onZoom(zoom);
  };
  const zoomBy = (times, around = cursor ?? (frame.x[0] + frame.x[1]) / 2) => {
    const [a, b] = frame.x;
    zoomTo([around - (around - a) * times, around + (b - around) * times]);
  };
  const pixelOf = event => Math.min(frame.right, Math.max(frame.left, event.clientX - svg.getBoundingClientRect().left));

  stage.addEventListener("pointermove", event => {
    if (!frame) return;
    const pixel = pixelOf(event);
    if (drag) { drag.to = pixel; drag.moved ||= Math.abs(drag.to - drag.from) > 5; }
    cursor = fromPixel(pixel);
    drawPointer();
  });
  stage.addEventListener("pointerleave", () => { if (!drag && document.activeElement !== stage) { cursor = null; if (frame) drawPointer(); } });
  stage.addEventListener("pointerdown", event => {
    if (!frame || event.button !== 0 || event.pointerType === "touch") return;
    drag = { from: pixelOf(event), to: pixelOf(event), moved: false };
    stage.setPointerCapture(event.pointerId);
  });
  const drop = () => {
    const done = drag;
    drag = null;
    if (done?.moved) zoomTo([fromPixel(done.from), fromPixel(done.to)].sort((a, b) => a - b));
    else if (frame) drawPointer();
  };
  stage.addEventListener("pointerup", drop);
  stage.addEventListener("pointercancel", () => { drag = null; });
  stage.addEventListener("dblclick", () => zoomTo(null));
  stage.addEventListener("wheel", event => {
    if (!frame || !(event.ctrlKey || event.metaKey)) return;       // without Ctrl the page scrolls, as everywhere
    event.preventDefault();
    zoomBy(event.deltaY > 0 ? 1.25 : 0.8, fromPixel(pixelOf(event)));
  });
  stage.addEventListener("blur", () => { cursor = null; if (frame) drawPointer(); });
  stage.addEventListener("keydown", event => {
    if (!frame || !now.lines.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const { key } = event;
    if (key === "+" || key === "=") zoomBy(0.6);
    else if (key === "-" || key === "_") zoomBy(1 / 0.6);
    else if (key === "0" || key === "Escape") zoomTo(null);
    else if (["ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"].includes(key)) {
      const densest = now.lines.reduce((a, b) => (b.series.size > a.series.size ? b : a)).series, all = column(densest);
      if (!densest.size) return;
      const [first, last] = [Math.min(densest.size - 1, placeOf(all, densest.size, frame.x[0])), Math.max(0, placeOf(all, densest.size, frame.x[1] + 1e-9) - 1)];
      const from = cursor === null ? (key === "ArrowLeft" ? last + 1 : first - 1) : Math.min(densest.size - 1, placeOf(all, densest.size, cursor));
      const far = Math.max(1, Math.round((last - first) / 10)), by = event.shiftKey ? far : 1;
      const to = { ArrowLeft: from - by, ArrowRight: from + by, PageUp: from - far, PageDown: from + far, Home: first, End: last }[key];
      cursor = all[Math.min(last, Math.max(first, to))];
      drawPointer();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  view.onResize(stage, () => { if (now && frame && Math.abs(stage.clientWidth - frame.width) > 1) draw(); });

  return { element: h("div.td-chart", {}, stage, note), draw, svg, zoomTo, zoomBy, get zoom() { return zoom; }, get frame() { return frame; } };
}

/** A short piece of a line, as it is drawn. */
export function swatch(one) {
  return s("svg", { width: 26, height: 10, "class": "nk-td-swatch", "aria-hidden": "true" },
    s("line", { x1: 1, x2: 25, y1: 5, y2: 5, "stroke-dasharray": one.dash, style: { stroke: `var(--td-${one.colour})` } }),
    one.dots ? s("circle", { cx: 13, cy: 5, r: 3, "class": "nk-td-dot", style: { stroke: `var(--td-${one.colour})` } }) : null);
}

/** A copy of an SVG element that looks the same outside of the page: what style sheets say is written into it. */
export function standalone(svg) {
  const copy = svg.cloneNode(true), mine = [svg, ...svg.querySelectorAll("*")], its = [copy, ...copy.querySelectorAll("*")];
  mine.forEach((node, i) => {
    const style = getComputedStyle(node);
    its[i].removeAttribute("class");
    its[i].removeAttribute("style");
    for (const name of ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-linejoin", "paint-order", "opacity", "font-size", "font-family", "font-weight"])
      if (!["defs", "clipPath", "title"].includes(node.tagName)) its[i].setAttribute(name, style.getPropertyValue(name));
  });
  copy.querySelectorAll("title").forEach(one => one.removeAttribute("fill"));
  return copy;
}
