// The help of a panel: a "?" that opens what you see, what to try, and what not to conclude.

import { fill, h } from "./common.js";

const PARTS = ["see", "try", "not"];

/**
 * The button and the text that it opens, placed by the panel:
 *
 *   const help = new Help(view);
 *   view.body.append(h("div.row", {}, title, help.button), help.element, ...);
 *
 * The texts are the strings `<panel>.help_see`, `help_try` and `help_not`; each line is one entry of a list. With a variant, they
 * are `help_see_<variant>` and so on: `help.explain(variant)`.
 */
export class Help {
  constructor({ words }) {
    this.words = words;
    const id = `nk-help-${Math.random().toString(36).slice(2)}`;
    this.button = h("button.help-button", {
      type: "button", "aria-expanded": "false", "aria-controls": id, "aria-label": words("help"), title: words("help"),
      onclick: () => this.show(this.element.hidden),
    }, "?");
    this.texts = h("div.help-texts");
    const close = h("button.plain", { type: "button", "aria-label": words("help_close"), onclick: () => this.hide() }, "×");
    this.element = h("section.help", { id, hidden: true, "aria-label": words("help") }, this.texts, close);
    this.explain();
    for (const one of [this.button, this.element]) one.addEventListener("keydown", event => this.onKey(event));
  }

  /** Write the texts of a variant, or the general ones. */
  explain(variant = "") {
    if (this.variant === variant) return;
    this.variant = variant;
    const { words } = this;
    fill(this.texts, PARTS.map(name => h("div", {}, h("h3", {}, words(`help_${name}_title`)),
      h("ul", {}, words(`help_${name}${variant && `_${variant}`}`).split("\n").map(line => h("li", {}, line))))));
  }

  show(isOpen) {
    this.element.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
  }

  hide() {
    this.show(false);
    this.button.focus();
  }

  onKey(event) {
    if (event.key !== "Escape" || this.element.hidden) return;
    event.preventDefault();
    event.stopPropagation();      // the notebook would leave its edit mode
    this.hide();
  }
}
