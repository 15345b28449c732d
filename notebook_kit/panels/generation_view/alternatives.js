// The chosen token: its alternatives, and what the model attended to when it wrote it.

import { fill, h } from "../shared/common.js";
import { readable, spoken, visible } from "../shared/letters.js";
import { percentOf } from "../shared/probabilities.js";
import { GV_PART } from "./tokens.js";

/** A number with a bar; a `part` of 1 fills the bar. */
function gvBar(part, words) {
  return [h("span.gv-bar", { "aria-hidden": "true" }, h("span.gv-bar-in", { style: { width: `${(100 * Math.max(0, Math.min(1, part))).toFixed(1)}%` } })), h("span.gv-number", {}, words)];
}

/** The table of alternatives; `onContinue(token)`. */
export function alternativesView(view, onContinue) {
  const element = h("div.gv-alternatives");
  const { words } = view;
  return {
    element,
    draw({ alternatives, chosen, left, numbers, vocabulary, offline }) {
      const rows = alternatives.map(([text, kind, token, rank], i) => ({ text, kind, token, rank, before: numbers[2 * i], after: numbers[2 * i + 1] }));
      const focused = element.contains(document.activeElement) ? document.activeElement.dataset.token : null;
      fill(element,
        h("h4", {}, words("alternatives")),
        h("table.gv-table", {},
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("rank")), h("th", { scope: "col" }, words("token")),
            h("th", { scope: "col" }, words("before")), h("th", { scope: "col" }, words("after")))),
          h("tbody", {}, rows.map(({ text, kind, token, rank, before, after }) => {
            const face = kind === GV_PART ? [text] : visible(text), isChosen = token === chosen;
            const name = kind === GV_PART ? words("bytes_are", { bytes: text }) : spoken(text);
            return h(isChosen ? "tr.gv-current" : "tr", {},
              h("td.gv-rank", {}, String(rank)),
              h("th", { scope: "row" }, isChosen || offline
                ? h("span.gv-option.gv-still", { "aria-current": isChosen ? "true" : null }, h("bdi", {}, face))
                : h("button.gv-option", { type: "button", "data-token": token, title: words("continue_with", { token: readable(text) }), "aria-label": words("continue_with", { token: name }), onclick: () => onContinue(token) }, h("bdi", {}, face))),
              h("td", {}, gvBar(before, percentOf(before))),
              h("td", {}, after > 0 ? gvBar(after, percentOf(after)) : h("span.gv-out", {}, words("left_out"))));
          }))),
        h("p.faint", {}, words("left_said", { left: left.toLocaleString(), all: vocabulary ? vocabulary.toLocaleString() : "?" }), offline ? null : ` ${words("continue_hint")}`));
      if (focused) element.querySelector(`[data-token="${focused}"]`)?.focus();
    },
  };
}

/** The attention behind a token: its settings, and the strongest weights. `onSet(values)` sets traits. */
export function lookingView(view, onSet) {
  const { words } = view;
  const select = (name, change) => h("select", { "aria-label": words(name), onchange: event => change(event.target.value) });
  const number = value => (value === "all" ? null : Number(value));
  const show = h("button", { type: "button", "aria-pressed": "false", onclick: () => onSet({ colour: show.getAttribute("aria-pressed") === "true" ? "probability" : "attention" }) }, words("show_attention"));
  const layer = select("layer", value => onSet({ layer: number(value) }));
  const head = select("head", value => onSet({ head: number(value) }));
  const combine = select("combine", value => onSet({ combine: value }));
  const first = h("input", { type: "checkbox", checked: true, onchange: () => onSet({}) });
  const firstLabel = h("label.gv-check", {}, first, h("span", {}, words("without_first")));
  const list = h("div.gv-weights");
  const labelled = (name, control) => h("label.gv-labelled", {}, h("span", {}, words(name)), control);
  const how = h("div.row.gv-how", {}, labelled("layer", layer), labelled("head", head), combine, firstLabel);
  const caption = h("p.faint");
  const element = h("div.gv-looking", {}, h("h4", {}, words("looked_at")), caption, h("div.row", {}, show), how, list);
  const options = (one, entries, value) => {
    const key = JSON.stringify(entries);
    if (one.dataset.key !== key) { fill(one, entries.map(([v, name]) => h("option", { value: v }, name))); one.dataset.key = key; }
    one.value = String(value);
  };
  return {
    element,
    get withoutFirst() { return first.checked && !firstLabel.hidden; },
    controls({ on, heads, state, apart, offline }) {
      show.setAttribute("aria-pressed", String(on));
      how.hidden = list.hidden = !on;
      element.hidden = !heads.length;
      firstLabel.hidden = apart;
      for (const one of [layer, head, combine]) one.disabled = Boolean(offline);
      show.disabled = Boolean(offline) && !on;
      options(layer, [["all", words("all_layers")], ...heads.map(([one]) => [one, String(one)])], state.layer ?? "all");
      const most = state.layer === null ? Math.min(...heads.map(([, count]) => count)) : heads.find(([one]) => one === state.layer)?.[1] ?? 0;
      options(head, [["all", words("all_heads")], ...Array.from({ length: most }, (_, i) => [i, String(i)])], state.head ?? "all");
      options(combine, [["mean", words("mean_of")], ["max", words("max_of")]], state.combine);
      combine.hidden = state.layer !== null && state.head !== null;
      fill(caption, words(apart ? "looked_cross" : "looked_self"));
    },
    /** `entries` are the tokens of the weights. */
    draw(weights, entries) {
      if (!weights) return fill(list);
      const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 8), most = weights[order[0]] || 1;
      return fill(list, h("table.gv-table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("place")), h("th", { scope: "col" }, words("token")), h("th", { scope: "col" }, words("weight")))),
        h("tbody", {}, order.map(place => h("tr", {}, h("td.gv-rank", {}, String(place)),
          h("th", { scope: "row" }, h("span.gv-option.gv-still", {}, h("bdi", {}, entries[place]?.[2] === GV_PART ? entries[place][0] : visible(entries[place]?.[0] ?? "")))),
          h("td", {}, gvBar(weights[place] / most, weights[place].toFixed(3))))))));
    },
  };
}
