// A matrix of weights as a heat map on a canvas: zoom, a cursor, hover.

import { colourScale, h, set, sharpCanvas, themed } from "../shared/common.js";

const DIVERGING = [[127, 59, 8], [179, 88, 6], [224, 130, 20], [253, 184, 99], [254, 224, 182], [247, 247, 247], [209, 229, 240],
  [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]];

const lookups = new Map();

/** 256 colours as `[r, g, b]`, from low to high or from minus to plus. */
export function coloursOf(signed) {
  if (!signed) return colourScale();
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (DIVERGING.length - 1), low = Math.min(Math.floor(place), DIVERGING.length - 2);
    return DIVERGING[low].map((v, k) => Math.round(v + (DIVERGING[low + 1][k] - v) * (place - low)));
  });
}

/** The same as pixels (ABGR, as canvases hold them). */
function pixelColours(signed) {
  if (!lookups.has(signed))
    lookups.set(signed, Uint32Array.from(coloursOf(signed), ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0));
  return lookups.get(signed);
}

/** Bytes as a canvas of one pixel a weight; what is weaker than `least` (0 to 1 of the scale) is left at zero. */
export function pixelCanvas(bytes, rows, columns, signed, least = 0) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer), colours = pixelColours(signed);
  const zero = signed ? 128 : 0, limit = least * (signed ? 127 : 255);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[Math.abs(bytes[i] - zero) < limit ? zero : bytes[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A legend of the colour scale. */
export function legend(low, high, signed) {
  const canvas = h("canvas.av-legend", { "aria-hidden": "true", width: 256, height: 1 });
  const image = new ImageData(256, 1);
  new Uint32Array(image.data.buffer).set(pixelColours(signed));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return h("span.av-scale", {}, h("span", {}, low), canvas, h("span", {}, high));
}

/**
 * A heat map. `draw(look, names, { least, lit })` shows a matrix; `onCell(i, j)` is called for the cell under the pointer or the
 * cursor, `onPick(i)` when a row is chosen.
 */
export function heatMap(view, { onCell = () => {}, onPick = () => {} } = {}) {
  const canvas = h("canvas.av-map", { role: "application", tabindex: "0" });
  const host = h("div.av-map-host", {}, canvas);
  let look = null, names = null, marks = { least: 0, lit: [] }, pixels = null, label = () => "";
  let zoom = 1, left = 0, top = 0;          // how much larger than fitted; the first column and row in sight, as fractions
  let cursor = null, width = 0, height = 0, mapWidth = 0, marginLeft = 0, marginTop = 0, cell = 1, dragged = null;

  const measure = () => {
    const room = Math.max(220, Math.min(host.clientWidth || 480, 620));
    const fitted = Math.min(26, (room - 104) / look.C, 460 / look.R), named = fitted * zoom >= 9;
    const marginRight = named ? 20 : 2;    // the last column's name leans out to the right
    marginLeft = named ? 84 : 30;
    marginTop = named ? 64 : 20;
    cell = Math.min(26, (room - marginLeft - marginRight) / look.C, Math.max(460 / look.R, 1e-6));
    mapWidth = look.C * cell;
    width = Math.ceil(marginLeft + mapWidth + marginRight);
    height = Math.ceil(marginTop + look.R * cell);
  };

  const clamp = () => {
    left = Math.max(0, Math.min(left, look.C - look.C / zoom));
    top = Math.max(0, Math.min(top, look.R - look.R / zoom));
  };

  const paint = () => {
    if (!look || !host.isConnected) return;
    measure();
    clamp();
    const context = sharpCanvas(canvas, width, height), size = cell * zoom;
    const text = themed(view.root, "color") || themed(view.root, "--nk-text"), accent = themed(view.root, "--nk-accent");
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = size * (window.devicePixelRatio || 1) < 1;
    context.imageSmoothingQuality = "high";
    const seenColumns = look.C / zoom, seenRows = look.R / zoom;
    context.drawImage(pixels, left, top, seenColumns, seenRows, marginLeft, marginTop, seenColumns * size, seenRows * size);
    context.font = `${Math.min(12, Math.max(9, size - 2))}px ${getComputedStyle(view.root).fontFamily}`;
    context.fillStyle = text;
    context.textBaseline = "middle";
    const lit = new Set(marks.lit);
    const every = size >= 9 ? 1 : Math.ceil(48 / size);   // where names do not fit, numbers at some places
    const axis = (count, first, seen, put) => {
      for (let i = Math.ceil(first - 0.5); i < first + seen - 0.3 && i < count; i++) {
        if (i < 0 || (every > 1 && i % every)) continue;
        put(i);
      }
    };
    axis(look.R, top, seenRows, i => {
      const y = marginTop + (i - top + 0.5) * size;
      if (y < marginTop + 3) return;
      context.textAlign = "right";
      context.fillText(every > 1 ? String(i) : clipped(context, names.row(i), marginLeft - 10), marginLeft - 6, y);
    });
    axis(look.C, left, seenColumns, j => {
      const x = marginLeft + (j - left + 0.5) * size;
      if (x < marginLeft + 3) return;
      context.save();
      context.translate(x, marginTop - 5);
      if (every > 1) { context.textAlign = "center"; context.fillText(String(j), 0, -6); }
      else { context.rotate(-Math.PI / 2.6); context.textAlign = "left"; context.fillText(clipped(context, names.column(j), marginTop), 0, 0); }
      context.restore();
    });
    context.save();
    context.beginPath();
    context.rect(0, marginTop, marginLeft + mapWidth + 2, height - marginTop);
    context.clip();
    context.fillStyle = accent;
    for (const i of lit) context.fillRect(marginLeft - 4, marginTop + (i - top) * size, 3, Math.max(1, size));
    context.strokeStyle = accent;
    context.lineWidth = 1.5;
    for (const i of lit) if (size > 3) context.strokeRect(marginLeft, marginTop + (i - top) * size, seenColumns * size, size);
    if (cursor) {
      const [i, j] = cursor, x = marginLeft + (j - left) * size, y = marginTop + (i - top) * size, box = Math.max(size, 5);
      context.lineWidth = 3;
      context.strokeStyle = "#000000";
      context.strokeRect(x - 1, y - 1, box + 2, box + 2);
      context.lineWidth = 1.5;
      context.strokeStyle = "#ffffff";
      context.strokeRect(x - 1, y - 1, box + 2, box + 2);
    }
    context.restore();
  };

  const cellAt = event => {
    const box = canvas.getBoundingClientRect(), size = cell * zoom;
    const j = Math.floor(left + (event.clientX - box.left - marginLeft) / size);
    const i = Math.floor(top + (event.clientY - box.top - marginTop) / size);
    return event.clientX - box.left < marginLeft || event.clientY - box.top < marginTop || i < 0 || j < 0 || i >= look.R || j >= look.C ? null : [i, j];
  };

  const moveTo = (i, j) => {
    cursor = [Math.max(0, Math.min(look.R - 1, i)), Math.max(0, Math.min(look.C - 1, j))];
    const seenColumns = look.C / zoom, seenRows = look.R / zoom;
    if (cursor[1] < left) left = cursor[1]; else if (cursor[1] >= left + seenColumns) left = cursor[1] - seenColumns + 1;
    if (cursor[0] < top) top = cursor[0]; else if (cursor[0] >= top + seenRows) top = cursor[0] - seenRows + 1;
    paint();
    onCell(...cursor);
  };

  const zoomBy = (factor, at = null) => {
    if (!look) return;
    const [i, j] = at ?? cursor ?? [top + look.R / zoom / 2, left + look.C / zoom / 2];
    const wanted = Math.max(1, Math.min(Math.max(look.R, look.C) / 4, zoom * factor)) || 1;
    left = j - (j - left) * (zoom / wanted);
    top = i - (i - top) * (zoom / wanted);
    zoom = Math.max(1, wanted);
    paint();
  };

  set(canvas, {
    onpointermove: event => {
      if (!look) return;
      if (dragged) {
        left = dragged.left - (event.clientX - dragged.x) / (cell * zoom);
        top = dragged.top - (event.clientY - dragged.y) / (cell * zoom);
        dragged.far ||= Math.hypot(event.clientX - dragged.x, event.clientY - dragged.y) > 4;
        paint();
        return;
      }
      const found = cellAt(event);
      if (!found || (cursor && cursor[0] === found[0] && cursor[1] === found[1])) return;
      cursor = found;
      paint();
      onCell(...found);
    },
    onpointerdown: event => {
      if (!look || event.button !== 0) return;
      dragged = { x: event.clientX, y: event.clientY, left, top, far: false };
      canvas.setPointerCapture(event.pointerId);
    },
    onpointerup: event => {
      const found = look && cellAt(event);
      if (dragged && !dragged.far && found) { cursor = found; paint(); onCell(...found); onPick(found[0]); }
      dragged = null;
    },
    onpointercancel: () => { dragged = null; },
    onwheel: event => {
      if (!look || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      zoomBy(event.deltaY < 0 ? 1.25 : 0.8, cellAt(event));
    },
    onkeydown: event => {
      if (!look || event.altKey || event.ctrlKey || event.metaKey) return;
      const [i, j] = cursor ?? [-1, 0], far = event.shiftKey ? 10 : 1;
      const moves = { ArrowUp: [Math.max(0, i) - far, j], ArrowDown: [i + far, j], ArrowLeft: [Math.max(0, i), j - far], ArrowRight: [Math.max(0, i), j + far] };
      if (event.key in moves) moveTo(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") zoomBy(1.5);
      else if (event.key === "-") zoomBy(1 / 1.5);
      else if (event.key === "0") fit();
      else if ((event.key === "Enter" || event.key === " ") && cursor) onPick(cursor[0]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
  });

  const fit = () => { zoom = 1; left = top = 0; paint(); };

  view.onResize(host, () => paint());
  return {
    element: host, canvas, paint, zoomBy, fit,
    get pixels() { return pixels; },
    draw(newLook, newNames, newMarks, newLabel) {
      const resized = !look || look.R !== newLook.R || look.C !== newLook.C;
      if (newLook !== look || newMarks.least !== marks.least)
        pixels = pixelCanvas(newLook.bytes, newLook.R, newLook.C, newLook.signed, newMarks.least);
      [look, names, marks, label] = [newLook, newNames, newMarks, newLabel];
      if (resized) { zoom = 1; left = top = 0; cursor = null; }
      canvas.setAttribute("aria-label", label);
      paint();
    },
  };
}

/** A text cut to some width of a canvas. */
function clipped(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  const characters = [...text];
  while (characters.length > 1 && context.measureText(characters.join("") + "…").width > room) characters.pop();
  return characters.join("") + "…";
}
