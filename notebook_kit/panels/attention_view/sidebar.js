// What stands around the drawing: the texts, the prediction, the table of scores, the file to take away.

import { SVG, fill, h, s, set, themed } from "../shared/common.js";
import { shortScore } from "./atlas.js";
import { LINE_HEIGHT } from "./lines.js";

export const SCORE_NAMES = ["entropy", "distance", "previous", "next", "same", "special", "duplicate", "induction"];

/** The form with the texts; `onRead({ text, text_pair, compare_text })`. */
export function textForm(view, onRead) {
  const field = (name, more) => {
    const input = h("textarea", { rows: 1, spellcheck: "false", "aria-label": view.words(name), ...more });
    set(input, { onkeydown: event => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); } } });
    return input;
  };
  const inputs = { text: field("text"), text_pair: field("text_pair"), compare_text: field("compare_text") };
  const rows = {}, toggles = {}, drawn = {};
  const open = new Set();
  for (const name of Object.keys(inputs)) rows[name] = h("label.av-field", {}, h("span", {}, view.words(name)), inputs[name]);
  for (const [name, word] of [["text_pair", "pair"], ["compare_text", "compare"]])
    toggles[name] = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
      if (open.has(name)) { open.delete(name); inputs[name].value = ""; } else open.add(name);
      arrange();
      if (open.has(name)) inputs[name].focus(); else form.requestSubmit();
    } }, view.words(word));
  const form = h("form.av-form", { onsubmit: event => {
    event.preventDefault();
    const of = name => (open.has(name) && inputs[name].value !== "" ? inputs[name].value : null);
    onRead({ text: inputs.text.value, text_pair: of("text_pair"), compare_text: of("compare_text") });
  } }, rows.text, rows.text_pair, rows.compare_text,
  h("div.row", {}, h("button.av-primary", { type: "submit" }, view.words("read")), toggles.text_pair, toggles.compare_text));
  const arrange = () => {
    for (const name of ["text_pair", "compare_text"]) {
      rows[name].hidden = !open.has(name);
      toggles[name].setAttribute("aria-pressed", String(open.has(name)));
    }
  };
  arrange();
  return {
    element: form,
    draw(values, mayCompare) {
      toggles.compare_text.hidden = !mayCompare;
      for (const [name, input] of Object.entries(inputs)) {
        if (name !== "text" && values[name] !== null && values[name] !== undefined) open.add(name);
        // Only what has changed: a text that is being written stays until it is read.
        if (drawn[name] !== values[name]) input.value = values[name] ?? "";
        drawn[name] = values[name];
      }
      arrange();
    },
  };
}

/** The prediction of the whole model beside that with heads off. */
export function predictionTable(view) {
  const element = h("div.av-prediction");
  return {
    element,
    draw(prediction) {
      if (!prediction?.rows) return fill(element);
      const { kind, rows } = prediction, share = kind !== "states";
      const number = (value, said) => h("td.av-number", {}, said ? h("span.av-said", {}, said) : null,
        share ? h("span.av-bar", { "aria-hidden": "true", style: { "--part": String(Math.max(0, Math.min(1, value))) } }) : null,
        h("span", {}, value.toFixed(3).replace("-", "−")));
      const whole = kind === "states" ? "whole_states" : "whole_likelihood";
      return fill(element,
        h("p.faint", {}, view.words(`kind_${kind}`)),
        h("div.scroll.av-short", { tabindex: "0", role: "region", "aria-label": view.words("prediction") },
          h("table", {},
            h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, view.words("before")), h("th", { scope: "col" }, view.words("after")),
              h("th", { scope: "col" }, view.words("change")))),
            h("tbody", {}, rows.map(row => {
              const moved = row.after - row.before, other = row.said !== undefined && row.said !== row.says;
              return h(other ? "tr.av-changed" : "tr", {},
                h("th", { scope: "row" }, row.name === "" ? view.words(whole) : row.name,
                  kind === "words" ? h("span.faint", {}, ` ${view.words("at_token", { place: row.place })}`) : null),
                number(row.before, row.said), number(row.after, row.says),
                h("td", {}, Math.abs(moved) < 0.0005 ? "0" : (moved > 0 ? "+" : "−") + Math.abs(moved).toFixed(3)));
            })))));
    },
  };
}

