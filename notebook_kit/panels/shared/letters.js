// Token texts for display, with white space and invisible characters made visible.

import { h } from "./common.js";

const BREAKS = { " ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

/** Text with visible symbols for white space and invisible characters, as an array of nodes and strings. */
export function visible(text) {
  const nodes = [];
  let plain = "";
  const flush = () => { if (plain) nodes.push(plain); plain = ""; };
  const hidden = /^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Mn}\p{Me}]+$/u.test(text);
  for (const character of text) {
    if (character in BREAKS) { flush(); nodes.push(h("span.space", {}, BREAKS[character])); continue; }
    if (hidden || /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u.test(character)) {
      flush();
      nodes.push(h("span.code", {}, `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`));
      continue;
    }
    plain += character;
  }
  flush();
  return nodes;
}

/** The same as one string, for names and titles. */
export function readable(text) {
  return visible(text).map(node => (typeof node === "string" ? node : node.textContent)).join("");
}

/** The same for screen readers: white space is shown only if there is nothing else. */
export function spoken(text) {
  return text.trim() ? text.trim() : readable(text);
}
