// Above and below a tokenizer's row: its totals, what a round trip changes, tokens per script, and the differences.

import { fill, h } from "../shared/common.js";
import { readable, visible } from "../shared/letters.js";

/** Draw the totals; `reference` is the name of the tokenizer that the others are compared with. */
export function drawTotals(row, { totals, compared }, reference) {
  fill(row.totals, totalsLine(row.format, totals).map(item => h("span.item", {}, item)));
  const opened = [...row.more.querySelectorAll("details")].map(one => one.open);
  const folds = [scriptsFold(row.format, totals.scripts)];
  if (compared && row.index) folds.push(differencesFold(row, compared, reference));
  folds.forEach((fold, i) => { if (opened[i]) fold.open = true; });
  fill(row.more, totals.scripts.length ? folds : []);
}

function totalsLine({ words, number }, totals) {
  const fact = (key, value) => [h("span.faint", {}, words(key)), " ", h("b", {}, value)];
  return [
    [...fact("tokens", number(totals.tokens)), totals.inserted ? ` (${words("total_inserted", { count: number(totals.inserted) })})` : null],
    [...fact("characters", number(totals.graphemes)), totals.graphemes === totals.characters ? null : ` (${words("total_codes", { count: number(totals.characters) })})`],
    fact("bytes", number(totals.bytes)),
    fact("words", number(totals.words)),
    totals.words ? fact("per_word", totals.per_word.toFixed(2)) : null,
    totals.unknown ? h("span.warn", {}, "? ", words("total_unknown"), " ", h("b", {}, number(totals.unknown))) : null,
    roundTrip({ words, number }, totals.round_trip),
    truncation({ words, number }, totals.truncation),
  ].filter(Boolean);
}

function roundTrip({ words, number }, { ok, at, before, after, why }) {
  if (ok) return h("span.good", {}, "✓ ", words("trip_ok"));
  const values = { at: number(at), before: readable(before) || "∅", after: readable(after) || "∅" };
  const differs = words("trip_differs", values);
  return why === "lost" ? h("span.warn", { title: words("trip_title") }, "✗ ", differs) : h("span.faint", { title: differs }, "≈ ", words(`trip_${why}`, values));
}

function truncation({ words, number }, { limit, over }) {
  if (limit === null) return words("limit_none");
  if (over) return h("span.warn", {}, "✂ ", words("limit_over", { limit: number(limit), over: number(over) }));
  return words("limit_fits", { limit: number(limit) });
}

function scriptsFold({ words, number }, scripts) {
  const names = scripts.map(one => one.name).slice(0, 4).join(", ");
  return h("details.fold", {}, h("summary", {}, words("scripts"), h("span.faint", {}, ` ${names}`)),
    h("table", {},
      h("thead", {}, h("tr", {}, ["script", "characters", "tokens", "tokens_a_character"].map(key => h("th", { scope: "col" }, words(key))))),
      h("tbody", {}, scripts.map(one => h("tr", {},
        h("th", { scope: "row" }, one.name),
        h("td", {}, number(one.characters)),
        h("td", {}, number(one.tokens)),
        h("td", {}, (one.tokens / one.characters).toFixed(2)))))));
}

function differencesFold(row, compared, reference) {
  const { words, number } = row.format;
  const table = h("div.scroll", { tabindex: "0", role: "region", "aria-label": words("differences") });
  const share = Math.round(compared.agreement * 1000) / 10;
  const all = compared.shared + compared.left_only + compared.right_only;
  const summary = words("compared", { name: reference, share: number(share), shared: number(compared.shared), all: number(all) });
  const fold = h("details.fold", { ontoggle: () => { if (fold.open) drawDifferences(row, table, reference); } }, h("summary", {}, summary), table);
  return fold;
}

async function drawDifferences(row, place, reference) {
  const { words, number } = row.format;
  const result = await row.view.ask("differences", { of: row.answer.of, row: row.index }, `differences ${row.index}`);
  if (!result) return;
  const { regions, count } = result.values;
  const cells = tokens => tokens.map(token => h("span.cell", {}, readable(token)));
  fill(place, regions.length
    ? h("table.differences", {},
      h("thead", {}, h("tr", {}, [words("text"), reference, row.about.name].map(name => h("th", { scope: "col" }, name)))),
      h("tbody", {}, regions.map(([, , text, left, right]) => h("tr", {}, h("td.mono", {}, visible(text)), h("td", {}, cells(left)), h("td", {}, cells(right))))))
    : h("p.faint", {}, words("no_differences")),
  count > regions.length ? h("p.faint", {}, words("more", { count: number(count - regions.length) })) : null);
}
