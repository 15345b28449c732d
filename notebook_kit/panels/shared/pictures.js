// Pictures of what is on the screen, as SVG and PNG: of any elements, or of an SVG element that a panel made.

import { SVG, download, s, sharpCanvas, themed } from "./common.js";

/** What stands on the screen inside some elements, as boxes and words, for SVG and PNG. */
export function screenPicture(elements, root) {
  const frame = root.getBoundingClientRect();
  const shapes = [];
  let bottom = 0;
  const clipped = node => {
    for (let up = node.parentElement; up && up !== root; up = up.parentElement)
      if (/(auto|scroll|hidden)/.test(getComputedStyle(up).overflowY) && up.scrollHeight > up.clientHeight + 1) return up.getBoundingClientRect();
    return null;
  };
  /** Where a line that is cut short by its box ends on the screen. */
  const rightEnd = node => {
    for (let up = node; up && up !== root; up = up.parentElement)
      if (getComputedStyle(up).overflowX === "hidden" && up.scrollWidth > up.clientWidth + 1) return up.getBoundingClientRect().right;
    return Infinity;
  };
  const folded = node => { const fold = node.closest("details:not([open])"); return fold && node !== fold && !node.closest("summary"); };
  const outside = (box, clip) => clip && (box.bottom > clip.bottom + 1 || box.top < clip.top - 1);
  let top = Infinity;
  for (const element of elements) {
    for (const node of [element, ...element.querySelectorAll("*")]) {
      const style = getComputedStyle(node), box = node.getBoundingClientRect(), clip = clipped(node);
      if (!box.width || !box.height || style.visibility === "hidden" || node.closest("[hidden], .nk-sr") || folded(node) || outside(box, clip)) continue;
      const see = colour => colour && colour !== "transparent" && !/, 0\)$/.test(colour);
      const edge = side => (style[`border${side}Style`] !== "none" && see(style[`border${side}Color`]) ? parseFloat(style[`border${side}Width`]) || 0 : 0);
      const line = edge("Left") && edge("Top"), edged = line > 0;
      if (!edged) {
        for (const [side, y] of [["Top", box.top], ["Bottom", box.bottom - 1]])
          if (edge(side)) shapes.push({ x: box.left, y, width: box.width, height: edge(side), radius: 0, fill: style[`border${side}Color`], stroke: "none", line: 0 });
      }
      const outline = style.outlineStyle !== "none" && node.classList.contains("nk-chip") ? parseFloat(style.outlineWidth) : 0;
      if (see(style.backgroundColor) || edged)
        shapes.push({ x: box.left, y: box.top, width: box.width, height: box.height, radius: parseFloat(style.borderTopLeftRadius) || 0,
          fill: see(style.backgroundColor) ? style.backgroundColor : "none", stroke: edged ? style.borderTopColor : "none", line: edged ? line : 0, dash: style.borderTopStyle === "dashed" || style.borderTopStyle === "dotted" });
      if (outline && document.activeElement !== node)
        shapes.push({ x: box.left - 1, y: box.top - 1, width: box.width + 2, height: box.height + 2, radius: 3, fill: "none", stroke: style.outlineColor, line: outline });
      if (node.matches(".nk-is-differs:not(.nk-piece)")) shapes.push({ x: box.right - 6, y: box.top, width: 6, height: 6, radius: 0, fill: getComputedStyle(root).color, stroke: "none", line: 0 });
      if (node.matches(".nk-lit")) shapes.push({ x: box.left, y: box.bottom - 3, width: box.width, height: 3, radius: 0, fill: themed(root, "--nk-accent"), stroke: "none", line: 0 });
      if (node.tagName === "SELECT" && node.selectedOptions.length)    // a control has no text nodes of its own that were drawn
        shapes.push({ text: node.selectedOptions[0].text, x: box.left + parseFloat(style.paddingLeft), y: box.top + parseFloat(style.paddingTop), height: box.height - 2 * parseFloat(style.paddingTop), width: box.width,
          colour: style.color, size: parseFloat(style.fontSize), family: style.fontFamily, weight: style.fontWeight });
      const end = rightEnd(node);
      for (const child of node.childNodes) {
        if (child.nodeType !== Node.TEXT_NODE || !child.data.trim() || node.tagName === "OPTION") continue;
        for (const [words_, place] of linesOf(child)) {
          if (!place.width || place.width <= 1 || outside(place, clip) || place.left >= end) continue;
          const short = place.left + place.width > end + 1 ? `${words_.slice(0, Math.max(0, Math.floor(words_.length * (end - place.left) / place.width) - 1))}…` : words_;
          shapes.push({ text: short, x: place.left, y: place.top, height: place.height, width: place.width, colour: style.color, size: parseFloat(style.fontSize), family: style.fontFamily, weight: style.fontWeight,
            through: /line-through/.test(style.textDecorationLine) });
        }
      }
      top = Math.min(top, box.top);
      bottom = Math.max(bottom, box.bottom);
    }
  }
  const width = Math.ceil(frame.width), height = Math.ceil(Math.max(1, bottom - top)) + 16;
  const back = getComputedStyle(root).backgroundColor;
  const at = shape => [shape.x - frame.left, shape.y - top + 8];
  return {
    svg() {
      const drawing = s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, s("rect", { width, height, fill: back }));
      for (const shape of shapes) {
        const [x, y] = at(shape);
        if (shape.text === undefined) {
          drawing.append(s("rect", { x, y, width: shape.width, height: shape.height, rx: shape.radius, fill: shape.fill, stroke: shape.stroke, "stroke-width": shape.line, "stroke-dasharray": shape.dash ? "3 2" : null }));
        } else {
          drawing.append(s("text", { x, y: y + shape.height * 0.77, fill: shape.colour, "font-size": shape.size, "font-family": shape.family, "font-weight": shape.weight, "xml:space": "preserve", "text-decoration": shape.through ? "line-through" : null }, shape.text));
        }
      }
      return new XMLSerializer().serializeToString(drawing);
    },
    png() {
      const canvas = document.createElement("canvas"), context = sharpCanvas(canvas, width, height);
      context.fillStyle = back;
      context.fillRect(0, 0, width, height);
      context.textBaseline = "alphabetic";
      for (const shape of shapes) {
        const [x, y] = at(shape);
        if (shape.text === undefined) {
          context.beginPath();
          context.roundRect(x, y, shape.width, shape.height, shape.radius);
          if (shape.fill !== "none") { context.fillStyle = shape.fill; context.fill(); }
          if (shape.stroke !== "none") { context.strokeStyle = shape.stroke; context.lineWidth = shape.line; context.setLineDash(shape.dash ? [3, 2] : []); context.stroke(); }
        } else {
          context.fillStyle = shape.colour;
          context.font = `${shape.weight} ${shape.size}px ${shape.family}`;
          context.fillText(shape.text, x, y + shape.height * 0.77);
          if (shape.through) context.fillRect(x, y + shape.height * 0.55, shape.width, 1);
        }
      }
      return new Promise(resolve => canvas.toBlob(resolve, "image/png"));
    },
  };
}

