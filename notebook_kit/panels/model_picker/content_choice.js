// Choosing a picture to try a model on: a file, one that is dropped here, or a sample.

import { fill, h, roving } from "../shared/common.js";

/** `onChoose(image, buffers)` is called with `{ sample }`, or with `{ file }` and its bytes; `loaded` has the samples and the limit. */
export class PictureChoice {
  constructor(view, { samples, largest }, onChoose) {
    Object.assign(this, { view, words: view.words, largest, onChoose });
    this.input = h("input.sr", { type: "file", accept: "image/*", onchange: () => this.take(this.input.files) });
    this.chosen = h("p.faint.chosen", { role: "status" });
    this.thumbnails = h("div.row.samples", { role: "group", "aria-label": this.words("try_samples") }, samples.map((sample, i) => this.thumbnail(sample, i)));
    roving(this.thumbnails, "button");
    this.element = h("div.drop", {
      ondragover: event => { event.preventDefault(); this.element.classList.add("nk-over"); },
      ondragleave: () => this.element.classList.remove("nk-over"),
      ondrop: event => this.onDrop(event),
    },
    h("label.upload", {}, this.input, h("span", {}, this.words("try_choose"))), " ", h("span.faint", {}, this.words("try_drop")),
    this.thumbnails, this.chosen);
  }

  thumbnail({ name, label, thumbnail }, i) {
    const image = h("img", { alt: "" }), address = URL.createObjectURL(new Blob([thumbnail]));
    image.onload = () => URL.revokeObjectURL(address);
    image.src = address;
    return h("button.sample", { type: "button", tabindex: i ? "-1" : "0", "aria-label": label, title: label, "aria-pressed": "false",
      onclick: event => { this.mark(event.currentTarget); this.choose({ sample: name }, [], label); } }, image);
  }

  onDrop(event) {
    event.preventDefault();
    event.stopPropagation();
    this.element.classList.remove("nk-over");
    this.take(event.dataTransfer.files);
  }

  /** Take the first of some files, unless it is not a picture or too large. */
  async take(files) {
    const file = files?.[0];
    if (!file) return;
    const mebibytes = size => (size / 2 ** 20).toFixed(1);
    if (!file.type.startsWith("image/")) {
      this.view.showError({ what: this.words("try_not_picture", { name: file.name }), next_step: this.words("try_formats") });
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

  choose(image, buffers, name) {
    fill(this.chosen, h("bdi", {}, name));
    this.onChoose(image, buffers);
  }
}
