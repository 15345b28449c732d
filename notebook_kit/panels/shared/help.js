// The help of a panel: a "?" that opens what you see, what to try, and what not to conclude.

import { h } from "./common.js";

const PARTS = ["see", "try", "not"];

/**
 * The button and the text that it opens, placed by the panel:
 *
 *   const help = new Help(view);
 *   view.body.append(h("div.row", {}, title, help.button), help.element, ...);
 *
 * The texts are the strings `<panel>.help_see`, `help_try` and `help_not`; each line is one entry of a list. With a `variant`, they
 * are `help_see_<variant>` and so on.
 */
export class Help {
  constructor({ words }, variant = "") {
    const id = `nk-help-${Math.random().toString(36).slice(2)}`;
    this.button = h("button.help-button", {
      type: "button", "aria-expanded": "false", "aria-controls": id, "aria-label": words("help"), title: words("help"),
      onclick: () => this.show(this.element.hidden),
    }, "?");
    const part = name => h("div", {}, h("h3", {}, words(`help_${name}_title`)),
      h("ul", {}, words(`help_${name}${variant && `_${variant}`}`).split("\n").map(line => h("li", {}, line))));
    const close = h("button.plain", { type: "button", "aria-label": words("help_close"), onclick: () => this.hide() }, "×");
    this.element = h("section.help", { id, hidden: true, "aria-label": words("help") }, PARTS.map(part), close);
    for (const one of [this.button, this.element]) one.addEventListener("keydown", event => this.onKey(event));
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
