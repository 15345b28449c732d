// Trying the loaded model: input fields, and its answer.

import { fill, h } from "../shared/common.js";

/** `ask(values)` sends the input to Python and resolves to the answer or null. */
export class ModelTrial {
  constructor({ words }, format, ask) {
    Object.assign(this, { words, format, ask });
    this.element = h("section.trial", { "aria-label": words("try_it"), hidden: true });
    this.result = h("div.result", { role: "status", "aria-live": "polite" });
    this.loaded = null;
    this.inputs = {};   // name of a field -> its element
  }

  /** Show the loaded model, `{ id, task, fields, mask }`; {} for none. Keeps the typed text. */
  set(loaded) {
    if (JSON.stringify(loaded) === JSON.stringify(this.loaded)) return;
    this.loaded = loaded;
    this.element.hidden = !loaded?.id;
    if (!loaded?.id) return;
    const typed = this.values;
    this.inputs = Object.fromEntries(loaded.fields.map(name => [name, this.field(name, typed[name] ?? "")]));
    fill(this.result);
    fill(this.element,
      h("h3", {}, this.words("try_it"), " ", h("bdi.id", {}, loaded.id), h("span.faint", {}, ` ${this.format.task(loaded.task)}`)),
      loaded.fields.length
        ? h("form.form", { onsubmit: event => this.run(event) }, Object.values(this.inputs), h("button.primary", { type: "submit" }, this.words("try_run")))
        : h("p.faint", {}, this.words("try_cannot")),
      loaded.mask ? this.maskButton(loaded.mask) : null,
      this.result);
  }

  get values() {
    return Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, input.value]));
  }

  field(name, value) {
    return h("textarea", {
      rows: name === "context" ? 3 : 1, dir: "auto", value, placeholder: this.words(`try_place_${name}`), "aria-label": this.words(`try_${name}`),
      onkeydown: event => { if (event.key === "Enter" && !event.shiftKey) this.run(event); },
    });
  }

  maskButton(mask) {
    const insert = () => {
      const input = this.inputs.text;
      input.setRangeText(mask, input.selectionStart, input.selectionEnd, "end");
      input.focus();
    };
    return h("p.faint", {}, this.words("try_mask"), " ", h("button", { type: "button", onclick: insert }, mask));
  }

  async run(event) {
    event.preventDefault();
    const answer = await this.ask(this.values);
    if (answer) fill(this.result, this.content(answer.values));
  }

  content(answer) {
    const { words, format } = this;
    if (answer.bars) return bars(words, answer.bars);
    if (answer.spans) return answer.spans.length ? marked(answer.of, answer.spans) : h("p.faint", {}, words("try_nothing"));
    if (!answer.vector) return h("p.marked", { dir: "auto" }, answer.text ?? "");
    const [tokens, width] = answer.vector.map(value => format.number(value));
    return [h("p", {}, words("try_vector", { tokens, width })), h("p.mono", {}, answer.values.map(value => value.toFixed(3)).join("  "), " …")];
  }
}

function percent(score) {
  return score.toLocaleString(undefined, { style: "percent", maximumFractionDigits: 1 });
}

function bars(words, pairs) {
  return h("table.bars", {}, h("caption.sr", {}, words("try_result")), h("tbody", {}, pairs.map(([label, score]) => h("tr", {},
    h("th", { scope: "row" }, h("bdi", {}, label)),
    h("td.track-cell", {}, h("span.track", { "aria-hidden": "true" }, h("span.fill", { style: { width: `${Math.max(0, Math.min(1, score)) * 100}%` } }))),
    h("td.score", {}, percent(score))))));
}

/** The text with the spans marked; offsets count code points, as in Python. */
function marked(text, spans) {
  const letters = [...text], pieces = [];
  let at = 0;
  for (const [start, end, label, score] of [...spans].sort((a, b) => a[0] - b[0])) {
    if (start < at || end <= start) continue;
    const note = h("span.label", {}, label ? `${label} ` : "", percent(score));
    pieces.push(letters.slice(at, start).join(""), h("mark.span", {}, letters.slice(start, end).join(""), note));
    at = end;
  }
  pieces.push(letters.slice(at).join(""));
  return h("p.marked", { dir: "auto" }, pieces);
}
