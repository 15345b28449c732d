// Pictures of the screen as SVG and PNG: of arbitrary elements, or of an SVG element drawn by a panel.

import { SVG, download, s, sharpCanvas, themed } from "./common.js";

/** A picture of some elements as they appear on the screen: `{ svg(), png() }`, which return a string and a promise of a Blob. */
export function screenPicture(elements, root) {
  const frame = root.getBoundingClientRect(), shapes = [];
  let top = Infinity, bottom = 0;
  for (const element of elements) {
    for (const node of [element, ...element.querySelectorAll("*")]) {
      const style = getComputedStyle(node), box = node.getBoundingClientRect(), clip = clipOf(node, root);
      if (isInvisible(node, style, box) || isOutside(box, clip)) continue;
      shapes.push(...boxShapes(node, style, box), ...imageShapes(node, style, box), ...markShapes(node, box, root), ...textShapes(node, style, clip, root));
      top = Math.min(top, box.top);
      bottom = Math.max(bottom, box.bottom);
    }
  }
  const picture = {
    width: Math.ceil(frame.width), height: Math.ceil(Math.max(1, bottom - top)) + 16,
    back: getComputedStyle(root).backgroundColor,
    shapes: shapes.map(shape => ({ ...shape, x: shape.x - frame.left, y: shape.y - top + 8 })),
  };
  return { svg: () => asSVG(picture), png: () => asPNG(picture) };
}

// What is visible -------------------------------------------------------------------------------------------------------

/** The bounding box of the nearest scrolling ancestor, or null. */
function clipOf(node, root) {
  for (let up = node.parentElement; up && up !== root; up = up.parentElement)
    if (/(auto|scroll|hidden)/.test(getComputedStyle(up).overflowY) && up.scrollHeight > up.clientHeight + 1) return up.getBoundingClientRect();
  return null;
}

function isOutside(box, clip) {
  return clip && (box.bottom > clip.bottom + 1 || box.top < clip.top - 1);
}

function isInvisible(node, style, box) {
  if (!box.width || !box.height || style.visibility === "hidden" || node.closest("[hidden], .nk-sr")) return true;
  const fold = node.closest("details:not([open])");
  return fold && node !== fold && !node.closest("summary");
}

/** The right edge of the nearest ancestor that truncates its text, or Infinity. */
function rightEnd(node, root) {
  for (let up = node; up && up !== root; up = up.parentElement)
    if (getComputedStyle(up).overflowX === "hidden" && up.scrollWidth > up.clientWidth + 1) return up.getBoundingClientRect().right;
  return Infinity;
}

// Shapes -------------------------------------------------------------------------------------------------------------

function rectangle(x, y, width, height, more = {}) {
  return { x, y, width, height, radius: 0, fill: "none", stroke: "none", line: 0, ...more };
}

function isVisible(colour) {
  return colour && colour !== "transparent" && !/^rgba.*, 0\)$/.test(colour);
}

/** The background and the borders of an element, and the outline of a chip. */
function boxShapes(node, style, box) {
  const edge = side => (style[`border${side}Style`] !== "none" && isVisible(style[`border${side}Color`]) ? parseFloat(style[`border${side}Width`]) || 0 : 0);
  const shapes = [], line = edge("Left") && edge("Top"), isFramed = line > 0, isFilled = isVisible(style.backgroundColor);
  if (!isFramed) {
    for (const [side, y] of [["Top", box.top], ["Bottom", box.bottom - 1]])
      if (edge(side)) shapes.push(rectangle(box.left, y, box.width, edge(side), { fill: style[`border${side}Color`] }));
  }
  if (isFilled || isFramed) {
    shapes.push(rectangle(box.left, box.top, box.width, box.height, {
      radius: parseFloat(style.borderTopLeftRadius) || 0,
      fill: isFilled ? style.backgroundColor : "none",
      ...(isFramed ? { stroke: style.borderTopColor, line } : {}),
      isDashed: style.borderTopStyle === "dashed" || style.borderTopStyle === "dotted",
    }));
  }
  const outline = style.outlineStyle !== "none" && node.classList.contains("nk-chip") ? parseFloat(style.outlineWidth) : 0;
  if (outline && document.activeElement !== node)
    shapes.push(rectangle(box.left - 1, box.top - 1, box.width + 2, box.height + 2, { radius: 3, stroke: style.outlineColor, line: outline }));
  return shapes;
}

/** The content of an image or a canvas. */
function imageShapes(node, style, box) {
  if (node.tagName !== "CANVAS" && !(node.tagName === "IMG" && node.naturalWidth)) return [];
  const isSharp = style.imageRendering === "pixelated";
  const width = isSharp ? Math.round(box.width * 2) : node.naturalWidth || node.width, height = isSharp ? Math.round(box.height * 2) : node.naturalHeight || node.height;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = !isSharp;
  context.filter = style.filter;
  context.drawImage(node, 0, 0, width, height);
  const isPhoto = node.tagName === "IMG" && !isSharp;
  return [{ canvas, type: isPhoto ? "image/jpeg" : "image/png", opacity: Number(style.opacity), x: box.left, y: box.top, width: box.width, height: box.height }];
}

