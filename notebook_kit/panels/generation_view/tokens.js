// The tokens: what was read, and what was written, as chips that run on like a text.

import { fill, h, roving, set } from "../shared/common.js";
import { spoken, visible } from "../shared/letters.js";
import { colourOf, percentOf } from "../shared/probabilities.js";

const GV_NORMAL = 0;
const GV_SPECIAL = 1;
export const GV_PART = 2;

/** Float32 numbers of a buffer, wherever it starts. */
export function gvFloats(view) {
  if (!view) return new Float32Array(0);
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/**
 * The tokens on the screen. `draw({ context, tokens, numbers, apart })` shows a branch and keeps the chips that stay; `paint`
 * colours them. `onChoose(position)` and `onPoint(kind, place)` tell of the reader's.
 */
export function tokensView(view, { onChoose, onPoint }) {
  const context = h("span.gv-context", { role: "group" });
  const written = h("span.gv-written", { role: "listbox" });
  const caret = h("span.gv-caret", { "aria-hidden": "true", hidden: true });
  const names = [h("span.gv-name.faint"), h("span.gv-name.faint")];
  const element = h("div.gv-paper", { dir: "auto" }, names[0], context, names[1], written, caret);
  const drawn = { context: [], tokens: [] };
  let now = { context: [], tokens: [], numbers: [] };

  const chip = (entry, place, isWritten) => {
    const [text, id, kind, whole] = entry;
    const name = [kind === GV_PART ? view.words("bytes_are", { bytes: text }) : spoken(text), whole ? view.words("makes", { text: whole }) : null].filter(Boolean).join(", ");
    const face = h("span.gv-face", {}, kind === GV_PART ? text : visible(text));
    const one = h(`span.chip.gv-token${kind === GV_SPECIAL ? ".gv-special" : kind === GV_PART ? ".gv-part" : ""}`,
      isWritten ? { role: "option", tabindex: place === 0 ? "0" : "-1", "aria-selected": "false" } : {},
      h("span.gv-fill", { "aria-hidden": "true" }), face, whole ? h("span.gv-whole", {}, `→ ${whole}`) : null);
    one.dataset.place = place;
    one.dataset.id = id;
    one.gvName = name;
    return /\n/.test(text) && kind === GV_NORMAL ? [one, h("br")] : [one];
  };
  const match = (host, list, kept, isWritten) => {
    let same = 0;
    while (same < kept.length && same < list.length && kept[same].key === JSON.stringify(list[same])) same++;
    kept.splice(same).forEach(({ nodes }) => nodes.forEach(node => node.remove()));
    for (let place = same; place < list.length; place++) {
      const nodes = chip(list[place], place, isWritten);
      kept.push({ key: JSON.stringify(list[place]), nodes });
      host.append(...nodes);
    }
  };
  const tokenAt = event => event.target.closest?.(".nk-gv-token");

  set(written, {
    onclick: event => { const one = tokenAt(event); if (one) choose(Number(one.dataset.place)); },
    onkeydown: event => { if (event.key === "Escape") onChoose(null); if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(Number(tokenAt(event)?.dataset.place)); } },
  });
  const choose = place => {
    drawn.tokens.forEach(({ nodes }, i) => nodes[0].setAttribute("tabindex", i === place ? "0" : "-1"));
    drawn.tokens[place]?.nodes[0].focus({ preventScroll: true });
    onChoose(place);
  };
  roving(written, ".nk-gv-token", { onMove: one => onChoose(Number(one.dataset.place)) });
  set(element, {
    onpointerover: event => { const one = tokenAt(event); onPoint(one ? (written.contains(one) ? "tokens" : "context") : null, one ? Number(one.dataset.place) : null); },
    onpointerleave: () => onPoint(null, null),
  });

  return {
    element,
    get now() { return now; },
    draw({ context: read, tokens, numbers, apart }) {
      const follows = element.scrollHeight - element.scrollTop - element.clientHeight < 40;   // who has scrolled up stays there
      now = { context: read, tokens, numbers, apart };
      fill(names[0], view.words(apart ? "read_text" : "prompt_tokens"));
      fill(names[1], view.words("written_tokens"));
      names[0].hidden = names[1].hidden = !apart;
      element.classList.toggle("nk-gv-apart", Boolean(apart));
      context.setAttribute("aria-label", view.words(apart ? "read_text" : "prompt_tokens"));
      written.setAttribute("aria-label", view.words("written_tokens"));
      if (apart || !tokens.length) context.setAttribute("tabindex", "0"); else context.removeAttribute("tabindex");   // what scrolls must be reached by keys
      written.hidden = !tokens.length;       // an empty listbox would be one without options
      match(context, read, drawn.context, false);
      match(written, tokens, drawn.tokens, true);
      if (tokens.length && !drawn.tokens.some(({ nodes }) => nodes[0].getAttribute("tabindex") === "0")) drawn.tokens[0].nodes[0].setAttribute("tabindex", "0");
      if (follows) element.scrollTop = element.scrollHeight;
    },
    /** `colour` is a trait; `unsure` is the largest entropy that can be; `weights` are of the tokens before `chosen`, `top` what fills a token to the brim. */
    paint({ colour, chosen, unsure, weights, top, fork, running }) {
      caret.hidden = !running;
      drawn.tokens.forEach(({ nodes: [one] }, place) => {
        const [probability, rank, entropy] = now.numbers[place] ?? [0, 0, 0];
        one.setAttribute("aria-selected", String(place === chosen));
        one.setAttribute("aria-label", `${one.gvName}, ${percentOf(probability)}`);
        one.title = `${percentOf(probability)} · ${view.words("rank_is", { rank })} · ${view.words("id_is", { id: one.dataset.id })}`;
        one.classList.toggle("nk-gv-fork", place === fork);
        if (colour === "attention") {
          one.style.removeProperty("background-color");
          one.style.removeProperty("color");
        } else {
          const { back, ink } = colourOf(colour === "entropy" ? 1 - entropy / unsure : probability);
          one.style.backgroundColor = back;
          one.style.color = ink;
        }
      });
      const count = now.apart ? 0 : now.context.length;
      const shade = (one, weight) => one.style.setProperty("--part", weight === undefined ? "0" : String(Math.min(1, weight / top).toFixed(3)));
      drawn.context.forEach(({ nodes: [one] }, place) => shade(one, weights?.[place]));
      drawn.tokens.forEach(({ nodes: [one] }, place) => shade(one, now.apart ? undefined : weights?.[count + place]));
      element.classList.toggle("nk-gv-looks", Boolean(weights));
    },
  };
}
