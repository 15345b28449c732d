// The chart: lines over steps or time, drawn as SVG, with zoom, cursor and marks of events.

import { h, s } from "../shared/common.js";
import { Frame, placeOf } from "./frame.js";
import { readableNumber } from "./numbers.js";
import { grid, label, line, signs } from "./plot.js";
import { fillTip, pointerShapes, readingAt, spokenReading } from "./pointer.js";
import { smoothed } from "./store.js";

const ZOOM_KEYS = { "+": 0.6, "=": 0.6, "-": 1 / 0.6, _: 1 / 0.6 };
const CURSOR_KEYS = ["ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"];

/** `onZoom()` is called when the visible range has changed, `onPick(step)` when someone chooses a point. */
export class Chart {
  constructor(view, { onZoom, onPick }) {
    Object.assign(this, { words: view.words, onZoom, onPick });
    this.id = `td-${Math.random().toString(36).slice(2)}`;
    this.svg = s("svg", { "aria-hidden": "true", focusable: "false" });
    this.tip = h("div.td-tip", { hidden: true });
    this.stage = h("div.td-stage", { tabindex: "0", role: "slider", "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0" }, this.svg, this.tip);
    this.note = h("p.td-note.faint", { hidden: true });
    this.element = h("div.td-chart", {}, this.stage, this.note);
    this.spec = null;     // the argument of `draw`
    this.now = null;      // what is drawn
    this.frame = null;
    this.zoom = null;     // the visible range, or null for all
    this.cursor = null;   // the step (or second) at the pointer
    this.drag = null;     // { from, to, moved } in pixels, while a range is dragged
    this.listen(view);
  }

  // Drawing -------------------------------------------------------------------------------------------------------------

  /**
   * Draw `lines`, each `{ series, label, colour, dash, dots, smooth, start, best }`, and `marks`, with the smoothing `weight`, on a
   * logarithmic scale if `log`, over the `axis` "step" or "time", in the unit of the metric `name`; `title` is its display name.
   */
  draw(spec = this.spec) {
    if (!spec) return;
    this.spec = spec;
    this.now = prepared(spec);
    const full = extentOf(this.now);
    this.frame = new Frame(Math.max(240, this.stage.clientWidth || 640), { full: full ?? [0, 1], zoom: this.zoom, axis: this.now.axis, isLog: this.now.log });
    const isEmpty = this.fit(full !== null);
    this.drawShapes(isEmpty || full === null);
    this.stage.setAttribute("aria-label", this.words("chart_label", { name: this.now.title }));
    this.stage.setAttribute("aria-valuemin", String(Math.round(this.frame.full[0])));
    this.stage.setAttribute("aria-valuemax", String(Math.round(this.frame.full[1])));
    this.drawPointer();
  }

  /** Choose the range of the y axis, and note below the chart what cannot be shown. Returns whether the chart is empty. */
  fit(hasValues) {
    const { words, frame, now } = this, notes = now.axis === this.spec.axis ? [] : [words("no_times")];
    let { isEmpty, off } = frame.fitTo(now.lines);
    if (frame.isLog && isEmpty && hasValues) {
      frame.isLog = false;
      ({ isEmpty, off } = frame.fitTo(now.lines));
      notes.push(words("log_none"));
    } else if (frame.isLog && now.lines.some(({ series }) => series.least && series.least[0] <= 0)) {
      notes.push(words("log_some"));
    }
    if (off !== null) notes.push(words("off_chart", { value: readableNumber(off) }));
    this.note.textContent = notes.join(" ");
    this.note.hidden = !notes.length;
    return isEmpty;
  }

  drawShapes(isEmpty) {
    const { frame, now, svg } = this, { left, right, top, bottom, width, height } = frame;
    const clip = s("rect", { x: left - 5, y: top, width: Math.max(1, right - left + 10), height: Math.max(1, bottom - top) });
    const text = isEmpty ? label(width / 2, height / 2, this.words(now.lines.length ? "no_values" : "no_lines"), { "text-anchor": "middle" }) : null;
    this.pointer = s("g", { "class": "nk-td-pointer" });
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.replaceChildren(
      s("defs", {}, s("clipPath", { id: this.id }, clip)),
      grid(frame, now.name),
      s("g", { "clip-path": `url(#${this.id})` }, now.lines.map(one => line(frame, one))),
      s("g", {}, signs(frame, now.marks), text),
      this.pointer);
  }