/** The marks on tokens that the style sheet draws without an element. */
function markShapes(node, box, root) {
  const shapes = [];
  if (node.matches(".nk-is-differs:not(.nk-piece)")) shapes.push(rectangle(box.right - 6, box.top, 6, 6, { fill: getComputedStyle(root).color }));
  if (node.matches(".nk-lit")) shapes.push(rectangle(box.left, box.bottom - 3, box.width, 3, { fill: themed(root, "--nk-accent") }));
  return shapes;
}

function textShapes(node, style, clip, root) {
  if (node.tagName === "OPTION") return [];
  const font = { colour: style.color, size: parseFloat(style.fontSize), family: style.fontFamily, weight: style.fontWeight };
  const shapes = node.tagName === "SELECT" && node.selectedOptions.length ? [selectText(node, style, font)] : [];
  const end = rightEnd(node, root), isStruck = /line-through/.test(style.textDecorationLine);
  for (const child of node.childNodes) {
    if (child.nodeType !== Node.TEXT_NODE || !child.data.trim()) continue;
    for (const [text, box] of linesOf(child)) {
      if (!box.width || box.width <= 1 || isOutside(box, clip) || box.left >= end) continue;
      shapes.push({ text: cutShort(text, box, end), x: box.left, y: box.top, width: box.width, height: box.height, ...font, isStruck });
    }
  }
  return shapes;
}

/** The selected option, which is not a text node on the page. */
function selectText(node, style, font) {
  const box = node.getBoundingClientRect(), room = parseFloat(style.paddingTop);
  return { text: node.selectedOptions[0].text, x: box.left + parseFloat(style.paddingLeft), y: box.top + room, width: box.width, height: box.height - 2 * room, ...font };
}

function cutShort(text, box, end) {
  if (box.left + box.width <= end + 1) return text;
  return `${text.slice(0, Math.max(0, Math.floor(text.length * (end - box.left) / box.width) - 1))}…`;
}

// Drawing ------------------------------------------------------------------------------------------------------------

function asSVG({ width, height, back, shapes }) {
  const drawing = s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, s("rect", { width, height, fill: back }));
  drawing.append(...shapes.map(elementOf));
  return markupOf(drawing);
}

function elementOf(shape) {
  const { x, y, width, height } = shape;
  if (shape.canvas) return s("image", { x, y, width, height, opacity: shape.opacity, preserveAspectRatio: "none", href: shape.canvas.toDataURL(shape.type, 0.92) });
  if (shape.text === undefined) {
    return s("rect", {
      x, y, width, height, rx: shape.radius,
      fill: shape.fill, stroke: shape.stroke, "stroke-width": shape.line, "stroke-dasharray": shape.isDashed ? "3 2" : null,
    });
  }
  return s("text", {
    x, y: y + height * 0.77, fill: shape.colour,
    "font-size": shape.size, "font-family": shape.family, "font-weight": shape.weight,
    "xml:space": "preserve", "text-decoration": shape.isStruck ? "line-through" : null,
  }, shape.text);
}

/** An SVG element as text; characters that XML does not allow, such as control characters, become U+FFFD. */
function markupOf(svg) {
  // eslint-disable-next-line no-control-regex
  return new XMLSerializer().serializeToString(svg).toWellFormed().replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd");
}

function asPNG({ width, height, back, shapes }) {
  const canvas = document.createElement("canvas"), context = sharpCanvas(canvas, width, height);
  context.fillStyle = back;
  context.fillRect(0, 0, width, height);
  context.textBaseline = "alphabetic";
  for (const shape of shapes) painterOf(shape)(context, shape);
  return new Promise(resolve => canvas.toBlob(resolve, "image/png"));
}

function painterOf(shape) {
  if (shape.canvas) return paintImage;
  return shape.text === undefined ? paintBox : paintText;
}

function paintImage(context, { canvas, opacity, x, y, width, height }) {
  context.globalAlpha = opacity;
  context.drawImage(canvas, x, y, width, height);
  context.globalAlpha = 1;
}

function paintBox(context, shape) {
  context.beginPath();
  context.roundRect(shape.x, shape.y, shape.width, shape.height, shape.radius);
  if (shape.fill !== "none") { context.fillStyle = shape.fill; context.fill(); }
  if (shape.stroke === "none") return;
  context.strokeStyle = shape.stroke;
  context.lineWidth = shape.line;
  context.setLineDash(shape.isDashed ? [3, 2] : []);
  context.stroke();
}

function paintText(context, shape) {
  context.fillStyle = shape.colour;
  context.font = `${shape.weight} ${shape.size}px ${shape.family}`;
  context.fillText(shape.text, shape.x, shape.y + shape.height * 0.77);
  if (shape.isStruck) context.fillRect(shape.x, shape.y + shape.height * 0.55, shape.width, 1);
}

/** The lines into which a text node is broken on the screen, as `[text, box]`. */
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
    let at = match.index;                  // a word that is broken inside
    for (const character of match[0]) {
      range.setStart(node, at);
      range.setEnd(node, at += character.length);
      add(character, range.getBoundingClientRect());
    }
  }
  return lines;
}

/** Download an SVG element as a file, or as a PNG at twice its size. */
export async function saveSVG(svg, filename, type) {
  const text = markupOf(svg);
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
