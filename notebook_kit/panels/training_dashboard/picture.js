// The chart as one SVG for saving: the name of the run, its progress, the legend, and the chart.

import { SVG, s } from "../shared/common.js";
import { standalone } from "./swatch.js";

/** `keys`: `{ swatch, text }` of each line; `style`: the computed style of the panel. */
export function pictureOf({ name, line, heading, keys, chart, style }) {
  const { width } = chart.frame;
  const label = (x, y, text, more = {}) => s("text", { x, y, fill: style.color, "font-family": style.fontFamily, "font-size": 12, ...more }, text);
  const parts = [
    label(12, 20, name, { "font-weight": "bold", "font-size": 14 }),
    label(12, 38, line),
    label(12, 60, heading, { "font-weight": "bold" }),
  ];
  let y = 78;
  for (const { swatch, text } of keys) {
    const copy = standalone(swatch);
    copy.setAttribute("x", "12");
    copy.setAttribute("y", String(y - 9));
    parts.push(copy, label(46, y, text));
    y += 18;
  }
  const drawing = standalone(chart.svg), height = y + chart.frame.height;
  drawing.setAttribute("y", String(y));
  return s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` },
    s("title", {}, `${name} · ${heading}`), s("rect", { width, height, fill: style.backgroundColor }), parts, drawing);
}
