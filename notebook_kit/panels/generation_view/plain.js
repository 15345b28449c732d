// The text as it reads, without the borders of tokens: to copy it, and to find the characters of a token.

import { fill, h } from "../shared/common.js";
import { GV_NORMAL, GV_PART } from "./tokens.js";

const COPIED = 1500;   // milliseconds for which "Copied" is shown

export class PlainText {
  constructor({ words }) {
    this.words = words;
    this.text = h("p.gv-plain", { dir: "auto" });
    this.copy = h("button", { type: "button", onclick: () => this.take() }, words("copy"));
    this.element = h("section.gv-plain-box", { "aria-label": words("plain_text"), hidden: true },
      h("div.row", {}, h("h3", {}, words("plain_text")), h("span.gv-space"), this.copy), this.text);
    this.spans = { context: [], tokens: [] };
    this.drawn = null;
  }

  /** `text` is the whole text once it is written, for tokens whose entries alone do not spell it. */
  draw({ context, tokens, apart, text, isEmpty }) {
    this.element.hidden = isEmpty;
    const state = JSON.stringify([context.length, tokens.length, tokens.at(-1)?.[1], context[0]?.[1], text]);
    if (isEmpty || state === this.drawn) return;
    this.drawn = state;
    this.whole = text;
    this.spans = { context: apart ? [] : context.map(spanOf), tokens: tokens.map(spanOf) };
    fill(this.text, h("span.faint", {}, this.spans.context), this.spans.tokens);
  }

  /** Mark the characters of the token at a place of "tokens" or "context"; `kind` null removes the mark. */
  mark(kind, place) {
    this.text.querySelector(".nk-gv-marked")?.classList.remove("nk-gv-marked");
    if (kind !== null) this.spans[kind][place]?.classList.add("nk-gv-marked");
  }

  async take() {
    const text = this.whole || this.text.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {                              // not allowed, or not a secure page
      getSelection().selectAllChildren(this.text);
      document.execCommand("copy");
    }
    this.copy.textContent = this.words("copied");
    setTimeout(() => { this.copy.textContent = this.words("copy"); }, COPIED);
  }
}

/** The characters of a token; of a part of a character, the character that it completes. */
function spanOf([text, , kind, whole]) {
  return h("span", {}, kind === GV_NORMAL ? text : kind === GV_PART ? whole ?? "" : "");
}
