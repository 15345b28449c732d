// Tokens as chips: one per token, and a frame around tokens that share a character.

import { h } from "../shared/common.js";
import { readable, spoken, visible } from "../shared/letters.js";

/** The bits in a token's flags, as sent by Python. */
export const FLAG = { special: 1, unknown: 2, added: 4, inserted: 8, part: 16, second: 32, differs: 64, cut: 128 };

/** The `kinds` that apply to a token with these flags. */
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

/** Several tokens that share a character: the text that they cover together, above a chip per token. */
function cluster(words, text, chips) {
  const differs = chips[0].flags & FLAG.differs ? ".is-differs" : "";
  return h(`span.cluster.hue-${chips[0].hue}${differs}`, { role: "group", "aria-label": words("cluster", { text: spoken(text), count: chips.length }) },
    h("span.whole", { "aria-hidden": "true" }, visible(text)),
    h("span.pieces", { role: "none" }, chips.map(chip => tokenChip(words, chip))));
}

/**
 * The contents of a block of tokens, in order, as `{ key, make }`: an element with the same key can be reused, and `make()`
 * creates a new one.
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

/** Update an element from the plan with `oldKeys` to a new plan: a common beginning and end stay, the rest is replaced. */
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