/** The table of scores; `onShow(layer, head)`. */
export function scoreTable(view, onShow) {
  const element = h("div.av-scores");
  let sorted = { by: "layer", down: false }, now = null;
  const draw = () => {
    if (!now) return;
    const { rows, state } = now;
    const value = row => (sorted.by === "layer" ? row.layer * 1e4 + row.head : row.scores[SCORE_NAMES.indexOf(sorted.by)]);
    const order = [...rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (!Number.isFinite(x) || !Number.isFinite(y)) return Number.isFinite(y) - Number.isFinite(x);
      return sorted.down ? y - x : x - y;
    });
    const heading = (by, words, why) => h("th", { scope: "col", "aria-sort": sorted.by === by ? (sorted.down ? "descending" : "ascending") : "none" },
      h("button.av-sort", { type: "button", "data-by": by, title: why, onclick: () => {
        sorted = { by, down: sorted.by === by ? !sorted.down : by !== "layer" };
        draw();
        element.querySelector(`[data-by="${by}"]`)?.focus();
      } }, words, h("span", { "aria-hidden": "true" }, sorted.by === by ? (sorted.down ? " ▾" : " ▴") : "")));
    const scroll = element.querySelector(".nk-scroll")?.scrollTop ?? 0;
    fill(element,
      h("p.faint", {}, view.words("scores_caption")),
      h("div.scroll.av-tall", { tabindex: "0", role: "region", "aria-label": view.words("scores") },
        h("table", {},
          h("thead", {}, h("tr", {}, heading("layer", `${view.words("layer")}.${view.words("head")}`, ""),
            SCORE_NAMES.map(name => heading(name, view.words(`score_${name}`), view.words(`why_${name}`))))),
          h("tbody", {}, order.map(row => {
            const shown = row.layer === state.layer && state.heads.includes(row.head);
            return h(shown ? "tr.av-current" : "tr", {},
              h("th", { scope: "row" }, h("button", { type: "button", "aria-pressed": String(shown), "aria-label": `${row.layer}.${row.head} ${view.words("show_head", row)}`,
                onclick: () => onShow(row.layer, row.head) }, `${row.layer}.${row.head}`)),
              [...row.scores].map(one => h("td", {}, shortScore(one))));
          })))));
    element.querySelector(".nk-scroll").scrollTop = scroll;
  };
  return { element, draw(rows, state) { now = { rows, state }; draw(); } };
}

/** What is on the screen as an SVG element: lines, or heat maps beside each other. */
export function pictureOf(view, { title, mode, look, names, web, lit, maps, atlas }) {
  const text = themed(view.root, "color"), back = themed(view.root, "background-color"), accent = themed(view.root, "--nk-accent");
  const minus = themed(view.root, "--nk-av-minus"), font = "sans-serif";
  const parts = [];
  let width = 640, height = 60;
  const label = (x, y, words, more = {}) => s("text", { x, y, fill: text, "font-family": font, "font-size": 11, "dominant-baseline": "middle", ...more }, words);
  if (mode === "heads") {
    height = 44 + Math.max(look.R, look.C) * LINE_HEIGHT;
    const y = i => 44 + i * LINE_HEIGHT, zero = look.signed ? 128 : 0, chosen = new Set(lit);
    web.places.forEach((k, n) => {
      const part = web.strengths[n];
      parts.push(s("line", { x1: 220, x2: 420, y1: y(Math.floor(k / look.C)), y2: y(k % look.C), stroke: look.signed && look.bytes[k] < zero ? minus : accent,
        "stroke-width": (0.5 + 3 * part).toFixed(2), "stroke-opacity": (0.06 + 0.94 * part).toFixed(3) }));
    });
    for (let i = 0; i < look.R; i++) {
      if (chosen.has(i)) parts.push(s("rect", { x: 90, width: 126, y: y(i) - LINE_HEIGHT / 2, height: LINE_HEIGHT, fill: accent, "fill-opacity": 0.25 }));
      parts.push(label(212, y(i), names.row(i), { "text-anchor": "end", "font-weight": chosen.has(i) ? "bold" : "normal" }));
    }
    for (let j = 0; j < look.C; j++) parts.push(label(428, y(j), names.column(j)));
  } else {
    let x = 0;
    const images = mode === "scores" ? [{ canvas: atlas, title: view.words("atlas") }] : maps;
    for (const { canvas, pixels, look: one, names: theirs, title: caption } of images) {
      if (!pixels) {
        const w = parseFloat(canvas.style.width), t = parseFloat(canvas.style.height);
        parts.push(s("image", { x: x + 10, y: 44, width: w, height: t, href: canvas.toDataURL("image/png") }));
        x += w + 20; height = Math.max(height, t + 60);
        continue;
      }
      const cell = Math.max(1, Math.min(18, 480 / Math.max(one.R, one.C))), named = cell >= 8, margin = named ? 110 : 20;
      parts.push(label(x + margin, 30, caption, { "font-weight": "bold" }));
      parts.push(s("image", { x: x + margin, y: 44 + margin, width: one.C * cell, height: one.R * cell, preserveAspectRatio: "none",
        style: { "image-rendering": "pixelated" }, href: enlarged(pixels, cell).toDataURL("image/png") }));
      if (named) {
        for (let i = 0; i < one.R; i++) parts.push(label(x + margin - 5, 44 + margin + (i + 0.5) * cell, theirs.row(i), { "text-anchor": "end" }));
        for (let j = 0; j < one.C; j++) {
          const at = [x + margin + (j + 0.5) * cell, 44 + margin - 5];
          parts.push(label(at[0], at[1], theirs.column(j), { transform: `rotate(-70 ${at[0]} ${at[1]})` }));
        }
      }
      for (const i of lit) parts.push(s("rect", { x: x + margin, y: 44 + margin + i * cell, width: one.C * cell, height: cell, fill: "none", stroke: accent, "stroke-width": 1.5 }));
      x += margin + one.C * cell + 24;
      height = Math.max(height, 44 + margin + one.R * cell + 16);
    }
    width = Math.max(x, 320);
  }
  return s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` },
    s("title", {}, title), s("rect", { width, height, fill: back }), label(12, 14, title, { "font-weight": "bold", "font-size": 12 }), parts);
}

/** Pixels made larger without blur, as some viewers of SVG smooth what they scale. */
function enlarged(pixels, cell) {
  const times = Math.max(1, Math.round(cell)), canvas = document.createElement("canvas");
  canvas.width = pixels.width * times;
  canvas.height = pixels.height * times;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(pixels, 0, 0, canvas.width, canvas.height);
  return canvas;
}
