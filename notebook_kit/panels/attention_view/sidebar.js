// Beside the drawing: the form for the texts, the prediction, the table of scores.

import { fill, h, set } from "../shared/common.js";
import { shortScore } from "./atlas.js";

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
        // Only changed texts: a text that is being typed stays until it is submitted.
        if (drawn[name] !== values[name]) input.value = values[name] ?? "";
        drawn[name] = values[name];
      }
      arrange();
    },
  };
}

/** The prediction of the whole model and that without some heads. */
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
      const whole = kind === "likelihood" ? "whole_likelihood" : `whole_${kind}`;
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

/** The table of scores; `onShow(layer, head)`. `draw(rows, state)` takes the heads that are shown as a set of strings. */
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
          h("thead", {}, h("tr", {}, heading("layer", `${view.words("layer")} · ${view.words("head")}`, ""),
            SCORE_NAMES.map(name => heading(name, view.words(`score_${name}`), view.words(`why_${name}`))))),
          h("tbody", {}, order.map(row => {
            const shown = state.has(String([row.layer, row.head])), name = view.words("head_name", row);
            return h(shown ? "tr.av-current" : "tr", {},
              h("th", { scope: "row" }, h("button", { type: "button", "aria-pressed": String(shown), "aria-label": `${name}: ${view.words("show_head", row)}`,
                onclick: () => onShow(row.layer, row.head) }, name)),
              [...row.scores].map(one => h("td", {}, shortScore(one))));
          })))));
    element.querySelector(".nk-scroll").scrollTop = scroll;
  };
  return { element, draw(rows, state) { now = { rows, state }; draw(); } };
}
