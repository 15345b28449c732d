// How each kind of model arrived at a token: merges (BPE), longest matches (WordPiece), scores (Unigram).

import { h } from "../shared/common.js";
import { readable } from "../shared/letters.js";

/** What the model did to the word, as an element; for other kinds of models, whether the vocabulary has the word. */
export function algorithmOf(format, stage) {
  const draw = { BPE: merges, WordPiece: matches, Unigram: scores }[stage.type];
  return draw?.(format, stage) ?? h("p", {}, format.words(stage.known?.[stage.at] ? "lookup_found" : "lookup_missing"));
}

function symbolsLine(symbols, fresh = -1) {
  return h("span.symbols", {}, symbols.map((symbol, i) => h(`bdi.symbol.mono${i === fresh ? ".fresh" : ""}`, {}, readable(symbol))));
}

function merges({ words, number }, stage) {
  if (stage.whole) return h("p", {}, words("bpe_whole"));
  if (!stage.replayable) return listOfMerges({ words, number }, stage);
  const symbols = [...stage.symbols];
  const lines = [h("li", {}, h("span.rank.faint", {}, words("bpe_start")), symbolsLine(symbols))];
  for (const [rank, , , result, at] of stage.merges) {
    symbols.splice(at, 2, result);
    lines.push(h("li", {}, h("span.rank", { title: words("rank_BPE", { rank: number(rank) }) }, `#${number(rank)}`), symbolsLine(symbols, at)));
  }
  if (stage.merges.length < stage.count) lines.push(h("li", {}, "…"));
  return h("ol.merges", { "aria-label": words("bpe_merges") }, lines, stage.count ? null : h("li.faint", {}, words("bpe_none")));
}

/** The merges alone, for a word that is too long to show its symbols after each merge. */
function listOfMerges({ words, number }, stage) {
  return h("div", {}, h("p.faint", {}, words("bpe_long", { count: number(stage.count) })),
    h("ol.merges", {}, stage.merges.map(([rank, left, right, result]) => h("li", {},
      h("span.rank", {}, `#${number(rank)}`),
      h("bdi.mono", {}, `${readable(left)} + ${readable(right)}`),
      h("span.arrow", {}, "→"),
      h("bdi.symbol.mono.fresh", {}, readable(result))))));
}

function matches({ words }, stage) {
  if (stage.too_long) return h("p", {}, words("wordpiece_long", { longest: stage.longest }));
  return h("ol.merges", {}, stage.matches.map(([start, tried, token]) => h("li", {},
    h("span.rank.faint", {}, words("from_place", { place: start })),
    h("span.symbols", {},
      tried.slice(0, 12).map(one => h("del.mono", {}, readable(one))),
      tried.length > 12 ? h("span.faint", {}, words("more", { count: tried.length - 12 })) : null,
      token === null ? h("span.warn", {}, words("nothing_fits")) : h("bdi.symbol.mono.fresh", {}, readable(token))))));
}

function scores({ words, number }, stage) {
  const drawn = stage.piece && stage.edges.length
    ? h("div.scroll", { tabindex: "0", role: "region", "aria-label": words("lattice") }, lattice(words, stage))
    : h("p.faint", {}, words("lattice_long", { count: number(stage.count) }));
  const paths = stage.rivals.length ? stage.rivals : [[stage.best.map(([token]) => token), stage.score]];
  return h("div", {}, drawn,
    h("table.paths", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("path")), h("th", { scope: "col" }, words("score")))),
      h("tbody", {}, paths.map(([tokens, value], i) => h(`tr${i ? "" : ".best"}`, {},
        h("td", {}, i ? null : "★ ", symbolsLine(tokens)), h("td", {}, value.toFixed(3)))))));
}

/** Every piece of the vocabulary that fits somewhere in the word, below the letters that it covers. */
function lattice(words, stage) {
  const letters = [...stage.piece];
  return h("ul.lattice", { "aria-label": words("lattice"), style: { "--columns": letters.length } },
    letters.map((letter, i) => h("li.letter.mono", { style: { "grid-column": `${i + 1}` }, "aria-hidden": "true" }, readable(letter))),
    stage.edges.map(([start, end, token, value, isKnown, isBest]) => {
      const title = `${readable(token)} ${value.toFixed(2)}${isBest ? ` · ${words("on_best_path")}` : ""}`;
      return h(`li.edge.mono${isBest ? ".best" : ""}`, { style: { "grid-column": `${start + 1} / ${end + 1}` }, title },
        h("bdi", {}, readable(token)), h("span.value", {}, ` ${value.toFixed(2)}${isKnown ? "" : " ?"}`));
    }));
}
