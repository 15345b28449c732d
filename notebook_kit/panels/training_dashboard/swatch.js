// SVG pieces shared by several parts of the panel.

import { s } from "../shared/common.js";

/** Dash patterns that distinguish lines in addition to their colour. */
export const PROBE_DASHES = [null, "7 4", "2 3", "10 3 2 3"];

/** A short piece of a line in its style, for legends. */
export function swatch({ colour, dash, dots }) {
  const stroke = `var(--td-${colour})`;
  return s("svg", { width: 26, height: 10, "class": "nk-td-swatch", "aria-hidden": "true" },
    s("line", { x1: 1, x2: 25, y1: 5, y2: 5, "stroke-dasharray": dash, style: { stroke } }),
    dots ? s("circle", { cx: 13, cy: 5, r: 3, "class": "nk-td-dot", style: { stroke } }) : null);
}

/** A copy of an SVG element that looks the same outside the page, with computed styles as attributes. */
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
