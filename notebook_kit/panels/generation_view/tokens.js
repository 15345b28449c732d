// The tokens that were read and those that were written, as chips in running text.

import { fill, h, roving, set } from "../shared/common.js";
import { spoken, visible } from "../shared/letters.js";
import { colourOf, percentOf } from "../shared/probabilities.js";

export const GV_NORMAL = 0;
const GV_SPECIAL = 1;
export const GV_PART = 2;

/** The float32 numbers of a buffer, which may start at any byte. */
export function gvFloats(view) {
  if (!view) return new Float32Array(0);
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/**
 * The tokens on the screen. `draw({ context, tokens, numbers, apart })` shows a branch and keeps unchanged chips; `paint` colours
 * them. `onChoose(position)` is called when a token is chosen, `onPoint(kind, place)` for the one under the pointer.
 */
export class TokensView {
  constructor(view, { onChoose, onPoint }) {
    [this.view, this.onChoose, this.onPoint] = [view, onChoose, onPoint];
    this.context = h("span.gv-context", { role: "group" });
    this.written = h("span.gv-written", { role: "listbox" });
    this.caret = h("span.gv-caret", { "aria-hidden": "true", hidden: true });
    this.names = [h("span.gv-name.faint"), h("span.gv-name.faint")];
    this.element = h("div.gv-paper", { dir: "auto" }, this.names[0], this.context, this.names[1], this.written, this.caret);
    this.drawn = { context: [], tokens: [] };
    this.now = { context: [], tokens: [], numbers: [] };
    this.listen();
  }

  listen() {
    const tokenAt = event => event.target.closest?.(".nk-gv-token"), placeOf = one => Number(one?.dataset.place);
    set(this.written, {
      onclick: event => { if (tokenAt(event)) this.choose(placeOf(tokenAt(event))); },
      onkeydown: event => {
        if (event.key === "Escape") this.onChoose(null);
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.choose(placeOf(tokenAt(event))); }
      },
    });
    roving(this.written, ".nk-gv-token", { onMove: one => this.onChoose(placeOf(one)) });
    set(this.element, {
      onpointerover: event => {
        const one = tokenAt(event);
        if (one) this.onPoint(this.written.contains(one) ? "tokens" : "context", placeOf(one)); else this.onPoint(null, null);
      },
      onpointerleave: () => this.onPoint(null, null),
    });
  }

  choose(place) {
    this.drawn.tokens.forEach(({ nodes }, i) => nodes[0].setAttribute("tabindex", i === place ? "0" : "-1"));
    this.drawn.tokens[place]?.nodes[0].focus({ preventScroll: true });
    this.onChoose(place);
  }

  draw({ context, tokens, numbers, apart }) {
    const { element, names, written, drawn } = this, { words } = this.view;
    const follows = element.scrollHeight - element.scrollTop - element.clientHeight < 40;   // not if the user has scrolled up
    this.now = { context, tokens, numbers, apart };
    fill(names[0], words(apart ? "read_text" : "prompt_tokens"));
    fill(names[1], words("written_tokens"));
    names[0].hidden = names[1].hidden = !apart;
    element.classList.toggle("nk-gv-apart", Boolean(apart));
    this.context.setAttribute("aria-label", words(apart ? "read_text" : "prompt_tokens"));
    written.setAttribute("aria-label", words("written_tokens"));
    if (apart || !tokens.length) this.context.setAttribute("tabindex", "0"); else this.context.removeAttribute("tabindex");   // a scrolling element must be reachable by keyboard
    written.hidden = !tokens.length;       // a listbox must have options
    this.match(this.context, context, drawn.context, false);
    this.match(written, tokens, drawn.tokens, true);
    if (tokens.length && !drawn.tokens.some(({ nodes }) => nodes[0].getAttribute("tabindex") === "0")) drawn.tokens[0].nodes[0].setAttribute("tabindex", "0");
    if (follows) element.scrollTop = element.scrollHeight;
  }

  /** Create the chips of a list, keeping the unchanged ones at its start. */
  match(host, list, kept, isWritten) {
    let same = 0;
    while (same < kept.length && same < list.length && kept[same].key === JSON.stringify(list[same])) same++;
    kept.splice(same).forEach(({ nodes }) => nodes.forEach(node => node.remove()));
    for (let place = same; place < list.length; place++) {
      const nodes = this.chip(list[place], place, isWritten);
      kept.push({ key: JSON.stringify(list[place]), nodes });
      host.append(...nodes);
    }
  }

  chip([text, id, kind, whole], place, isWritten) {
    const { words } = this.view, isPart = kind === GV_PART;
    const one = h(`span.chip.gv-token${kind === GV_SPECIAL ? ".gv-special" : isPart ? ".gv-part" : ""}`,
      isWritten ? { role: "option", tabindex: place === 0 ? "0" : "-1", "aria-selected": "false" } : {},
      h("span.gv-fill", { "aria-hidden": "true" }), h("span.gv-face", {}, isPart ? text : visible(text)), whole ? h("span.gv-whole", {}, `→ ${whole}`) : null);
    one.dataset.place = place;
    one.dataset.id = id;
    one.gvName = [isPart ? words("bytes_are", { bytes: text }) : spoken(text), whole ? words("makes", { text: whole }) : null].filter(Boolean).join(", ");
    return /\n/.test(text) && kind === GV_NORMAL ? [one, h("br")] : [one];
  }

  /** `colour` is the trait, `unsure` the largest possible entropy, `weights` those of the tokens before `chosen`, `top` the weight that fills a token. */
  paint({ colour, chosen, unsure, weights, top, fork, running }) {
    this.caret.hidden = !running;
    this.drawn.tokens.forEach(({ nodes: [one] }, place) => {
      one.setAttribute("aria-selected", String(place === chosen));
      one.classList.toggle("nk-gv-fork", place === fork);
      this.tint(one, place, colour, unsure);
    });
    const { apart, context } = this.now, count = apart ? 0 : context.length;
    const shade = (one, weight) => one.style.setProperty("--part", weight === undefined ? "0" : String(Math.min(1, weight / top).toFixed(3)));
    this.drawn.context.forEach(({ nodes: [one] }, place) => shade(one, weights?.[place]));
    this.drawn.tokens.forEach(({ nodes: [one] }, place) => shade(one, apart ? undefined : weights?.[count + place]));
    this.element.classList.toggle("nk-gv-looks", Boolean(weights));
  }

  /** Set the label of a written token, and its colour by probability or entropy. */
  tint(one, place, colour, unsure) {
    const [probability, rank, entropy] = this.now.numbers[place] ?? [0, 0, 0], { words } = this.view;
    one.setAttribute("aria-label", `${one.gvName}, ${percentOf(probability)}`);
    one.title = `${percentOf(probability)} · ${words("rank_is", { rank })} · ${words("id_is", { id: one.dataset.id })}`;
    if (colour === "attention") {
      one.style.removeProperty("background-color");
      one.style.removeProperty("color");
      return;
    }
    const { back, ink } = colourOf(colour === "entropy" ? 1 - entropy / unsure : probability);
    one.style.backgroundColor = back;
    one.style.color = ink;
  }
}
