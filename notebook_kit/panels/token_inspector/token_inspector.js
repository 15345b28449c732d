// TokenInspector: a text, the tokens that one or several tokenizers make of it, and the story of the chosen one.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { readable, spoken, visible } from "../shared/letters.js";
import { screenPicture } from "../shared/pictures.js";

const FLAG = { special: 1, unknown: 2, added: 4, inserted: 8, part: 16, second: 32, differs: 64, cut: 128 };
const LONG_TEXT = 20_000;   // characters; beyond, an analysis takes long enough to be overtaken by the next key stroke

export default {
  render({ model, el }) {
    const view = startView(model, el, "token_inspector");
    tokenInspector(model, view);
    return () => view.end();
  },
};

function tokenInspector(model, view) {
  const { words } = view;
  const folded = new Set();          // stages that the reader has folded
  let rows = [];                     // one per tokenizer: its elements and what has come of its tokens
  let parts = {};                    // elements that live as long as the interface is not rebuilt
  let of = null, blockSize = 300;    // the key of the newest answer
  let anchor = null;                 // where a selection of several starts
  let told = null;                   // the newest story
  const number = value => value.toLocaleString(model.get("_language"));
  const save = debounced(250, () => model.save_changes());

  // The interface -------------------------------------------------------------------------------------------------

  const build = () => {
    const field = (trait, label, lines) => {
      const box = h("textarea.text", {
        rows: lines, value: model.get(trait) ?? "", "aria-label": words(label), spellcheck: "false", dir: "auto", placeholder: words("type_here"),
        oninput: () => {
          unselect();
          model.set(trait, box.value);
          save();
        },
      });
      return box;
    };
    parts = {
      text: field("text", "text", 3),
      pair: field("text_pair", "text_pair", 2),
      pairButton: h("button", {
        type: "button",
        onclick: () => {
          unselect();
          model.set("text_pair", model.get("text_pair") === null ? "" : null);
          save();
          if (model.get("text_pair") !== null) parts.pair.focus();
        },
      }, words("second_text")),
      ids: h("input", { type: "checkbox", checked: model.get("show_ids"), onchange: event => { model.set("show_ids", event.target.checked); save(); } }),
      rows: h("div.rows"),
      story: h("section.story", { "aria-label": words("story"), "aria-live": "off" }),
      hint: h("p.hint.faint"),
    };
    const legend = h("p.legend.faint", {},
      ["special", "unknown", "part", "differs"].filter(kind => kind !== "differs" || model.get("_rows").length > 1)
        .map(kind => h(`span.key.key-${kind}`, {}, h("span.swatch", { "aria-hidden": "true" }, { special: "a", unknown: "?", part: "E0", differs: "a" }[kind]), words(`key_${kind}`))));
    const tools = h("div.row.tools", {},
      parts.pairButton,
      h("label.check", {}, parts.ids, words("show_ids")),
      h("span.grow"),
      h("button", { type: "button", onclick: () => exportPicture("png") }, words("save_png")),
      h("button", { type: "button", onclick: () => exportPicture("svg") }, words("save_svg")));
    fill(view.body, parts.text, parts.pair, tools, legend, parts.rows, parts.hint, parts.story);
    buildRows();
    showPair();
    onIds();
  };

  const showPair = () => {
    const open = model.get("text_pair") !== null && model.get("text_pair") !== undefined;
    parts.pair.hidden = !open;
    parts.pairButton.setAttribute("aria-pressed", String(open));
  };

  const onIds = () => {
    parts.ids.checked = model.get("show_ids");
    parts.rows.classList.toggle("nk-with-ids", model.get("show_ids"));
  };

  const buildRows = () => {
    rows.forEach(row => row.observer.disconnect());
    const described = model.get("_rows") ?? [];
    rows = described.map((about, index) => {
      const strip = h("div.strip", { role: "listbox", "aria-multiselectable": "true", "aria-label": words("tokens_of", { name: about.name }), tabindex: "-1" });
      const row = { index, about, strip, blocks: [], totals: h("p.totals"), more: h("div.more"), chosen: new Set() };
      row.observer = new IntersectionObserver(entries => entries.forEach(entry => onSeen(row, entry)), { root: strip, rootMargin: "300px 0px" });
      strip.addEventListener("click", event => onClick(row, event));
      strip.addEventListener("keydown", event => onKey(row, event));
      row.root = h("section.tokenizer", { "aria-label": about.name },
        h("h3.name", {}, h("bdi", {}, about.name), h("span.faint", {}, ` ${about.type} · ${words("entries", { count: number(about.size) })}`)),
        row.totals,
        about.notes.map(note => h("p.note", {}, words(note))),
        strip, row.more);
      return row;
    });
    fill(parts.rows, rows.map(row => row.root), rows.length ? null : h("p.faint", {}, words("empty")));
    view.body.classList.toggle("nk-none", !rows.length);
  };

  // Asking --------------------------------------------------------------------------------------------------------

  const ask = async () => {
    const text = model.get("text") ?? "", text_pair = model.get("text_pair") ?? null;
    if (!rows.length) return;
    const long = text.length + (text_pair?.length ?? 0) > LONG_TEXT;
    const result = await view.ask(long ? "tokens_of_long_text" : "tokens", { text, text_pair }, "tokens");
    if (!result || result.values.rows.length !== rows.length) return;
    of = result.values.of;
    blockSize = result.values.block;
    result.values.rows.forEach((values, index) => drawRow(rows[index], values, result.buffers[index]));
    parts.hint.textContent = rows.some(row => row.count) ? words("hint") : "";
    paintSelection();
    askStory();
  };
  const askSoon = debounced(120, ask);
  const onText = () => {
    for (const [box, trait] of [[parts.text, "text"], [parts.pair, "text_pair"]])
      if (box.value !== (model.get(trait) ?? "")) box.value = model.get(trait) ?? "";
    showPair();
    if ((model.get("text") ?? "").length > LONG_TEXT) askSoon();
    else { askSoon.stop(); ask(); }
  };

  const askStory = async () => {
    const row = model.get("row"), position = (model.get("selected") ?? []).at(-1);
    if (position === undefined || of === null || row >= rows.length) { told = null; drawStory(); return; }
    const result = await view.ask("story", { of, row, position });
    if (!result || result.values.gone) return;
    told = { row, position, ...result.values };
    drawStory();
  };

  // A row of tokens -----------------------------------------------------------------------------------------------

  const drawRow = (row, values, buffer) => {
    const count = Math.max(1, Math.ceil(values.groups / blockSize));
    row.observer.disconnect();
    row.count = values.groups;
    row.data = new Map();
    row.blocks.splice(count).forEach(block => block.root.remove());
    for (const block of row.blocks) Object.assign(block, { drawn: false, asked: false });   // what they show stays until the new is there
    while (row.blocks.length < count) {
      const block = { number: row.blocks.length, root: h("div.block", { role: "none" }), keys: [], drawn: false, asked: false };
      if (block.number) block.root.style.minHeight = `${row.blocks[0].root.offsetHeight || 200}px`;
      row.blocks.push(block);
      row.strip.append(block.root);
    }
    if (!values.groups) {
      row.blocks[0].keys = [];
      fill(row.blocks[0].root, h("span.faint", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, words("no_tokens")));
    } else {
      drawBlock(row, values.block, buffer);
    }
    if (count > 1) row.blocks.forEach(block => row.observer.observe(block.root));
    drawTotals(row, values);
  };

  const onSeen = async (row, entry) => {
    const block = row.blocks.find(one => one.root === entry.target);
    if (!block) return;
    if (!entry.isIntersecting) {
      if (block.root.firstChild && !block.root.contains(document.activeElement)) {
        block.root.style.minHeight = `${block.root.offsetHeight}px`;
        fill(block.root);
        Object.assign(block, { drawn: false, keys: [] });
      }
      return;
    }
    if (block.drawn || block.asked) return;
    const kept = row.data.get(block.number);
    if (kept) { drawBlock(row, kept.values, null); paintSelection(); return; }
    block.asked = true;
    const result = await view.ask("block", { of, row: row.index, block: block.number }, `block ${row.index} ${block.number}`);
    block.asked = false;
    if (!result || row.blocks[block.number] !== block) return;
    drawBlock(row, result.values, result.buffers[0]);
    paintSelection();
  };

  const drawBlock = (row, values, buffer) => {
    const block = row.blocks[values.number];
    if (!row.data.has(values.number)) {
      const all = new Int32Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
      const size = values.tokens.length;
      row.data.set(values.number, { values, first: values.first, columns: Array.from({ length: 6 }, (_, i) => all.subarray(i * size, (i + 1) * size)) });
    }
    const { columns: [ids, , , , , flags] } = row.data.get(values.number);
    // What each group and each cut will be: a key that tells whether the present element can stay, and how to make it.
    const plan = [];
    let at = 0, cut = values.cut;
    values.groups.forEach(([text, count], k) => {
      const hue = (values.number * blockSize + k) % 2 ? "other" : "one";
      const lost = flags[at] & FLAG.inserted ? cut : Boolean(flags[at] & FLAG.cut);
      if (lost !== cut) { plan.push({ key: "✂", make: () => h("span.scissors", { role: "none", title: words("cut_here") }, "✂") }); cut = lost; }
      const first = at;
      const key = [text, hue, ids.subarray(at, at + count).join(), flags.subarray(at, at + count).join()].join("\0");
      plan.push({ key, first, make: () => (count === 1
        ? chip(values.first + first, text, flags[first], hue, values.tokens[first], ids[first])
        : h(`span.cluster.hue-${hue}${flags[first] & FLAG.differs ? ".is-differs" : ""}`, { role: "group", "aria-label": words("cluster", { text: spoken(text), count }) },
          h("span.whole", { "aria-hidden": "true" }, visible(text)),
          h("span.pieces", { role: "none" }, Array.from({ length: count }, (_, i) => {
            const token = values.tokens[first + i];
            return chip(values.first + first + i, values.bytes[values.first + first + i] ?? token, flags[first + i], hue, token, ids[first + i], true);
          })))) });
      at += count;
    });
    const old = block.keys, most = Math.min(old.length, plan.length);
    if (!old.length) fill(block.root);
    let same = 0, after = 0;
    while (same < most && old[same] === plan[same].key) same++;
    while (after < most - same && old[old.length - 1 - after] === plan[plan.length - 1 - after].key) after++;
    const present = [...block.root.children];
    present.slice(same, present.length - after).forEach(one => one.remove());
    const next = present[present.length - after] ?? null;
    plan.slice(same, plan.length - after).forEach(({ make }) => block.root.insertBefore(make(), next));
    const numbered = [...block.root.querySelectorAll(".nk-chip")];
    numbered.forEach((one, i) => { if (one.dataset.position !== String(values.first + i)) one.dataset.position = values.first + i; });
    block.keys = plan.map(({ key }) => key);
    block.root.style.minHeight = "";
    block.drawn = true;
    if (!row.strip.querySelector('[tabindex="0"]')) row.strip.querySelector(".nk-chip")?.setAttribute("tabindex", "0");
  };

  const chip = (position, text, flag, hue, token, id, isPiece = false) => {
    const kinds = ["special", "unknown", "inserted", "differs", "cut"].filter(kind => flag & FLAG[kind]);
    const classes = kinds.filter(kind => kind !== "inserted").map(kind => `.is-${kind}`).join("");
    const name = [spoken(text) || words("nothing"), words("id_is", { id }), ...kinds.map(kind => words(`key_${kind}`))].join(", ");
    return h(`span.chip.hue-${hue}${isPiece ? ".piece" : ""}${classes}`,
      { role: "option", "aria-selected": "false", "aria-label": name, tabindex: "-1", "data-position": position, title: `${readable(token)} · ${id}` },
      h("span.face", {}, flag & FLAG.unknown ? h("span.sign", { "aria-hidden": "true" }, "?") : null, text === "" ? "∅" : visible(text)),
      h("span.id", {}, String(id)));
  };

  const drawTotals = (row, { totals, compared }) => {
    const { truncation, round_trip: trip } = totals;
    const fact = (key, ...value) => [h("span.faint", {}, words(key)), " ", h("b", {}, ...value)];
    const items = [
      [...fact("tokens", number(totals.tokens)), totals.inserted ? ` (${words("total_inserted", { count: number(totals.inserted) })})` : null],
      [...fact("characters", number(totals.graphemes)), totals.graphemes === totals.characters ? null : ` (${words("total_codes", { count: number(totals.characters) })})`],
      fact("bytes", number(totals.bytes)),
      fact("words", number(totals.words)),
      totals.words ? fact("per_word", totals.per_word.toFixed(2)) : null,
      totals.unknown ? h("span.warn", {}, "? ", words("total_unknown"), " ", h("b", {}, number(totals.unknown))) : null,
    ];
    const trips = trip.ok
      ? h("span.good", {}, "✓ ", words("trip_ok"))
      : h("span.warn", { title: words("trip_title") }, "✗ ", words("trip_differs", { at: number(trip.at), before: readable(trip.before) || "∅", after: readable(trip.after) || "∅" }));
    const limits = truncation.limit === null ? words("limit_none")
      : truncation.over ? h("span.warn", {}, "✂ ", words("limit_over", { limit: number(truncation.limit), over: number(truncation.over) }))
        : words("limit_fits", { limit: number(truncation.limit) });
    fill(row.totals, [...items, trips, limits].filter(Boolean).map(item => h("span.item", {}, item)));
    const scripts = h("details.fold", {}, h("summary", {}, words("scripts"), h("span.faint", {}, ` ${totals.scripts.map(one => one.name).slice(0, 4).join(", ")}`)),
      h("table", {}, h("thead", {}, h("tr", {}, ["script", "characters", "tokens", "tokens_a_character"].map(key => h("th", { scope: "col" }, words(key))))),
        h("tbody", {}, totals.scripts.map(one => h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, number(one.characters)), h("td", {}, number(one.tokens)),
          h("td", {}, (one.tokens / one.characters).toFixed(2)))))));
    const opened = [...row.more.querySelectorAll("details")].map(one => one.open);
    const pieces = [scripts];
    if (compared && row.index) {
      const table = h("div.scroll", { tabindex: "0", role: "region", "aria-label": words("differences") });
      const share = Math.round(compared.agreement * 1000) / 10;
      const fold = h("details.fold", { ontoggle: () => { if (fold.open) drawDifferences(row, table); } },
        h("summary", {}, words("compared", { name: rows[0].about.name, share: number(share), shared: number(compared.shared), all: number(compared.shared + compared.left_only + compared.right_only) })), table);
      pieces.push(fold);
    }
    pieces.forEach((fold, i) => { if (opened[i]) fold.open = true; });
    fill(row.more, totals.scripts.length ? pieces : []);
  };

  const drawDifferences = async (row, place) => {
    const result = await view.ask("differences", { of, row: row.index }, `differences ${row.index}`);
    if (!result) return;
    const { regions, count } = result.values;
    const cut = tokens => tokens.map(token => h("span.cell", {}, readable(token)));
    fill(place, regions.length
      ? h("table.differences", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("text")), h("th", { scope: "col" }, rows[0].about.name), h("th", { scope: "col" }, row.about.name))),
        h("tbody", {}, regions.map(([, , text, left, right]) => h("tr", {}, h("td.mono", {}, visible(text)), h("td", {}, cut(left)), h("td", {}, cut(right))))))
      : h("p.faint", {}, words("no_differences")),
    count > regions.length ? h("p.faint", {}, words("more", { count: number(count - regions.length) })) : null);
  };

  // Choosing tokens -----------------------------------------------------------------------------------------------

  const select = (row, positions) => {
    model.set("row", row.index);
    model.set("selected", positions);
    model.save_changes();
  };

  const unselect = () => {
    anchor = null;
    if ((model.get("selected") ?? []).length) model.set("selected", []);
  };

  const upTo = (row, position) => {
    const from = anchor?.row === row.index ? anchor.position : position;
    const step = from <= position ? 1 : -1;
    return Array.from({ length: Math.abs(position - from) + 1 }, (_, i) => from + i * step);
  };

  const onClick = (row, event) => {
    const item = event.target.closest(".nk-chip");
    if (!item) return;
    choose(row, item, event);
  };

  const choose = (row, item, { shiftKey, ctrlKey, metaKey }) => {
    const position = Number(item.dataset.position);
    const mine = row.index === model.get("row") ? model.get("selected") ?? [] : [];
    focusOn(row, item);
    if (shiftKey && anchor?.row === row.index) return select(row, upTo(row, position));
    anchor = { row: row.index, position };
    if (ctrlKey || metaKey) return select(row, mine.includes(position) ? mine.filter(one => one !== position) : [...mine, position]);
    return select(row, [position]);
  };

  const focusOn = (row, item) => {
    row.strip.querySelectorAll('[tabindex="0"]').forEach(one => one.setAttribute("tabindex", "-1"));
    item.setAttribute("tabindex", "0");
    item.focus({ preventScroll: false });
  };

  const onKey = (row, event) => {
    const items = [...row.strip.querySelectorAll(".nk-chip")];
    const at = items.indexOf(event.target.closest(".nk-chip"));
    if (at < 0) return;
    if (event.key === "Escape") { anchor = null; select(row, []); return; }
    if (event.key === " " || event.key === "Enter") { event.preventDefault(); choose(row, items[at], event); return; }
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -at, End: items.length - 1 - at, ArrowDown: below(items, at, 1), ArrowUp: below(items, at, -1) };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = items[Math.min(items.length - 1, Math.max(0, at + steps[event.key]))];
    choose(row, next, { shiftKey: event.shiftKey });
  };

  /** How many items on to the one nearest in the line below (or above). */
  const below = (items, at, way) => {
    const here = items[at].getBoundingClientRect(), middle = here.left + here.width / 2;
    let best = 0, distance = Infinity, line = null;
    for (let i = at + way; i >= 0 && i < items.length; i += way) {
      const place = items[i].getBoundingClientRect();
      if (way > 0 ? place.top <= here.bottom - 2 : place.bottom >= here.top + 2) continue;
      line ??= place.top;
      if (Math.abs(place.top - line) > place.height) break;
      const off = Math.abs(place.left + place.width / 2 - middle);
      if (off < distance) { distance = off; best = i - at; }
    }
    return best;
  };

  const paintSelection = () => {
    const chosenRow = model.get("row"), chosen = new Set(model.get("selected") ?? []);
    const spans = [];                       // what the chosen tokens cover: [second text?, start, end]
    const looked = rows[chosenRow];
    for (const position of chosen) {
      const entry = looked?.data && [...looked.data.values()].find(one => position >= one.first && position < one.first + one.values.tokens.length);
      if (!entry) continue;
      const i = position - entry.first, [, starts, ends, , , flags] = entry.columns;
      if (!(flags[i] & FLAG.inserted)) spans.push([flags[i] & FLAG.second, starts[i], ends[i]]);
    }
    for (const row of rows) {
      if (!row.data) continue;
      for (const item of row.strip.querySelectorAll(".nk-chip")) {
        const position = Number(item.dataset.position);
        const mine = row.index === chosenRow && chosen.has(position);
        let lit = false;
        if (!mine && spans.length) {
          const entry = [...row.data.values()].find(one => position >= one.first && position < one.first + one.values.tokens.length);
          const i = position - entry.first, [, starts, ends, , , flags] = entry.columns;
          lit = !(flags[i] & FLAG.inserted) && spans.some(([second, start, end]) => second === (flags[i] & FLAG.second) && starts[i] < end && start < ends[i]);
        }
        if ((item.getAttribute("aria-selected") === "true") !== mine) item.setAttribute("aria-selected", String(mine));
        item.classList.toggle("nk-lit", lit);
      }
    }
  };

  // The story of a token ------------------------------------------------------------------------------------------

  const drawStory = () => {
    parts.story.hidden = !told;
    parts.hint.hidden = Boolean(told);
    if (!told) { fill(parts.story); return; }
    const { detail, stages, exact } = told;
    const facts = [
      ["token", h("bdi.mono", {}, readable(detail.token))],
      ["id", number(detail.id)],
      ["covers", detail.text ? h("bdi.mono", {}, readable(detail.text)) : detail.span ? "∅" : words("put_in")],
      detail.whole ? ["part_of", h("bdi", {}, readable(detail.whole))] : null,
      detail.span ? ["characters", `${number(detail.span[0])}–${number(detail.span[1])}`] : null,
      detail.byte_span ? ["bytes", [`${number(detail.byte_span[0])}–${number(detail.byte_span[1])} `, h("span.mono.faint", {}, detail.bytes.length > 60 ? `${detail.bytes.slice(0, 60)}…` : detail.bytes)]] : null,
      ["rank", detail.rank === null ? words("rank_none") : words(`rank_${rows[told.row]?.about.type}`) === `rank_${rows[told.row]?.about.type}` ? number(detail.rank) : words(`rank_${rows[told.row].about.type}`, { rank: number(detail.rank) })],
      detail.score === null ? null : ["score", detail.score.toFixed(3)],
      ["kind", kindsOf(detail.flags).join(" · ") || words("kind_plain")],
    ].filter(Boolean);
    const passed = [words("passed_by"), null];
    const steps = [
      ["added", stages.added && stageAdded(stages)],
      ["normalizer", stages.is_added ? passed : stages.normalizer && stageNormalizer(stages)],
      ["pre_tokenizer", stages.is_added ? passed : stages.pre_tokenizer && stagePreTokenizer(stages)],
      ["model", stages.is_added ? passed : stages.model && stageModel(stages.model, exact)],
      ["post_processor", stages.post_processor && stagePost(stages)],
    ].filter(([, content]) => content);
    fill(parts.story,
      h("h3.title", {}, words("story_of", { number: number(detail.position) }), " ", h("bdi.mono", {}, readable(detail.token)), h("span.faint", {}, rows.length > 1 ? ` ${rows[told.row]?.about.name ?? ""}` : "")),
      h("div.columns", {},
        h("dl.facts", {}, facts.map(([key, value]) => h("div", {}, h("dt", {}, words(key)), h("dd", {}, value)))),
        h("ol.stages", {}, steps.map(([key, [summary, content]], i) => {
          const fold = h("details", { open: !folded.has(key) && content !== null, ontoggle: () => { if (content === null) return; if (fold.open) folded.delete(key); else folded.add(key); } },
            h("summary", {}, h("span.step", {}, words(`stage_${key}`)), " ", h("span.faint", {}, summary)), content);
          return h("li", {}, h("span.number", { "aria-hidden": "true" }, String(i + 1)), content === null ? h("div.flat", {}, h("span.step", {}, words(`stage_${key}`)), " ", h("span.faint", {}, summary)) : fold);
        }))),
      stages.lost ? h("p.warn", {}, words("story_lost")) : null);
  };

  const kindsOf = flags => ["special", "unknown", "added", "inserted", "part", "cut"].filter(kind => flags & FLAG[kind]).map(kind => words(`key_${kind}`));

  const stageAdded = ({ added, is_added: mine }) => [
    mine ? words("added_matched") : words("added_none", { count: number(added.count), known: number(added.known) }),
    mine ? h("p", {}, words("added_rule"), " ", h("bdi.mono", {}, readable(added.content ?? added.text)), " ",
      ["single_word", "lstrip", "rstrip", "normalized", "special"].filter(option => added[option]).map(option => h("span.tag", {}, option))) : null,
  ];

  const stageNormalizer = ({ normalizer }) => {
    const { parts: names, chunks } = normalizer;
    if (!names.length) return [words("normalizer_none"), null];
    const changed = (chunks ?? []).filter(([before, after]) => before !== after).length;
    return [
      chunks ? changed ? words("normalizer_changed", { count: number(changed) }) : words("normalizer_same") : "",
      h("div", {},
        h("p", {}, names.map(([name, did]) => h(`span.tag${did ? ".did" : ""}`, { title: words(did ? "part_did" : "part_idle") }, name, did ? " ✓" : ""))),
        chunks?.length ? h("p.chunks.mono", {}, chunks.map(([before, after]) => before === after
          ? h("span", {}, visible(before))
          : h("span.changed", {}, h("del", {}, before ? visible(before) : "∅"), h("span.arrow", { "aria-hidden": "true" }, "→"), h("ins", {}, after ? visible(after) : "∅")))) : null),
    ];
  };

  const stagePreTokenizer = ({ pre_tokenizer: stage }) => {
    const summary = stage.parts.length ? words("pieces", { count: number(stage.count), parts: stage.parts.join(" → ") }) : words("pre_tokenizer_none");
    return [summary, stage.around ? h("p.around", {},
      stage.before ? h("span.faint", {}, "… ") : null,
      stage.around.map(([text, mine, source]) => h(`span.piece-of-text.mono${mine ? ".mine" : ""}`, {}, h("bdi", {}, visible(text)), source === undefined ? null : h("bdi.source.faint", {}, visible(source)))),
      stage.after ? h("span.faint", {}, " …") : null) : null];
  };

  const stageModel = (model_, exact) => {
    const content = { BPE: storyOfBPE, WordPiece: storyOfWordPiece, Unigram: storyOfUnigram }[model_.type]?.(model_)
      ?? h("p", {}, words(model_.known?.[model_.at] ? "lookup_found" : "lookup_missing"));
    return [
      `${model_.type} · ${words("model_made", { count: number(model_.made) })}`,
      h("div", {}, content,
        h("p.result", {}, words("result"), model_.first ? " … " : " ", model_.tokens.map((token, i) => h(`bdi.piece-of-text.mono${i === model_.at ? ".mine" : ""}`, {}, readable(token))), model_.first + model_.tokens.length < model_.made ? " …" : null),
        exact ? null : h("p.warn", {}, words("not_exact"))),
    ];
  };

  const symbolsLine = (symbols, fresh = -1) => h("span.symbols", {}, symbols.map((symbol, i) => h(`bdi.symbol.mono${i === fresh ? ".fresh" : ""}`, {}, readable(symbol))));

  const storyOfBPE = stage => {
    if (stage.whole) return h("p", {}, words("bpe_whole"));
    if (!stage.replayable)
      return h("div", {}, h("p.faint", {}, words("bpe_long", { count: number(stage.count) })),
        h("ol.merges", {}, stage.merges.map(([rank, left, right, result]) => h("li", {}, h("span.rank", {}, `#${number(rank)}`), h("bdi.mono", {}, `${readable(left)} + ${readable(right)}`), h("span.arrow", {}, "→"), h("bdi.symbol.mono.fresh", {}, readable(result))))));
    const symbols = [...stage.symbols];
    const lines = [h("li", {}, h("span.rank.faint", {}, words("bpe_start")), symbolsLine(symbols))];
    for (const [rank, , , result, at] of stage.merges) {
      symbols.splice(at, 2, result);
      lines.push(h("li", {}, h("span.rank", { title: words("rank_BPE", { rank: number(rank) }) }, `#${number(rank)}`), symbolsLine(symbols, at)));
    }
    if (stage.merges.length < stage.count) lines.push(h("li", {}, "…"));
    return h("ol.merges", { "aria-label": words("bpe_merges") }, lines, stage.count ? null : h("li.faint", {}, words("bpe_none")));
  };

  const storyOfWordPiece = stage => stage.too_long
    ? h("p", {}, words("wordpiece_long", { longest: stage.longest }))
    : h("ol.merges", {}, stage.matches.map(({ 0: start, 1: tried, 2: token }) => h("li", {},
      h("span.rank.faint", {}, words("from_place", { place: start })),
      h("span.symbols", {}, tried.slice(0, 12).map(one => h("del.mono", {}, readable(one))), tried.length > 12 ? h("span.faint", {}, words("more", { count: tried.length - 12 })) : null,
        token === null ? h("span.warn", {}, words("nothing_fits")) : h("bdi.symbol.mono.fresh", {}, readable(token))))));

  const storyOfUnigram = stage => {
    const short = stage.piece && stage.edges.length;
    const characters = [...stage.piece];
    const score = value => value.toFixed(2);
    const lattice = short ? h("ul.lattice", { "aria-label": words("lattice"), style: { "--columns": characters.length } },
      characters.map((character, i) => h("li.letter.mono", { style: { "grid-column": `${i + 1}` }, "aria-hidden": "true" }, readable(character))),
      stage.edges.map(([start, end, token, value, known, best]) => h(`li.edge.mono${best ? ".best" : ""}`,
        { style: { "grid-column": `${start + 1} / ${end + 1}` }, title: `${readable(token)} ${score(value)}${best ? ` · ${words("on_best_path")}` : ""}` },
        h("bdi", {}, readable(token)), h("span.value", {}, ` ${score(value)}${known ? "" : " ?"}`)))) : null;
    const paths = (stage.rivals.length ? stage.rivals : [[stage.best.map(([token]) => token), stage.score]]);
    return h("div", {},
      lattice ? h("div.scroll", { tabindex: "0", role: "region", "aria-label": words("lattice") }, lattice) : h("p.faint", {}, words("lattice_long", { count: number(stage.count) })),
      h("table.paths", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("path")), h("th", { scope: "col" }, words("score")))),
        h("tbody", {}, paths.map(([tokens, value], i) => h(`tr${i ? "" : ".best"}`, {}, h("td", {}, i ? null : "★ ", symbolsLine(tokens)), h("td", {}, value.toFixed(3)))))));
  };

  const stagePost = ({ post_processor: stage, inserted: mine }) => [
    stage.count ? words("post_inserted", { count: number(stage.count), parts: stage.parts.join(" → ") }) : stage.parts.length ? words("post_nothing", { parts: stage.parts.join(" → ") }) : words("post_none"),
    stage.count ? h("p", {}, mine ? `${words("post_mine")} ` : null, stage.inserted.map(([position, token]) => h(`bdi.piece-of-text.mono${position === told.position ? ".mine" : ""}`, {}, readable(token))), stage.count > stage.inserted.length ? " …" : null) : null,
  ];

  // Pictures ------------------------------------------------------------------------------------------------------

  const exportPicture = async kind => {
    const picture = screenPicture([...rows.map(row => row.root), parts.story].filter(one => !one.hidden), view.root);
    if (kind === "svg") return download("tokens.svg", "image/svg+xml", picture.svg());
    const blob = await picture.png();
    return download("tokens.png", "image/png", blob);
  };

  // Life ----------------------------------------------------------------------------------------------------------

  let painting = false;
  const onSelected = () => {          // `row` and `selected` change one after the other: look once both have
    if (painting) return;
    painting = true;
    queueMicrotask(() => { painting = false; paintSelection(); askStory(); });
  };
  const rebuild = () => { told = null; build(); ask(); };
  view.on("change:text", onText);
  view.on("change:text_pair", onText);
  view.on("change:selected", onSelected);
  view.on("change:row", onSelected);
  view.on("change:show_ids", onIds);
  view.on("change:_generation", rebuild);
  view.on("change:_strings", rebuild);
  view.later(() => { rows.forEach(row => row.observer.disconnect()); save.stop(); askSoon.stop(); });
  build();
  parts.story.hidden = true;
  ask();
}
