// Trying the loaded model: input fields, and its answer.

import { fill, h } from "../shared/common.js";
import { ContentChoice } from "./content_choice.js";

const CONTENTS = ["image", "sound"];

/** `ask(values, buffers)` sends the input to Python and resolves to the answer or null. */
export class ModelTrial {
  constructor(view, format, ask) {
    Object.assign(this, { view, words: view.words, format, ask });
    this.element = h("section.trial", { "aria-label": view.words("try_it"), hidden: true });
    this.result = h("div.result", { role: "status", "aria-live": "polite" });
    this.loaded = null;
    this.inputs = {};   // name of a field -> its element
  }

  /** Show the loaded model, `{ id, task, fields, mask, samples, largest }`; {} for none. Keeps the typed text. */
  set(loaded) {
    if (this.loaded && loaded?.id === this.loaded.id && loaded?.task === this.loaded.task) return;
    this.loaded = loaded;
    this.element.hidden = !loaded?.id;
    if (!loaded?.id) return;
    const typed = this.values, content = loaded.fields.find(name => CONTENTS.includes(name));
    this.choice?.end();
    this.chosen = null;                  // what was chosen: [{ image or sound }, buffers]
    this.choice = content ? new ContentChoice(this.view, content, loaded, (chosen, buffers) => this.choose({ [content]: chosen }, buffers)) : null;
    this.inputs = Object.fromEntries(loaded.fields.filter(name => name !== content).map(name => [name, this.field(name, typed[name] ?? "")]));
    const isForm = Object.keys(this.inputs).length > 0;
    fill(this.result);
    fill(this.element,
      h("h3", {}, this.words("try_it"), " ", h("bdi.id", {}, loaded.id), h("span.faint", {}, ` ${this.format.task(loaded.task)}`)),
      this.choice?.element,
      isForm
        ? h("form.form", { onsubmit: event => this.run(event) }, Object.values(this.inputs), h("button.primary", { type: "submit" }, this.words("try_run")))
        : this.choice ? null : h("p.faint", {}, this.words("try_cannot")),
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

  /** Take a picture or a recording; send it at once, unless a text that belongs to it is missing. */
  choose(content, buffers) {
    this.chosen = [content, buffers];
    const empty = Object.values(this.inputs).find(input => !input.value.trim());
    if (empty) empty.focus();
    else this.send({ ...this.values, ...content }, buffers);
  }

  run(event) {
    event.preventDefault();
    const [content, buffers] = this.chosen ?? [{}, []];
    this.send({ ...this.values, ...content }, buffers);
  }

  async send(values, buffers) {
    if (this.choice) fill(this.result);   // an answer about another picture would be misleading
    const answer = await this.ask(values, buffers);
    if (answer) fill(this.result, this.content(answer.values, answer.buffers));
  }

  content(answer, buffers) {
    const { words, format } = this;
    if (answer.face) return faceOf(answer.face, buffers, words);
    if (answer.bars) return bars(words, answer.bars);
    if (answer.spans) return answer.spans.length ? marked(answer.of, answer.spans) : h("p.faint", {}, words("try_nothing"));
    if (!answer.vector) return h("p.marked", { dir: "auto" }, answer.text ?? "");
    const [tokens, width] = answer.vector.map(value => format.number(value));
    return [h("p", {}, words("try_vector", { tokens, width })), h("p.mono", {}, answer.values.map(value => value.toFixed(3)).join("  "), " …")];
  }
}

/** An answer about a picture or a recording: its picture with what was found, a table, and the recording. */
function faceOf({ alt, header, rows, note, pictured }, buffers, words) {
  const image = pictured ? h("img.answer", { alt }) : null, heard = buffers[pictured ? 1 : 0];
  const player = heard ? h("audio.heard", { controls: true, src: URL.createObjectURL(new Blob([heard], { type: "audio/wav" })), "aria-label": words("try_heard") }) : null;
  if (image) {
    const address = URL.createObjectURL(new Blob([buffers[0]]));
    image.onload = () => URL.revokeObjectURL(address);
    image.src = address;
  }
  const table = rows.length ? h("table", {}, h("thead", {}, h("tr", {}, header.map(name => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, first)), rest.map(cell => h("td", {}, cell)))))) : null;
  return h("div.answer-face", {}, image, h("div", {}, player, table, note ? h("p.note", {}, note) : null));
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
