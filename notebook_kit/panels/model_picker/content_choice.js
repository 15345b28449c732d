// Choosing a picture or a recording to try a model on: a file, one that is dropped here, the microphone, or a sample.

import { fill, h, roving } from "../shared/common.js";
import { Recorder } from "../shared/recorder.js";

const TYPES = { image: ["image/"], sound: ["audio/", "video/"] };

/**
 * `onChoose(content, buffers)` is called with `{ sample }`, with `{ file }` and its bytes, or with `{ recorded }` and samples; `loaded` has the
 * samples and the limit, `kind` is "image" or "sound".
 */
export class ContentChoice {
  constructor(view, kind, { samples, largest }, onChoose) {
    Object.assign(this, { view, words: view.words, kind, largest, onChoose });
    this.input = h("input.sr", { type: "file", accept: TYPES[kind].map(type => `${type}*`).join(","), onchange: () => this.take(this.input.files) });
    this.chosen = h("p.faint.chosen", { role: "status" });
    this.thumbnails = h("div.row.samples", { role: "group", "aria-label": this.word("try_samples") }, samples.map((sample, i) => this.sample(sample, i)));
    this.recorder = kind === "sound" ? new Recorder(view, {
      onRecorded: samples => { this.mark(null); this.choose({ recorded: true }, [samples.buffer], this.words("try_recorded")); },
      onProblem: error => view.showError(error),
    }) : null;
    roving(this.thumbnails, "button");
    view.later(() => this.end());
    this.element = h("div.drop", {
      ondragover: event => { event.preventDefault(); this.element.classList.add("nk-over"); },
      ondragleave: () => this.element.classList.remove("nk-over"),
      ondrop: event => this.onDrop(event),
    },
    h("label.upload", {}, this.input, h("span", {}, this.word("try_choose"))), " ", this.recorder?.element, " ", h("span.faint", {}, this.words("try_drop")),
    this.thumbnails, this.chosen);
  }

  /** A text for this kind of content. */
  word(key, values = {}) { return this.words(this.kind === "sound" ? `${key}_sound` : key, values); }

  end() { this.recorder?.end(); }

  sample({ name, label, thumbnail }, i) {
    const attributes = { type: "button", tabindex: i ? "-1" : "0", "aria-pressed": "false", onclick: event => { this.mark(event.currentTarget); this.choose({ sample: name }, [], label); } };
    if (!thumbnail) return h("button", attributes, label);
    const image = h("img", { alt: "" }), address = URL.createObjectURL(new Blob([thumbnail]));
    image.onload = () => URL.revokeObjectURL(address);
    image.src = address;
    return h("button.sample", { ...attributes, "aria-label": label, title: label }, image);
  }

  onDrop(event) {
    event.preventDefault();
    event.stopPropagation();
    this.element.classList.remove("nk-over");
    this.take(event.dataTransfer.files);
  }

  /** Take the first of some files, unless it is of another kind or too large. */
  async take(files) {
    const file = files?.[0];
    if (!file) return;
    const mebibytes = size => (size / 2 ** 20).toFixed(1);
    if (!TYPES[this.kind].some(type => file.type.startsWith(type))) {
      this.view.showError({ what: this.word("try_other_kind", { name: file.name }), next_step: this.word("try_formats") });
    } else if (file.size > this.largest) {
      const sizes = { name: file.name, size: mebibytes(file.size), most: mebibytes(this.largest) };
      this.view.showError({ what: this.words("try_too_large", sizes), next_step: this.words("try_smaller") });
    } else {
      this.mark(null);
      this.choose({ file: file.name }, [await file.arrayBuffer()], file.name);
    }
    this.input.value = "";
  }

  mark(chosen) {
    for (const one of this.thumbnails.children) one.setAttribute("aria-pressed", String(one === chosen));
  }

  choose(content, buffers, name) {
    fill(this.chosen, h("bdi", {}, name));
    this.onChoose(content, buffers);
  }
}