  drawPointer() {
    const { frame, now, tip } = this;
    this.pointer.replaceChildren();
    if (this.drag?.moved) {
      const [from, to] = [this.drag.from, this.drag.to].sort((a, b) => a - b);
      this.pointer.append(s("rect", { x: from, y: frame.top, width: to - from, height: frame.bottom - frame.top, "class": "nk-td-brush" }));
    }
    const reading = this.cursor === null ? { rows: [] } : readingAt(frame, now, this.cursor);
    const x = reading.rows.length ? frame.xOf(reading.rows[0].x) : NaN;
    tip.hidden = !(x >= frame.left - 1 && x <= frame.right + 1);
    if (tip.hidden) return;
    this.pointer.append(...pointerShapes(frame, reading.rows));
    fillTip(tip, this.words, frame, now.name, reading);
    this.stage.setAttribute("aria-valuenow", String(Math.round(reading.rows[0].x)));
    this.stage.setAttribute("aria-valuetext", spokenReading(this.words, frame, now.name, reading));
  }

  // Zoom ----------------------------------------------------------------------------------------------------------------

  /** Show a range of the x axis; null for all of it. */
  zoomTo(range) {
    this.zoom = range && this.allowed(range);
    this.draw();
    this.onZoom();
  }

  /** Scale the visible range by `times`, around the cursor or the middle. */
  zoomBy(times, around = this.cursor ?? (this.frame.x[0] + this.frame.x[1]) / 2) {
    const [low, high] = this.frame.x;
    this.zoomTo([around - (around - low) * times, around + (high - around) * times]);
  }

  /** The range limited to the existing steps and to a minimum width; null if it is nearly everything. */
  allowed([from, to]) {
    const [low, high] = this.frame.full, least = this.now.axis === "step" ? 2 : (high - low) / 1e4;
    const middle = (from + to) / 2, half = Math.max(to - from, least) / 2;
    const range = to - from < least ? [middle - half, middle + half] : [from, to];
    const [a, b] = [Math.max(low, range[0]), Math.min(high, range[1])];
    return b - a >= (high - low) * 0.999 || b <= a ? null : [a, b];
  }

  // Pointer and keyboard ------------------------------------------------------------------------------------------------

  listen(view) {
    const { stage } = this;
    stage.addEventListener("pointermove", event => this.onMove(event));
    stage.addEventListener("pointerleave", () => { if (!this.drag && document.activeElement !== stage) this.point(null); });
    stage.addEventListener("pointerdown", event => this.onDown(event));
    stage.addEventListener("pointerup", () => this.onUp());
    stage.addEventListener("pointercancel", () => { this.drag = null; });
    stage.addEventListener("dblclick", () => this.zoomTo(null));
    stage.addEventListener("wheel", event => this.onWheel(event));
    stage.addEventListener("blur", () => this.point(null));
    stage.addEventListener("keydown", event => this.onKey(event));
    view.onResize(stage, () => { if (this.now && this.frame && Math.abs(stage.clientWidth - this.frame.width) > 1) this.draw(); });
  }

  point(x) {
    this.cursor = x;
    if (this.frame) this.drawPointer();
  }

  pixelOf(event) {
    return Math.min(this.frame.right, Math.max(this.frame.left, event.clientX - this.svg.getBoundingClientRect().left));
  }

  onMove(event) {
    if (!this.frame) return;
    const pixel = this.pixelOf(event);
    if (this.drag) { this.drag.to = pixel; this.drag.moved ||= Math.abs(pixel - this.drag.from) > 5; }
    this.point(this.frame.fromPixel(pixel));
  }

  onDown(event) {
    if (!this.frame || event.button !== 0 || event.pointerType === "touch") return;
    const pixel = this.pixelOf(event);
    this.drag = { from: pixel, to: pixel, moved: false };
    this.stage.setPointerCapture(event.pointerId);
  }

  onUp() {
    const { drag, frame } = this;
    this.drag = null;
    if (drag?.moved) this.zoomTo([frame.fromPixel(drag.from), frame.fromPixel(drag.to)].sort((a, b) => a - b));
    else if (frame) { this.drawPointer(); if (drag) this.pick(); }
  }

