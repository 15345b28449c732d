// The SVG shapes in the frame of the chart: the grid, the lines, and the marks of events.

import { s } from "../shared/common.js";
import { logTicks, ticksBetween } from "./frame.js";
import { MARKS, QUIET, axisText } from "./marks.js";
import { withUnit } from "./numbers.js";

const MOST_DOTS = 80;
const MOST_MARKS = 150;
const MARK_ROOM = 13;   // pixels between two signs

export function label(x, y, text, more = {}) {
  return s("text", { x, y, "class": "nk-td-label", ...more }, text);
}

function round(value) {
  return Math.round(value * 10) / 10;
}

/** The ticks of both axes; those of the y axis in the unit of the metric `name`. */
export function grid(frame, name) {
  const { left, right, bottom, isLog } = frame, group = s("g", { "class": "nk-td-grid" });
  for (const tick of (isLog ? logTicks : ticksBetween)(...frame.y, 5)) {
    const y = round(frame.yOf(tick));
    group.append(s("line", { x1: left, x2: right, y1: y, y2: y }), label(left - 6, y + 4, withUnit(name, tick), { "text-anchor": "end" }));
  }
  for (const tick of ticksBetween(...frame.x, Math.max(2, Math.floor(frame.width / 110)))) {
    if (frame.axis === "step" && !Number.isInteger(tick)) continue;
    const x = round(frame.xOf(tick));
    group.append(s("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4 }), label(x, bottom + 17, axisText(frame, tick), { "text-anchor": "middle" }));
  }
  group.append(s("line", { x1: left, x2: right, y1: bottom, y2: bottom, "class": "nk-td-axis" }));
  return group;
}

/** One line: its band or raw values, its curve, its dots, and marks for non-finite values and the best one. */
export function line(frame, one) {
  const { series, curve, isSmoothed } = one, [from, to] = frame.within(series), colour = `var(--td-${one.colour})`, shapes = [];
  const part = { frame, x: frame.column(series), from, to };
  if (series.width > 1 || one.wide) shapes.push(s("path", { d: band(part, series), "class": "nk-td-band", style: { fill: colour } }));
  else if (isSmoothed) shapes.push(s("path", { d: path(part, series.mean), "class": "nk-td-raw", style: { stroke: colour } }));
  if (one.fork) shapes.push(...forkShapes(part, one, colour));
  shapes.push(s("path", { d: path(part, curve), "class": "nk-td-line", "stroke-dasharray": one.dash, "data-line": one.label, style: { stroke: colour } }));
  if ((one.dots || series.size === 1) && to - from <= MOST_DOTS) shapes.push(...dots(part, series.mean, colour));
  shapes.push(...badMarks(part, series));
  const [best, step] = one.best ?? [];
  if (one.best && frame.axis === "step" && (!frame.isLog || best > 0) && frame.isInside(step))
    shapes.push(label(round(frame.xOf(step)), round(frame.yOf(best)) + 5, "★", { "text-anchor": "middle", "class": "nk-td-star", style: { fill: colour } }));
  return shapes;
}

/** The beginning of a branch: a dot on its parent's line, and a thin line to its first value. */
function forkShapes({ frame, x }, { fork: [step, value], curve, series }, stroke) {
  if (!series.size || !frame.isInside(step) || !frame.canShow(value) || !frame.canShow(curve[0])) return [];
  const [cx, cy] = [round(frame.xOf(step)), round(frame.yOf(value))];
  return [s("path", { d: `M${cx} ${cy}L${round(frame.xOf(x[0]))} ${round(frame.yOf(curve[0]))}`, "class": "nk-td-fork", style: { stroke } }),
    s("circle", { cx, cy, r: 4, "class": "nk-td-dot", style: { stroke } })];
}

function path({ frame, x, from, to }, values) {
  const parts = [];
  let pen = "M";
  for (let i = from; i < to; i++) {
    if (!frame.canShow(values[i])) { pen = "M"; continue; }
    parts.push(pen, round(frame.xOf(x[i])), " ", round(frame.yOf(values[i])));
    pen = "L";
  }
  return parts.join("");
}

/** The area between the lowest and highest values, with gaps where values are missing. */
function band({ frame, x, from, to }, { low, high }) {
  const parts = [];
  let up = [], down = [];
  const close = () => {
    if (up.length) parts.push("M", up.join("L"), "L", down.reverse().join("L"), "Z");
    up = []; down = [];
  };
  for (let i = from; i < to; i++) {
    if (!frame.canShow(low[i])) { close(); continue; }
    const place = round(frame.xOf(x[i]));
    up.push(`${place} ${round(frame.yOf(high[i]))}`);
    down.push(`${place} ${round(frame.yOf(low[i]))}`);
  }
  close();
  return parts.join("");
}

function dots({ frame, x, from, to }, values, stroke) {
  const places = Array.from({ length: to - from }, (_, k) => from + k).filter(i => frame.canShow(values[i]));
  return places.map(i => s("circle", { cx: round(frame.xOf(x[i])), cy: round(frame.yOf(values[i])), r: 3.2, "class": "nk-td-dot", style: { stroke } }));
}

/** A mark at the top for each bucket with values that are not finite. */
function badMarks({ frame, x, from, to }, { bad }) {
  const shapes = [];
  for (let i = from; i < to; i++)
    if (bad[i] && x[i] >= frame.x[0]) shapes.push(s("path", { d: `M${round(frame.xOf(x[i])) - 4} ${frame.top}h8l-4 7z`, "class": "nk-td-bad" }));
  return shapes;
}

/** Marks of events: lines through the chart, and quiet signs on the axis. If signs are too close, only the first is shown. */
export function signs(frame, marks) {
  const shapes = [], inside = marks.filter(mark => mark.at !== null && frame.isInside(mark.at)).slice(0, MOST_MARKS + 1);
  let last = -Infinity;
  for (const mark of inside) {
    const x = round(frame.xOf(mark.at)), isQuiet = QUIET.has(mark.kind);
    if (!isQuiet) shapes.push(s("line", { x1: x, x2: x, y1: frame.top, y2: frame.bottom, "class": `nk-td-mark nk-td-mark-${mark.kind}` }));
    if (!isQuiet && x - last < MARK_ROOM) continue;
    const sign = label(x, isQuiet ? frame.bottom - 3 : frame.top - 5, MARKS[mark.kind] ?? "•", {
      "text-anchor": "middle", "class": `nk-td-sign nk-td-sign-${isQuiet ? "quiet" : mark.kind}`,
    });
    sign.append(s("title", {}, mark.text));
    shapes.push(sign);
    if (!isQuiet) last = x;
  }
  return shapes;
}
