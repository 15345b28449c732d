// The loaded model: a box to try it in, and what it says.

import { fill, h } from "../shared/common.js";

/** `ask(values)` asks Python, and resolves to its answer or null. */
export function modelTrial(view, tell, ask) {
  const { words } = view;
  const box = h("section.trial", { "aria-label": words("try_it"), hidden: true });
  const result = h("div.result", { role: "status", "aria-live": "polite" });
  let loaded = null, inputs = {};

  const percent = score => score.toLocaleString(undefined, { style: "percent", maximumFractionDigits: 1 });

  const bars = pairs => h("table.bars", {}, h("caption.sr", {}, words("try_result")), h("tbody", {}, pairs.map(([label, score]) => h("tr", {},
    h("th", { scope: "row" }, h("bdi", {}, label)),
    h("td.track-cell", {}, h("span.track", { "aria-hidden": "true" }, h("span.fill", { style: { width: `${Math.max(0, Math.min(1, score)) * 100}%` } }))),
    h("td.score", {}, percent(score))))));

  /** The text with what was found in it marked; offsets count code points, as Python does. */
  const marked = (text, spans) => {
    const letters = [...text], pieces = [];
    let at = 0;
    for (const [start, end, label, score] of [...spans].sort((a, b) => a[0] - b[0])) {
      if (start < at || end <= start) continue;
      pieces.push(letters.slice(at, start).join(""), h("mark.span", {}, letters.slice(start, end).join(""), h("span.label", {}, label ? `${label} ` : "", percent(score))));
      at = end;
    }
    pieces.push(letters.slice(at).join(""));
    return h("p.marked", { dir: "auto" }, pieces);
  };

  const show = answer => {
    if (!answer) { fill(result); return; }
    if (answer.bars) fill(result, bars(answer.bars));
    else if (answer.spans) fill(result, answer.spans.length ? marked(answer.of, answer.spans) : h("p.faint", {}, words("try_nothing")));
    else if (answer.vector) fill(result, h("p", {}, words("try_vector", { tokens: tell.number(answer.vector[0]), width: tell.number(answer.vector[1]) })), h("p.mono", {}, answer.values.map(value => value.toFixed(3)).join("  "), " …"));
    else fill(result, h("p.marked", { dir: "auto" }, answer.text ?? ""));
  };

  const run = async event => {
    event?.preventDefault();
    const answer = await ask(Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value])));
    if (answer) show(answer.values);
  };

  return {
    element: box,
    /** Show the model that is loaded: {id, task, fields, mask}. */
    set(now) {
      if (JSON.stringify(now) === JSON.stringify(loaded)) return;
      loaded = now;
      box.hidden = !now?.id;
      if (!now?.id) return;
      const before = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]));
      inputs = Object.fromEntries(now.fields.map(name => [name, h("textarea", {
        rows: name === "context" ? 3 : 1, dir: "auto", value: before[name] ?? "", placeholder: words(`try_place_${name}`), "aria-label": words(`try_${name}`),
        onkeydown: pressed => { if (pressed.key === "Enter" && !pressed.shiftKey) run(pressed); },
      })]));
      fill(result);
      fill(box,
        h("h3", {}, words("try_it"), " ", h("bdi.id", {}, now.id), h("span.faint", {}, ` ${tell.task(now.task)}`)),
        now.fields.length
          ? h("form.form", { onsubmit: run }, Object.values(inputs), h("button.primary", { type: "submit" }, words("try_run")))
          : h("p.faint", {}, words("try_cannot")),
        now.mask ? h("p.faint", {}, words("try_mask"), " ", h("button", { type: "button", onclick: () => {
          const input = inputs.text;
          input.setRangeText(now.mask, input.selectionStart, input.selectionEnd, "end");
          input.focus();
        } }, now.mask)) : null,
        result);
    },
  };
}
