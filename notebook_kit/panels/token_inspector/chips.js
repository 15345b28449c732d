// Tokens as chips: one per token, and a frame around the tokens that share a character.

import { h } from "../shared/common.js";
import { readable, spoken, visible } from "../shared/letters.js";

/** The bits of a token's flags, as Python sends them. */
export const FLAG = { special: 1, unknown: 2, added: 4, inserted: 8, part: 16, second: 32, differs: 64, cut: 128 };

/** The names of those of `kinds` that a token is. */
export function kindsOf(flags, kinds) {
  return kinds.filter(kind => flags & FLAG[kind]);
}

function tokenChip(words, { position, text, flags, hue, token, id, isPiece = false }) {
  const kinds = kindsOf(flags, ["special", "unknown", "inserted", "differs", "cut"]);
  const classes = kinds.filter(kind => kind !== "inserted").map(kind => `.is-${kind}`).join("");
  const name = [spoken(text) || words("nothing"), words("id_is", { id }), ...kinds.map(kind => words(`key_${kind}`))].join(", ");
  const sign = flags & FLAG.unknown ? h("span.sign", { "aria-hidden": "true" }, "?") : null;
  return h(`span.chip.hue-${hue}${isPiece ? ".piece" : ""}${classes}`,
    { role: "option", "aria-selected": "false", "aria-label": name, tabindex: "-1", "data-position": position, title: `${readable(token)} · ${id}` },
    h("span.face", {}, sign, text === "" ? "∅" : visible(text)),
    h("span.id", {}, String(id)));
}

/** Several tokens that share a character: the text that they cover together, and a chip for each. */
function cluster(words, text, chips) {
  const differs = chips[0].flags & FLAG.differs ? ".is-differs" : "";
  return h(`span.cluster.hue-${chips[0].hue}${differs}`, { role: "group", "aria-label": words("cluster", { text: spoken(text), count: chips.length }) },
    h("span.whole", { "aria-hidden": "true" }, visible(text)),
    h("span.pieces", { role: "none" }, chips.map(chip => tokenChip(words, chip))));
}

/**
 * What a block of tokens shows, in order, as `{ key, make }`: an element drawn for the same key can stay, and `make()` makes a
 * new one.
 */
export function planOfBlock(words, values, [ids, , , , , flags], blockSize) {
  const plan = [];
  let at = 0, isCut = values.cut;
  values.groups.forEach(([text, count], k) => {
    const hue = (values.number * blockSize + k) % 2 ? "other" : "one", first = at;
    const cutHere = flags[first] & FLAG.inserted ? isCut : Boolean(flags[first] & FLAG.cut);
    if (cutHere !== isCut) plan.push({ key: "✂", make: () => h("span.scissors", { role: "none", title: words("cut_here") }, "✂") });
    isCut = cutHere;
    const chips = Array.from({ length: count }, (_, i) => {
      const position = values.first + first + i, token = values.tokens[first + i];
      const face = count === 1 ? text : values.bytes[position] ?? token;
      return { position, text: face, flags: flags[first + i], hue, token, id: ids[first + i], isPiece: count > 1 };
    });
    const key = [text, hue, ids.subarray(first, first + count).join(), flags.subarray(first, first + count).join()].join("\0");
    plan.push({ key, make: () => (count === 1 ? tokenChip(words, chips[0]) : cluster(words, text, chips)) });
    at += count;
  });
  return plan;
}

/** Show a plan in an element that shows the one with `oldKeys`: what both begin and end with stays, the rest is replaced. */
export function showPlan(element, oldKeys, plan) {
  if (!oldKeys.length) element.replaceChildren();
  const most = Math.min(oldKeys.length, plan.length);
  let before = 0, after = 0;
  while (before < most && oldKeys[before] === plan[before].key) before++;
  while (after < most - before && oldKeys[oldKeys.length - 1 - after] === plan[plan.length - 1 - after].key) after++;
  const present = [...element.children];
  present.slice(before, present.length - after).forEach(one => one.remove());
  const next = present[present.length - after] ?? null;
  plan.slice(before, plan.length - after).forEach(({ make }) => element.insertBefore(make(), next));
}
