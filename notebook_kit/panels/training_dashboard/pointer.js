// The reading of the chart at one position: the nearest bucket of each line, as text, as dots, and in a tooltip.

import { fill, h, s } from "../shared/common.js";
import { placeOf } from "./frame.js";
import { MARKS, axisText } from "./marks.js";
import { withUnit } from "./numbers.js";
import { swatch } from "./swatch.js";

const MOST_MARKS = 4;

/** The reading at a position: the nearest bucket of each line as `{ one, i, x }`, and the marks nearby. */
export function readingAt(frame, { lines, marks }, x) {
  const rows = lines.filter(one => one.series.size).map(one => nearest(one, frame.column(one.series), x));
  const near = Math.min(...rows.map(row => Math.abs(row.x - x)));
  return {
    rows: rows.filter(row => Math.abs(row.x - x) <= Math.max(near, (frame.x[1] - frame.x[0]) / 30)),
    marks: marks.filter(mark => Math.abs(frame.xOf(mark.at) - frame.xOf(x)) < 5).slice(0, MOST_MARKS),
  };
}

function nearest(one, column, x) {
  let i = Math.min(one.series.size - 1, placeOf(column, one.series.size, x));
  if (i > 0 && x - column[i - 1] < column[i] - x) i--;
  return { one, i, x: column[i] };
}

/** The position of a bucket as text: its step, its range of steps, or its time. */
export function placeText(words, frame, { one, i, x }) {
  if (frame.axis === "time") return axisText(frame, x);
  const before = i > 0 ? one.series.step[i - 1] : (one.start ?? 1) - 1;
  if (one.series.width > 1 && x - before > 1) return words("steps_from_to", { from: (before + 1).toLocaleString("en"), to: x.toLocaleString("en") });
  return words("step_at", { step: x.toLocaleString("en") });
}

/** The values of a bucket as text, in the unit of the metric `name`. */
export function rowText(words, name, { one, i }) {
  const { series } = one, parts = [withUnit(name, series.mean[i])];
  if (series.bad[i]) parts.push(words("not_finite", { count: series.bad[i] }));
  if (series.width > 1 && series.low[i] !== series.high[i]) parts.push(`(${withUnit(name, series.low[i])}–${withUnit(name, series.high[i])})`);
  if (one.isSmoothed) parts.push(words("smoothed_value", { value: withUnit(name, one.curve[i]) }));
  return parts.join(" ");
}

/** A vertical line at a reading, and a dot on each line. */
export function pointerShapes(frame, rows) {
  const x = frame.xOf(rows[0].x);
  const visible = rows.filter(({ one, i }) => frame.canShow(one.curve[i]));
  return [
    s("line", { x1: x, x2: x, y1: frame.top, y2: frame.bottom, "class": "nk-td-cursor" }),
    ...visible.map(({ one, i, x: own }) => s("circle", {
      cx: frame.xOf(own), cy: Math.min(frame.bottom, Math.max(frame.top, frame.yOf(one.curve[i]))), r: 4, "class": "nk-td-here", style: { fill: `var(--td-${one.colour})` },
    })),
  ];
}

/** Fill the tooltip, and place it on the side of the pointer with more room. */
export function fillTip(tip, words, frame, name, { rows, marks }) {
  const x = frame.xOf(rows[0].x), isRight = x > (frame.left + frame.right) / 2;
  fill(tip, h("div.td-tip-step", {}, placeText(words, frame, rows[0])),
    rows.map(row => h("div.td-tip-row", {}, swatch(row.one), h("bdi", {}, row.one.label), h("span.td-tip-value", {}, rowText(words, name, row)))),
    marks.map(mark => h("div.td-tip-mark", {}, MARKS[mark.kind] ?? "•", " ", mark.text)));
  tip.style.left = isRight ? "auto" : `${x + 12}px`;
  tip.style.right = isRight ? `${frame.width - x + 12}px` : "auto";
}

/** A reading as one sentence for screen readers. */
export function spokenReading(words, frame, name, { rows, marks }) {
  return [placeText(words, frame, rows[0]), ...rows.map(row => `${row.one.label} ${rowText(words, name, row)}`), ...marks.map(mark => mark.text)].join(". ");
}
