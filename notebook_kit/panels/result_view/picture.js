// A picture with something over it, and a tip beside the pointer.

import { h } from "../shared/common.js";

const TALLEST = 520;        // CSS pixels
const LEAST_WIDTH = 360;    // smaller pictures are enlarged to this width
const ICON = 100;           // pixels; of a picture that is not larger, each pixel is drawn as a square

export class Picture {
  /** `bytes` is the picture, `onPoint(x, y)` is called with fractions of its size while the pointer is over it, then with null. */
  constructor(bytes, size, label, { onPoint, onClick } = {}) {
    this.address = URL.createObjectURL(new Blob([bytes]));
    this.image = h("img.rv-image", { src: this.address, alt: "", draggable: "false" });
    this.tip = h("div.rv-tip", { hidden: true, "aria-hidden": "true" });
    this.element = h("div.rv-picture", { role: "img", "aria-label": label }, this.image, this.tip);
    this.image.addEventListener("load", () => this.fit(size ?? [this.image.naturalWidth, this.image.naturalHeight]), { once: true });
    if (size) this.fit(size);
    if (!onPoint) return;
    this.element.addEventListener("pointermove", event => { onPoint(...this.at(event)); this.follow(event); });
    this.element.addEventListener("pointerleave", () => { this.tip.hidden = true; onPoint(null, null); });
    this.element.addEventListener("click", event => onClick?.(...this.at(event)));
  }

  /** Put something over the picture. */
  cover(...elements) {
    this.tip.before(...elements);
  }

  fit([width, height]) {
    const isSmall = Math.max(width, height) <= ICON, shown = Math.max(width, LEAST_WIDTH);
    this.element.style.aspectRatio = `${width} / ${height}`;
    this.element.style.width = `min(100%, ${Math.round(Math.min(shown, (TALLEST * width) / height))}px)`;
    this.element.classList.toggle("nk-rv-small", isSmall);
  }

  at(event) {
    const frame = this.element.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  }

  /** Show a text beside the pointer; null for none. */
  say(text) {
    this.tip.hidden = !text;
    if (text) this.tip.textContent = text;
  }

  follow(event) {
    const frame = this.element.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
    this.tip.style.left = `${Math.round(Math.min(x + 12, Math.max(0, frame.width - this.tip.offsetWidth)))}px`;
    this.tip.style.top = `${Math.round(y + 18 + this.tip.offsetHeight > frame.height ? y - this.tip.offsetHeight - 8 : y + 18)}px`;
  }

  end() {
    URL.revokeObjectURL(this.address);
  }
}

/** A thing in a few words: its label and its score. */
export function named({ label, score, detail }) {
  return [label, score === null ? null : score.toFixed(2), detail].filter(Boolean).join(" · ");
}