/** The lines into which a text node falls on the screen: their words and boxes. */
function linesOf(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = range.getClientRects();
  if (boxes.length <= 1) return boxes.length ? [[node.data, boxes[0]]] : [];
  const lines = [];
  const add = (words, box) => {
    const last = lines.at(-1);
    if (last && Math.abs(last[1].top - box.top) < 2) { last[0] += words; last[1].width = box.right - last[1].left; } else lines.push([words, { left: box.left, top: box.top, bottom: box.bottom, width: box.width, height: box.height }]);
  };
  for (const match of node.data.matchAll(/\S+\s*/g)) {
    range.setStart(node, match.index);
    range.setEnd(node, match.index + match[0].trimEnd().length);
    if (range.getClientRects().length <= 1) { add(match[0], range.getBoundingClientRect()); continue; }
    let at = match.index;                  // a word that is broken anywhere
    for (const character of match[0]) {
      range.setStart(node, at);
      range.setEnd(node, at += character.length);
      add(character, range.getBoundingClientRect());
    }
  }
  return lines;
}

/** Offer an SVG element as a file, or as a PNG of twice its size. */
export async function takeAway(svg, filename, type) {
  const text = new XMLSerializer().serializeToString(svg);
  if (type === "svg") return download(`${filename}.svg`, "image/svg+xml", text);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas"), times = Math.min(2, 12000 / Math.max(image.width, image.height));
  canvas.width = Math.round(image.width * times);
  canvas.height = Math.round(image.height * times);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise(resolve => canvas.toBlob(resolve, "image/png"));
  return download(`${filename}.png`, "image/png", blob);
}
