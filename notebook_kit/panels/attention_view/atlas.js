// The atlas: every head of the model, a row a layer, as a thumbnail of its matrix or as the colour of a score.

import { colourScale, fill, h, roving, set, sharpCanvas, themed } from "../shared/common.js";
import { legend, pixelCanvas } from "./heatmap.js";
import { bytesOf } from "./positions.js";

/**
 * The atlas. `draw({ about, atlas, score, state })` shows it; `onShow(layer, head, add)` is called for the head that was chosen,
 * `onLayer(layer)` for a whole layer.
 */
export function atlasView(view, { onShow, onLayer }) {
  const canvas = h("canvas.av-atlas-canvas", { "aria-hidden": "true" });
  const grid = h("div.av-grid", { role: "grid", "aria-multiselectable": "true" });
  const element = h("div.av-atlas", {}, canvas, grid), range = h("div.av-range");
  let now = null, built = "", size = 24, thumbnails = null, thumbnailsOf = null;

  const pick = (cell, event) => onShow(Number(cell.dataset.layer), Number(cell.dataset.head), event.shiftKey || event.ctrlKey || event.metaKey);
  set(grid, {
    onclick: event => {
      const cell = event.target.closest(".nk-av-cell");
      if (cell) { rest(cell); pick(cell, event); }
    },
    onkeydown: event => {
      const cell = event.target.closest(".nk-av-cell");
      if (cell && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); pick(cell, event); }
    },
  });
  const rest = cell => grid.querySelectorAll(".nk-av-cell").forEach(one => one.setAttribute("tabindex", one === cell ? "0" : "-1"));
  roving(grid, ".nk-av-cell", { columns: () => Math.max(1, ...(now?.about.heads ?? [1])) });

  const build = () => {
    const { about, state } = now, most = Math.max(...about.heads), every = Math.ceil(20 / size);
    grid.style.setProperty("grid-template-columns", `24px repeat(${most}, ${size}px)`);
    fill(grid,
      h("div.av-row", { role: "row" }, h("span.av-corner", { role: "columnheader" }, h("span.sr", {}, view.words("layer"))),
        Array.from({ length: most }, (_, head) => h("span.av-head", { role: "columnheader", "aria-label": `${view.words("head")} ${head}` },
          head % every ? "" : String(head)))),
      about.layers.map((layer, at) => h("div.av-row", { role: "row" },
        h("span.av-layer", { role: "rowheader", "aria-label": `${view.words("layer")} ${layer}` },
          state.ablating
            ? h("button", { type: "button", "aria-label": view.words("ablate_layer", { layer }), onclick: () => onLayer(layer) }, String(layer))
            : String(layer)),
        Array.from({ length: about.heads[at] }, (_, head) =>
          h("div.av-cell", { role: "gridcell", tabindex: "-1", "data-layer": layer, "data-head": head, style: { height: `${size}px` } })),
        about.heads[at] < most ? h("span", { role: "gridcell", style: { "grid-column": `span ${most - about.heads[at]}` } }) : null)));
  };

  const mark = () => {
    const { state, score } = now, off = new Set(state.ablated.map(String)), shown = new Set(state.heads);
    let stop = null;
    for (const cell of grid.querySelectorAll(".nk-av-cell")) {
      const layer = Number(cell.dataset.layer), head = Number(cell.dataset.head);
      const isShown = layer === state.layer && shown.has(head), isOff = off.has(String([layer, head]));
      cell.setAttribute("aria-selected", String(isShown));
      cell.classList.toggle("nk-av-off", isOff);
      const value = score ? `, ${score.name} ${shortScore(score.of(layer, head))}` : "";
      const name = view.words("cell", { layer, head }) + value + (isOff ? `, ${view.words("cell_off")}` : "");
      cell.setAttribute("aria-label", name);
      cell.setAttribute("title", name);
      if (layer === state.layer && head === state.heads[0]) stop = cell;
    }
    if (!grid.contains(document.activeElement) && stop) rest(stop);
  };

  const paint = () => {
    if (!now || !element.isConnected) return;
    const { about, atlas, score } = now, most = Math.max(...about.heads);
    const room = Math.max(180, element.clientWidth);
    const fitted = Math.max(14, Math.min(34, Math.floor((room - 24) / most)));
    const key = JSON.stringify([about.version, fitted, now.state.ablating, view.root.lang]);
    if (key !== built) { size = fitted; build(); mark(); built = key; }
    const context = sharpCanvas(canvas, 24 + most * size, 18 + about.layers.length * size);
    fill(range);
    if (score) {
      const values = about.layers.flatMap((layer, at) => Array.from({ length: about.heads[at] }, (_, head) => score.of(layer, head))).filter(Number.isFinite);
      const low = Math.min(...values), high = Math.max(...values), colours = colourScale();
      if (values.length) fill(range, legend(shortScore(low), shortScore(high), false));
      about.layers.forEach((layer, at) => {
        for (let head = 0; head < about.heads[at]; head++) {
          const value = score.of(layer, head), x = 24 + head * size, y = 18 + at * size;
          if (!Number.isFinite(value)) {
            context.strokeStyle = themed(view.root, "--nk-line");
            context.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
            continue;
          }
          context.fillStyle = `rgb(${colours[high > low ? Math.round((value - low) / (high - low) * 255) : 0].join(",")})`;
          context.fillRect(x + 1, y + 1, size - 2, size - 2);
        }
      });
    } else if (atlas) {
      const [height, width] = atlas.values.size;
      if (thumbnailsOf !== atlas) {
        thumbnails = pixelCanvas(bytesOf(atlas.buffers[0]), height * atlas.values.heads.reduce((a, b) => a + b, 0), width, atlas.values.signed);
        thumbnailsOf = atlas;
      }
      context.imageSmoothingEnabled = Math.max(width, height) > size;   // few tokens keep their corners
      context.imageSmoothingQuality = "high";
      let number = 0;
      about.layers.forEach((layer, at) => {
        for (let head = 0; head < about.heads[at]; head++, number++)
          context.drawImage(thumbnails, 0, number * height, width, height, 24 + head * size + 1, 18 + at * size + 1, size - 2, size - 2);
      });
    }
  };

  view.onResize(element, () => paint());
  return {
    element, range, canvas, paint,
    draw(next, label) {
      now = next;
      grid.setAttribute("aria-label", label);
      paint();
      mark();
    },
  };
}



/** A score as the table and the atlas say it. */
export function shortScore(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace("-", "−") : "–";
}
