// The drawing as a file: an SVG element of lines, or of heat maps side by side.

import { SVG, s, themed } from "../shared/common.js";
import { LINE_HEIGHT } from "./lines.js";

const TOP = 44;
const WIDEST = 1000;                       // of a row of canvases

/** The current drawing as an SVG element: lines if `mode` is "heads", otherwise `images` side by side. */
export function pictureOf(view, { title, mode, look, names, web, lit, images, sides }) {
  const paper = new Paper(view);
  if (mode === "heads") paper.lines(look, names, web, new Set(lit), sides);
  else paper.images(images, lit);
  return paper.svg(title);
}

/** The parts of a drawing and its size. */
class Paper {
  constructor(view) {
    const theme = name => themed(view.root, name);
    this.colours = { text: theme("color"), back: theme("background-color"), accent: theme("--nk-accent"), minus: theme("--nk-av-minus") };
    this.parts = [];
    [this.width, this.height] = [640, 60];
  }

  label(x, y, words, more = {}) {
    return s("text", { x, y, fill: this.colours.text, "font-family": "sans-serif", "font-size": 11, "dominant-baseline": "middle", ...more }, words);
  }

  svg(title) {
    const { width, height } = this, heading = this.label(12, 14, title, { "font-weight": "bold", "font-size": 12 });
    return s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` },
      s("title", {}, title), s("rect", { width, height, fill: this.colours.back }), heading, this.parts);
  }

  lines(look, names, web, chosen, sides) {
    const { accent, minus } = this.colours, y = i => TOP + i * LINE_HEIGHT, zero = look.signed ? 128 : 0;
    this.height = TOP + Math.max(look.R, look.C) * LINE_HEIGHT;
    web.places.forEach((k, n) => {
      const part = web.strengths[n];
      this.parts.push(s("line", { x1: 220, x2: 420, y1: y(Math.floor(k / look.C)), y2: y(k % look.C), stroke: look.signed && look.bytes[k] < zero ? minus : accent,
        "stroke-width": (0.5 + 3 * part).toFixed(2), "stroke-opacity": (0.06 + 0.94 * part).toFixed(3) }));
    });
    for (let i = 0; i < look.R; i++) {
      if (chosen.has(i)) this.parts.push(s("rect", { x: 90, width: 126, y: y(i) - LINE_HEIGHT / 2, height: LINE_HEIGHT, fill: accent, "fill-opacity": 0.25 }));
      this.parts.push(this.label(212, y(i), names.row(i), { "text-anchor": "end", "font-weight": chosen.has(i) ? "bold" : "normal" }));
    }
    for (let j = 0; j < look.C; j++) this.parts.push(this.label(428, y(j), names.column(j)));
    for (const [x, anchor, text] of [[212, "end", sides.rows], [428, "start", sides.columns]])
      this.parts.push(this.label(x, 30, text, { "text-anchor": anchor, "font-style": "italic" }));
  }

  images(images, lit) {
    let x = 0, y = 0, most = 320;
    for (const image of images) {
      if (x && !image.pixels && x + parseFloat(image.canvas.style.width) > WIDEST) { x = 0; y = this.height - TOP; }
      x += image.pixels ? this.heatMap(image, x, lit) : this.canvas(image, x, y);
      most = Math.max(most, x);
    }
    this.width = most;
  }

  /** Add a canvas as it is on the screen, with its label below; returns its width. */
  canvas({ canvas, label }, x, y) {
    const width = parseFloat(canvas.style.width), height = parseFloat(canvas.style.height);
    this.parts.push(s("image", { x: x + 10, y: TOP + y, width, height, href: canvas.toDataURL("image/png") }));
    if (label) this.parts.push(this.label(x + 10, TOP + y + height + 10, label));
    this.height = Math.max(this.height, y + height + (label ? 78 : 60));
    return width + 20;
  }

  /** Add a heat map with its labels; returns its width. */
  heatMap({ pixels, look, names, title }, x, lit) {
    const cell = Math.max(1, Math.min(18, 480 / Math.max(look.R, look.C))), named = cell >= 8, margin = named ? 110 : 20;
    const left = x + margin, top = TOP + margin, { accent } = this.colours;
    this.parts.push(this.label(left, 30, title, { "font-weight": "bold" }));
    this.parts.push(s("image", { x: left, y: top, width: look.C * cell, height: look.R * cell, preserveAspectRatio: "none",
      style: { "image-rendering": "pixelated" }, href: enlarged(pixels, cell).toDataURL("image/png") }));
    for (let i = 0; named && i < look.R; i++) this.parts.push(this.label(left - 5, top + (i + 0.5) * cell, names.row(i), { "text-anchor": "end" }));
    for (let j = 0; named && j < look.C; j++) {
      const at = [left + (j + 0.5) * cell, top - 5];
      this.parts.push(this.label(at[0], at[1], names.column(j), { transform: `rotate(-70 ${at[0]} ${at[1]})` }));
    }
    for (const i of lit) this.parts.push(s("rect", { x: left, y: top + i * cell, width: look.C * cell, height: cell, fill: "none", stroke: accent, "stroke-width": 1.5 }));
    this.height = Math.max(this.height, top + look.R * cell + 16);
    return margin + look.C * cell + 24;
  }
}

/** Pixels enlarged without blur, because some SVG viewers smooth scaled images. */
function enlarged(pixels, cell) {
  const times = Math.max(1, Math.round(cell)), canvas = document.createElement("canvas");
  canvas.width = pixels.width * times;
  canvas.height = pixels.height * times;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(pixels, 0, 0, canvas.width, canvas.height);
  return canvas;
}