  /** Choose the step at the cursor, on the first run's line with most points. */
  pick() {
    if (this.cursor === null) return;
    const own = this.now.lines.filter(one => one.run === this.now.lines[0].run);
    const { series } = own.reduce((a, b) => (b.series.size > a.series.size ? b : a), own[0] ?? { series: { size: 0 } });
    if (!series.size) return;
    const column = this.frame.column(series), after = Math.min(series.size - 1, placeOf(column, series.size, this.cursor));
    const nearest = after && this.cursor - column[after - 1] < column[after] - this.cursor ? after - 1 : after;
    this.onPick(series.step[nearest]);
  }

  onWheel(event) {
    if (!this.frame || !(event.ctrlKey || event.metaKey)) return;       // without Ctrl the page scrolls, as usual
    event.preventDefault();
    this.zoomBy(event.deltaY > 0 ? 1.25 : 0.8, this.frame.fromPixel(this.pixelOf(event)));
  }

  onKey(event) {
    const { key } = event;
    if (!this.frame || !this.now.lines.length || event.altKey || event.ctrlKey || event.metaKey) return;
    if (key in ZOOM_KEYS) this.zoomBy(ZOOM_KEYS[key]);
    else if (key === "0" || key === "Escape") this.zoomTo(null);
    else if (key === "Enter") this.pick();
    else if (CURSOR_KEYS.includes(key)) this.moveCursor(key, event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Move the cursor by one bucket of the line that has most; with Shift, by a tenth of the visible range. */
  moveCursor(key, isFar) {
    const { series } = this.now.lines.reduce((a, b) => (b.series.size > a.series.size ? b : a)), column = this.frame.column(series);
    if (!series.size) return;
    const first = Math.min(series.size - 1, placeOf(column, series.size, this.frame.x[0]));
    const last = Math.max(0, placeOf(column, series.size, this.frame.x[1] + 1e-9) - 1);
    const outside = key === "ArrowLeft" ? last + 1 : first - 1;
    const from = this.cursor === null ? outside : Math.min(series.size - 1, placeOf(column, series.size, this.cursor));
    const far = Math.max(1, Math.round((last - first) / 10)), by = isFar ? far : 1;
    const to = { ArrowLeft: from - by, ArrowRight: from + by, PageUp: from - far, PageDown: from + far, Home: first, End: last }[key];
    this.point(column[Math.min(last, Math.max(first, to))]);
  }
}

/** The spec with the curve of each line and the position of each mark; over steps if times are unknown. */
function prepared(spec) {
  const isTimeless = spec.axis === "time" && spec.lines.some(({ series }) => series.size && !Number.isFinite(series.time[0]));
  const axis = isTimeless ? "step" : spec.axis;
  const lines = spec.lines.map(one => {
    const isSmoothed = one.smooth && spec.weight > 0;
    return { ...one, isSmoothed, curve: isSmoothed ? smoothed(one.series, spec.weight) : one.series.mean };
  });
  if (axis === "step") lines.forEach(one => { one.fork = forkOf(one, lines); });
  return { ...spec, axis, lines, marks: spec.marks.map(mark => ({ ...mark, at: axis === "time" ? mark.seconds : mark.step })) };
}

/** The point of its parent's line where the line of a branch begins, as `[step, value]`; null for other lines. */
function forkOf({ run, name }, lines) {
  const parent = run.live.parent ? lines.find(one => one.run.key === run.live.parent && one.name === name) : null;
  if (!parent?.series.size) return null;
  const { series, curve } = parent, place = placeOf(series.step, series.size, run.facts.branched_at + 0.5) - 1;
  return place >= 0 ? [series.step[place], curve[place]] : null;
}

/** The range of the lines on the x axis; null if there are no values. */
function extentOf({ lines, axis }) {
  let low = Infinity, high = -Infinity;
  for (const { series, start } of lines) {
    if (!series.size) continue;
    const x = axis === "time" ? series.time : series.step;
    low = Math.min(low, axis === "step" ? start ?? x[0] : x[0]);
    high = Math.max(high, x[series.size - 1]);
  }
  if (!(high >= low)) return null;
  return low === high ? [low - 1, high + 1] : [low, high];
}
