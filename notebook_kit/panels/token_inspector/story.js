// The details of the selected token: its facts, and what each stage of the tokenizer did to its word.

import { fill, h } from "../shared/common.js";
import { readable, visible } from "../shared/letters.js";
import { algorithmOf } from "./algorithms.js";
import { kindsOf } from "./chips.js";

export class TokenStory {
  /** `folded`: names of the stages that the reader has collapsed. */
  constructor(format, folded = new Set()) {
    this.format = format;
    this.folded = folded;
    this.element = h("section.story", { "aria-label": format.words("story"), "aria-live": "off", hidden: true });
  }

  /** Show a story, or nothing for null. `about` describes its tokenizer; `name` is passed if there are several. */
  draw(story, about, name = "") {
    this.element.hidden = !story;
    if (!story) { fill(this.element); return; }
    const { words } = this.format, { detail, stages } = story;
    fill(this.element,
      h("h3.title", {}, words("story_of", { number: this.format.number(detail.position) }), " ", h("bdi.mono", {}, readable(detail.token)), h("span.faint", {}, name ? ` ${name}` : "")),
      h("div.columns", {},
        h("dl.facts", {}, factsOf(this.format, detail, about).map(([key, value]) => h("div", {}, h("dt", {}, words(key)), h("dd", {}, value)))),
        h("ol.stages", {}, stagesOf(this.format, story).map(([key, [summary, content]], i) =>
          h("li", {}, h("span.number", { "aria-hidden": "true" }, String(i + 1)), this.stage(key, summary, content))))),
      stages.lost ? h("p.warn", {}, words("story_lost")) : null);
  }

  /** A stage as a fold that remembers whether it is open, or as a plain line if it has no content. */
  stage(key, summary, content) {
    const line = [h("span.step", {}, this.format.words(`stage_${key}`)), " ", h("span.faint", {}, summary)];
    if (content === null) return h("div.flat", {}, line);
    const ontoggle = () => { if (fold.open) this.folded.delete(key); else this.folded.add(key); };
    const fold = h("details", { open: !this.folded.has(key), ontoggle }, h("summary", {}, line), content);
    return fold;
  }
}

function factsOf({ words, number }, detail, about) {
  const span = ([start, end]) => `${number(start)}–${number(end)}`;
  const kinds = kindsOf(detail.flags, ["special", "unknown", "added", "inserted", "part", "cut"]).map(kind => words(`key_${kind}`));
  const bytes = detail.byte_span && (detail.bytes.length > 60 ? `${detail.bytes.slice(0, 60)}…` : detail.bytes);
  return [
    ["token", h("bdi.mono", {}, readable(detail.token))],
    ["id", number(detail.id)],
    ["covers", covered(words, detail)],
    detail.whole ? ["part_of", h("bdi", {}, readable(detail.whole))] : null,
    detail.span ? ["characters", span(detail.span)] : null,
    detail.byte_span ? ["bytes", [`${span(detail.byte_span)} `, h("span.mono.faint", {}, bytes)]] : null,
    ["rank", rankOf({ words, number }, detail.rank, about?.type)],
    detail.score === null ? null : ["score", detail.score.toFixed(3)],
    ["kind", kinds.join(" · ") || words("kind_plain")],
  ].filter(Boolean);
}

function covered(words, detail) {
  if (detail.text) return h("bdi.mono", {}, readable(detail.text));
  return detail.span ? "∅" : words("put_in");
}

function rankOf({ words, number }, rank, type) {
  if (rank === null) return words("rank_none");
  const key = `rank_${type}`, text = words(key, { rank: number(rank) });
  return text === key ? number(rank) : text;
}

/** The stages as `[name, [summary, content]]`, in processing order. */
function stagesOf(format, { detail, stages, exact }) {
  const passed = [format.words("passed_by"), null];
  const stage = (name, draw) => [name, stages.is_added ? passed : stages[name] && draw()];
  return [
    ["added", stages.added && added(format, stages)],
    stage("normalizer", () => normalizer(format, stages.normalizer)),
    stage("pre_tokenizer", () => preTokenizer(format, stages.pre_tokenizer)),
    stage("model", () => model(format, stages.model, exact)),
    ["post_processor", stages.post_processor && postProcessor(format, stages, detail.position)],
  ].filter(([, content]) => content);
}

function added({ words, number }, { added: token, is_added: isAdded }) {
  if (!isAdded) return [words("added_none", { count: number(token.count), known: number(token.known) }), null];
  const options = ["single_word", "lstrip", "rstrip", "normalized", "special"].filter(option => token[option]);
  return [
    words("added_matched"),
    h("p", {}, words("added_rule"), " ", h("bdi.mono", {}, readable(token.content ?? token.text)), " ", options.map(option => h("span.tag", {}, option))),
  ];
}

function normalizer({ words, number }, { parts, chunks }) {
  if (!parts.length) return [words("normalizer_none"), null];
  const changed = (chunks ?? []).filter(([before, after]) => before !== after).length;
  const summary = changed ? words("normalizer_changed", { count: number(changed) }) : words("normalizer_same");
  return [
    chunks ? summary : "",
    h("div", {},
      h("p", {}, parts.map(([name, did]) => h(`span.tag${did ? ".did" : ""}`, { title: words(did ? "part_did" : "part_idle") }, name, did ? " ✓" : ""))),
      chunks?.length ? h("p.chunks.mono", {}, chunks.map(chunk)) : null),
  ];
}

function chunk([before, after]) {
  if (before === after) return h("span", {}, visible(before));
  return h("span.changed", {},
    h("del", {}, before ? visible(before) : "∅"),
    h("span.arrow", { "aria-hidden": "true" }, "→"),
    h("ins", {}, after ? visible(after) : "∅"));
}

function preTokenizer({ words, number }, stage) {
  const summary = stage.parts.length ? words("pieces", { count: number(stage.count), parts: stage.parts.join(" → ") }) : words("pre_tokenizer_none");
  if (!stage.around) return [summary, null];
  const piece = ([text, isMine, source]) => h(`span.piece-of-text.mono${isMine ? ".mine" : ""}`, {},
    h("bdi", {}, visible(text)), source === undefined ? null : h("bdi.source.faint", {}, visible(source)));
  return [summary, h("p.around", {},
    stage.before ? h("span.faint", {}, "… ") : null,
    stage.around.map(piece),
    stage.after ? h("span.faint", {}, " …") : null)];
}

function model(format, stage, isExact) {
  const { words, number } = format;
  const tokens = stage.tokens.map((token, i) => h(`bdi.piece-of-text.mono${i === stage.at ? ".mine" : ""}`, {}, readable(token)));
  return [
    `${stage.type} · ${words("model_made", { count: number(stage.made) })}`,
    h("div", {}, algorithmOf(format, stage),
      h("p.result", {}, words("result"), stage.first ? " … " : " ", tokens, stage.first + stage.tokens.length < stage.made ? " …" : null),
      isExact ? null : h("p.warn", {}, words("not_exact"))),
  ];
}

function postProcessor({ words, number }, { post_processor: stage, inserted }, position) {
  const parts = stage.parts.join(" → ");
  if (!stage.count) return [parts ? words("post_nothing", { parts }) : words("post_none"), null];
  return [
    words("post_inserted", { count: number(stage.count), parts }),
    h("p", {}, inserted ? `${words("post_mine")} ` : null,
      stage.inserted.map(([at, token]) => h(`bdi.piece-of-text.mono${at === position ? ".mine" : ""}`, {}, readable(token))),
      stage.count > stage.inserted.length ? " …" : null),
  ];
}
