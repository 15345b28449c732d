// Captions under their picture; with the attention of the model, each word shows where the model looked as it wrote it.

import { colourScale, fill, h, roving } from "../shared/common.js";
import { Picture } from "./picture.js";

const LEAST = 0.5, MORE = 0.28;      // opacity of the colours over the picture: of no weight, and what the largest adds

export class CaptionStage {
  constructor(view, { things, has_origins }, [picture], { onOrigins }) {
    Object.assign(this, { view, things, pointed: null, kept: null, buttons: [] });
    this.picture = new Picture(picture, null, view.words("alt_captions", { listed: things[0]?.label ?? "" }));
    this.heat = h("canvas.rv-origin", { hidden: true, "aria-hidden": "true" });
    this.picture.cover(h("div.rv-origins", {}, this.heat));
    this.captions = things.map(({ label }) => h("p.rv-caption", { dir: "auto" }, label));
    this.status = h("p.faint.rv-origin-status", { role: "status", "aria-live": "polite", hidden: !has_origins });
    this.element = h("figure.rv-captioned", {}, this.picture.element, h("figcaption", {}, this.captions, this.status));
    this.pictured = this.element;
    if (has_origins) onOrigins().then(answer => { if (answer) this.take(answer); });
  }

  /** Turn the words into buttons: `origins` has one entry per caption, and the bytes hold the maps of their words in order. */
  take({ values: { origins }, buffers: [bytes] }) {
    const weights = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    origins.forEach((one, i) => {
      if (!one) return;
      const text = [...this.things[i].label], { spans, shape: [rows, columns], box, tops } = one, pieces = [];
      let end = 0;
      spans.forEach(([from, to], k) => {
        const word = text.slice(from, to).join(""), map = weights.subarray(at, at += rows * columns);
        const button = h("button.rv-word", { type: "button", "aria-pressed": "false" }, word);
        this.buttons.push({ button, word, map, rows, columns, box, top: tops[k] });
        pieces.push(text.slice(end, from).join(""), button);
        end = to;
      });
      fill(this.captions[i], pieces, text.slice(end).join(""));
      this.listen(this.captions[i]);
    });
    this.show();
  }

  listen(caption) {
    const indexOf = event => this.buttons.findIndex(({ button }) => button === event.target);
    const point = i => { this.pointed = i < 0 ? null : i; this.show(); };
    caption.addEventListener("pointerover", event => point(indexOf(event)));
    caption.addEventListener("pointerleave", () => point(-1));
    caption.addEventListener("focusin", event => { if (event.target.matches(":focus-visible")) point(indexOf(event)); });
    caption.addEventListener("focusout", () => point(-1));
    caption.addEventListener("click", event => { const i = indexOf(event); if (i >= 0) this.keep(i); });
    caption.addEventListener("keydown", event => {
      if (event.key !== "Escape" || this.kept === null) return;
      this.keep(this.kept);
      event.preventDefault();
      event.stopPropagation();
    });
    roving(caption, ".nk-rv-word")();
  }

  keep(i) {
    this.kept = this.kept === i ? null : i;
    this.buttons.forEach(({ button }, k) => button.setAttribute("aria-pressed", String(k === this.kept)));
    this.show();
  }

  /** Colour the picture by the word under the pointer or in focus, or else by the one that was clicked. */
  show() {
    const lit = this.pointed ?? this.kept, one = this.buttons[lit];
    this.buttons.forEach(({ button }, k) => button.classList.toggle("nk-rv-lit", k === lit));
    this.picture.element.classList.toggle("nk-rv-grey", Boolean(one));
    this.heat.hidden = !one;
    const { words } = this.view;
    this.status.textContent = one ? words("origin_of", { word: one.word, top: (100 * one.top).toFixed(0) }) : words("origin_hint");
    if (one) this.paint(one);
  }

  paint({ map, rows, columns, box: [left, upper, right, lower] }) {
    const colours = colourScale(), { heat } = this;
    [heat.width, heat.height] = [columns, rows];
    const percent = part => `${(100 * part).toFixed(3)}%`;
    Object.assign(heat.style, { left: percent(left), top: percent(upper), width: percent(right - left), height: percent(lower - upper) });
    const pixels = new ImageData(columns, rows);
    map.forEach((weight, j) => pixels.data.set([...colours[weight], Math.round(255 * (LEAST + (MORE * weight) / 255))], 4 * j));
    heat.getContext("2d").putImageData(pixels, 0, 0);
  }

  end() { this.picture.end(); }
}
