// AttentionView: the atlas of all heads, and one of them as lines, as a matrix, or as numbers. One state, kept in the traits.

import { debounced, download, fill, h, roving, startView } from "../shared/common.js";
import { screenPicture, takeAway } from "../shared/pictures.js";
import { atlasView, bytesOf, floatsOf } from "./atlas.js";
import { heatMap, legend } from "./heatmap.js";
import { linesView, strongest } from "./lines.js";
import { lensView } from "./logit_lens.js";
import { SCORE_NAMES, pictureOf, predictionTable, scoreTable, textForm } from "./sidebar.js";

const AV_TRAITS = ["text", "text_pair", "compare_text", "shown", "layer", "head", "heads", "combine", "view", "hide_special", "renormalise",
  "merge_words", "direction", "threshold", "rollout", "score", "selected", "ablated", "prediction", "_about", "_problem"];
const AV_CACHE_BYTES = 64 * 2 ** 20;

export default { render({ model, el }) {
  let end = attentionView(model, el);
  const again = () => { end(); end = attentionView(model, el); };   // most words are written once
  model.on("change:_language", again);
  return () => { model.off("change:_language", again); end(); };
} };

/** Numbers in words: "0–11", or "0, 2, 5". */
function rangeOf(numbers) {
  const last = numbers[numbers.length - 1];
  return numbers.length > 2 && last - numbers[0] === numbers.length - 1 ? `${numbers[0]}–${last}` : numbers.join(", ");
}

function attentionView(model, el) {
  const view = startView(model, el, "attention_view");
  const { words } = view;
  const newest = new Map();             // slot -> the question that is on its way
  const kept = new Map();               // question -> answer, as long as the version of what was read is the same
  let keptBytes = 0, version = null, waitingLong = null, predictedFor = null, ablating = false, ended = false, turns = 0;
  let lensFirst = 0, look = null, names = null, flow = null, flowNames = null, atlas = null, scores = null;

  const trait = name => model.get(name);
  const about = () => trait("_about") ?? {};
  const put = values => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    schedule();
    queueMicrotask(() => model.save_changes());   // after drawing has asked: what is looked at comes before what is remembered
  };

  // Questions, each asked once --------------------------------------------------------------------------------------

  const keyOf = (kind, values) => JSON.stringify([kind, Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1))]);
  const keep = (key, answer) => {
    kept.set(key, answer);
    keptBytes += answer.buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    for (const [old, dropped] of kept) {
      if (keptBytes <= AV_CACHE_BYTES || old === key) break;
      kept.delete(old);
      keptBytes -= dropped.buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    }
    return answer;
  };
  const get = (kind, values, slot = kind) => {
    const key = keyOf(kind, values);
    if (kept.has(key)) return kept.get(key);     // at once, without even a promise: a known head is painted in this frame
    if (newest.get(slot)?.key === key) return newest.get(slot).answer;
    const answer = view.ask(kind, values, slot).then(one => {
      if (newest.get(slot)?.key === key) newest.delete(slot);
      if (!one || values.version !== about().version) return null;
      return kept.get(key) ?? keep(key, one);
    });
    newest.set(slot, { key, answer });
    return answer;
  };
  const startOver = () => {
    kept.clear();
    keptBytes = 0;
    version = about().version;
    look = flow = atlas = scores = null;
    lensFirst = 0;
    for (const { ask, with: values, answer, buffers } of (trait("_first") ?? {}).answers ?? [])
      keep(keyOf(ask, values), { values: answer, buffers });
  };
  const question = (kind, changes = {}) => ({
    version: about().version,
    hide: trait("hide_special"),
    renormalise: trait("hide_special") && trait("renormalise"),
    direction: trait("direction"),
    which: trait("shown"),
    ...(kind === "atlas" ? {} : {
      layer: trait("layer"),
      heads: trait("heads"),
      combine: trait("heads").length > 1 ? trait("combine") : "mean",
      merge: trait("merge_words"),
      what: "attention",
    }),
    ...changes,
  });

  // Tokens --------------------------------------------------------------------------------------------------------------

  const unpack = answer => {
    const { size: [R, C], rows, columns, scale, signed } = answer.values;
    const groups = list => list.map(group => (Array.isArray(group) ? group : [group]));
    const left = groups(rows);
    answer.look ??= { R, C, rows: left, columns: columns ? groups(columns) : left, scale, signed, bytes: bytesOf(answer.buffers[0]), answer };
    return answer.look;
  };
  const namesOf = one => {
    const { tokens, to_tokens: to, other_tokens: others } = about();
    const name = (side, group) => {
      if (group.length > 1) return side.word_labels[side.words[group[0]]];
      const own = side.labels[group[0]], other = others?.[group[0]];
      if (!others || other === own || trait("shown") === "this") return own;
      return trait("shown") === "other" ? other : `${own} / ${other}`;
    };
    const rows = one.rows.map(group => name(tokens, group)), columns = one.columns === one.rows && !to ? rows : one.columns.map(group => name(to ?? tokens, group));
    return { row: i => rows[i], column: j => columns[j], key: `${about().version} ${trait("shown")}` };
  };
  const litOf = groups => {
    const chosen = new Set(trait("selected"));
    return groups.flatMap((group, i) => (group.some(token => chosen.has(token)) ? [i] : []));
  };
  const valueOf = (one, k) => (one.signed ? (one.bytes[k] - 128) / 127 : one.bytes[k] / 255) * one.scale;
  const number = value => (Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential(3) : value.toFixed(6)).replace("-", "−");
  const toggle = groups => {
    const chosen = new Set(trait("selected")), on = groups.every(token => chosen.has(token));
    for (const token of groups) { if (on) chosen.delete(token); else chosen.add(token); }
    put({ selected: [...chosen].sort((a, b) => a - b) });
  };

  // The parts -----------------------------------------------------------------------------------------------------------

  const show = (layer, head, add = false) => {
    if (ablating) return ablate([[layer, head]]);
    let heads = [head];
    if (add && layer === trait("layer")) {
      const now = trait("heads");
      heads = now.includes(head) ? now.filter(one => one !== head) : [...now, head].sort((a, b) => a - b);
      if (!heads.length) heads = [head];
    }
    return put({ layer, heads, head: heads[0] });
  };
  const ablate = pairs => {
    const off = new Map(trait("ablated").map(pair => [String(pair), pair])), all = pairs.every(pair => off.has(String(pair)));
    for (const pair of pairs) { if (all) off.delete(String(pair)); else off.set(String(pair), pair); }
    put({ ablated: [...off.values()].sort(([a, b], [c, d]) => a - c || b - d) });
  };
  /** Ask for the prediction that belongs to the heads that are off; once, even if it fails. */
  const predict = () => {
    const said = trait("prediction") ?? {}, pairs = trait("ablated"), values = { version: about().version, ablated: pairs };
    if (!about().can_ablate || model.offline || !(ablating || pairs.length || said.rows)) return;
    if ((said.rows && String(said.heads) === String(pairs)) || predictedFor === keyOf("predict", values)) return;
    predictedFor = keyOf("predict", values);
    view.ask("predict", values);             // it comes as the trait
  };

  const form = textForm(view, values => view.ask("read", values));
  const notices = h("div.av-notices", { role: "status" });
  const problem = h("div.error", { role: "alert", hidden: true });
  const empty = h("p.av-empty.faint");
  const map = atlasView(view, { onShow: show, onLayer: layer => ablate(Array.from({ length: about().heads[about().layers.indexOf(layer)] }, (_, head) => [layer, head])) });
  const prediction = predictionTable(view), table = scoreTable(view, show);
  const lens = lensView(view, first => { lensFirst = first; schedule(); });
  const lines = linesView(view, {
    onPoint: (side, i) => pointAt(side, i),
    onPick: (side, i) => { const groups = (side === "left" ? look.rows : look.columns)[i]; if (side === "left" || !about().to_tokens) toggle(groups); },
  });
  const matrix = heatMap(view, { onCell: (i, j) => readCell(look, names, i, j), onPick: i => toggle(look.rows[i]) });
  const beside = heatMap(view, { onCell: (i, j) => readCell(flow, flowNames, i, j), onPick: i => toggle(flow.rows[i]) });

  const choice = (name, change) => h("select", { "aria-label": words(name), onchange: event => change(event.target.value) });
  const labelled = (name, control) => h("label.av-labelled", {}, h("span", {}, words(name)), control);
  const check = name => {
    const input = h("input", { type: "checkbox", onchange: () => put({ [name]: input.checked }) });
    return { input, element: h("label.av-check", {}, input, h("span", {}, words(name))) };
  };
  const picks = {
    score: choice("colour_by", value => put({ score: value })),
    layer: choice("layer", value => {
      const layer = Number(value), most = about().heads[about().layers.indexOf(layer)];
      const heads = trait("heads").filter(head => head < most);
      put({ layer, heads: heads.length ? heads : [0], head: heads[0] ?? 0 });
    }),
    head: choice("head", value => {
      if (value === "several") return;
      const most = about().heads[about().layers.indexOf(trait("layer"))];
      const heads = value === "all" ? Array.from({ length: most }, (_, i) => i) : [Number(value)];
      put({ heads, head: heads[0] });
    }),
    combine: choice("combine", value => put({ combine: value })),
    direction: choice("direction", value => put({ direction: value })),
    shown: choice("compare", value => put({ shown: value })),
  };
  picks.combine.setAttribute("aria-label", words("all_heads"));
  const checks = Object.fromEntries(["hide_special", "renormalise", "merge_words", "rollout"].map(name => [name, check(name)]));
  const settle = debounced(60, value => put({ threshold: value }));
  const threshold = h("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": words("threshold"),
    oninput: event => { if (look) { const value = Number(event.target.value) / 100 * look.scale; thresholdSaid(value); settle(Number(value.toPrecision(3))); } } });
  const thresholdValue = h("output.av-threshold");
  const thresholdSaid = value => { thresholdValue.textContent = value ? shortWeight(value) : "0"; };
  const shortWeight = value => (value < 0.001 ? value.toExponential(1) : value.toFixed(3));
  const combineRow = labelled("head", picks.head);
  const comparing = labelled("compare", picks.shown);
  const directing = labelled("direction", picks.direction);

  const tabs = {}, tabList = h("div.av-tabs", { role: "tablist", "aria-label": words("views") });
  const stage = h("div.av-stage", { role: "tabpanel", id: `${view.id ?? Math.random().toString(36).slice(2)}-stage` });
  for (const name of ["heads", "matrix", "scores", "lens"]) {
    tabs[name] = h("button", { type: "button", role: "tab", "data-view": name, "aria-controls": stage.id, id: `${stage.id}-${name}`, onclick: () => put({ view: name }) }, words(name));
    tabList.append(tabs[name]);
  }
  roving(tabList, "[role=tab]", { onMove: tab => put({ view: tab.dataset.view }) });

  const said = h("p.av-said-line"), readout = h("p.av-readout", { role: "status", "aria-live": "polite" });
  const scale = h("span.av-scale-host"), counted = h("span.faint");
  const selection = h("span.row.av-selection", { hidden: true });
  const zoomRow = h("span.av-zoom", {},
    ...[["zoom_out", "−", () => matrix.zoomBy(1 / 1.5)], ["zoom_fit", "⤢", () => matrix.fit()], ["zoom_in", "+", () => matrix.zoomBy(1.5)]]
      .map(([name, sign, run]) => h("button", { type: "button", "aria-label": words(name), title: `${words(name)}. ${words("zoom_hint")}`, onclick: run }, sign)));
  const pairs = h("details.av-pairs", { ontoggle: () => drawPairs() }, h("summary"), h("div.scroll", { tabindex: "0", role: "region" }));
  const rolloutFigure = h("figure.av-rollout", { hidden: true }, h("figcaption"), beside.element, h("p.faint", {}, words("rollout_note")));
  const matrixFigure = h("figure.av-raw", {}, h("figcaption"), matrix.element);
  const drawing = h("div.av-drawing");
  const exports = h("span.av-export", {}, ...["png", "svg"].map(type =>
    h("button", { type: "button", "aria-label": `${words("export")} ${type.toUpperCase()}`, onclick: () => takePicture(type) }, type.toUpperCase())));

  const ablateButton = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    ablating = !ablating;
    schedule();
  } }, words("ablate"));
  const allOn = h("button", { type: "button", onclick: () => put({ ablated: [] }) }, words("all_on"));
  const ablation = h("div.av-ablation"), cannot = h("p.faint", {}, words("ablate_cannot"));
  const atlasHint = h("p.faint.av-hint");
  const side = h("div.av-side", {},
    h("div.row.av-heading", {}, h("h3", {}, words("atlas")), labelled("colour_by", picks.score)),
    map.element, map.range, atlasHint, h("div.row", {}, ablateButton), cannot, ablation);
  const headRow = h("div.row.av-bar", {}, labelled("layer", picks.layer), combineRow, picks.combine, comparing, directing);
  const lookRow = h("div.row.av-bar", {}, checks.hide_special.element, checks.renormalise.element, checks.merge_words.element, checks.rollout.element,
    h("label.av-labelled", {}, h("span", {}, words("threshold")), threshold, thresholdValue));
  const detail = h("div.av-detail", {},
    headRow, lookRow, h("div.row.av-tabrow", {}, tabList, h("span.av-space"), zoomRow, exports),
    said, stage);
  stage.append(drawing);
  const foot = h("div.row.av-foot", {}, scale, counted, selection);
  detail.append(foot, readout, pairs);
  const main = h("div.av-main", {}, side, detail);
  fill(view.body, form.element, notices, problem, empty, main);

  // Reading exact values --------------------------------------------------------------------------------------------------

  const row = async (one, rows, columns) => {
    if (model.offline) return null;
    const base = one === flow ? flowQuestion() : question("look");
    const answer = await get("row", { ...base, rows, columns }, one === flow ? "row.flow" : "row");
    return answer && { to: floatsOf(answer.buffers[0]), from: floatsOf(answer.buffers[1]) };
  };
  const readCell = async (one, theirs, i, j) => {
    if (!one) return;
    const place = h("span", {}, h("b", {}, theirs.row(i)), " → ", h("b", {}, theirs.column(j)), ": ");
    const step = one.scale / (one.signed ? 254 : 510), turn = ++readCell.turn;
    const rough = words("about", { value: number(valueOf(one, i * one.C + j)), step: step.toPrecision(1) });
    fill(readout, place, rough);
    if (model.offline) return;
    await new Promise(done => setTimeout(done, 25));     // no question for cells that the pointer only crosses
    if (turn !== readCell.turn) return;
    const exact = await row(one, [i], []);
    if (exact && turn === readCell.turn)
      fill(readout, place, h("span.mono", {}, number(exact.to[j])), ` ${words("exact")}${about().half ? ` (${words("half")})` : ""}`);
  };
  readCell.turn = 0;

  const approximate = (rows, columns) => {
    const right = new Float64Array(look.C), left = new Float64Array(look.R);
    for (const i of rows) for (let j = 0; j < look.C; j++) right[j] += valueOf(look, i * look.C + j);
    for (const j of columns) for (let i = 0; i < look.R; i++) left[i] += valueOf(look, i * look.C + j);
    return { right: rows.length ? [...right] : null, left: columns.length ? [...left] : null };
  };
  const strongestThree = (values, name) => [...values].map((value, i) => [value, i]).sort(([a], [b]) => Math.abs(b) - Math.abs(a)).slice(0, 3)
    .map(([value, i]) => h("span.av-top", {}, h("b", {}, name(i)), " ", h("span.mono", {}, number(value))));

  /** Shade the tokens by what the pointed token, or else the selected ones, give and get. */
  const pointAt = async (side_, i) => {
    if (!look) return;
    const turn = ++readCell.turn, lit = litOf(look.rows);
    const rows = i !== null && side_ === "left" ? [i] : i === null ? lit : [], columns = i !== null && side_ === "right" ? [i] : [];
    if (!rows.length && !columns.length) { lines.values(null); fill(readout, words("readout_hint")); return; }
    const rough = approximate(rows, columns);
    lines.values(rough);
    const say = (values, exact) => {
      const head = i === null ? words("sum_from", { count: lit.length })
        : side_ === "left" ? `${words("from")} ${names.row(i)} →` : `→ ${words("to")} ${names.column(i)}`;
      fill(readout, h("span", {}, head), " ", strongestThree(values, rows.length ? names.column : names.row), exact ? ` ${words("exact")}` : "");
    };
    say(rough.right ?? rough.left, false);
    if (model.offline) return;
    await new Promise(done => setTimeout(done, 25));
    if (turn !== readCell.turn) return;
    const exact = await row(look, rows, columns);
    if (!exact || turn !== readCell.turn || ended) return;
    lines.values({ right: rows.length ? [...exact.to] : null, left: columns.length ? [...exact.from] : null });
    say(rows.length ? exact.to : exact.from, true);
    drawPairs(rows.length && i === null ? exact.to : null);
  };

  const drawPairs = (sums = null) => {
    const box = pairs.lastChild, caption = sums ? words("table_sum") : words("as_table");
    pairs.firstChild.textContent = caption;
    box.setAttribute("aria-label", caption);
    if (!pairs.open || !look) return;
    if (sums) {
      const order = [...sums.keys()].sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a])).slice(0, 50);
      fill(box, h("table", {}, h("thead", {}, h("tr", {}, [words("to"), words("weight")].map(one => h("th", { scope: "col" }, one)))),
        h("tbody", {}, order.map(j => h("tr", {}, h("th", { scope: "row" }, names.column(j)), h("td", {}, number(sums[j])))))));
      return;
    }
    const { places } = strongest(look, 0, null, 400), step = (look.scale / (look.signed ? 254 : 510)).toPrecision(1);
    fill(box, h("table", {}, h("caption", {}, words("pairs_caption", { step })),
      h("thead", {}, h("tr", {}, [words("from"), words("to"), words("weight")].map(one => h("th", { scope: "col" }, one)))),
      h("tbody", {}, places.slice(-50).reverse().map(k => h("tr", {}, h("td", {}, names.row(Math.floor(k / look.C))), h("td", {}, names.column(k % look.C)),
        h("td", {}, number(valueOf(look, k))))))));
  };

  // Drawing ---------------------------------------------------------------------------------------------------------------

  const options = (select, entries, value) => {
    const key = JSON.stringify(entries);
    if (select.dataset.key !== key) { fill(select, entries.map(([v, name]) => h("option", { value: v }, name))); select.dataset.key = key; }
    select.value = String(value);
  };
  const titleOf = () => words("title", { layer: trait("layer"), heads: trait("heads").join(", ") });
  const sentence = () => [
    titleOf() + (trait("heads").length > 1 ? ` (${words(trait("combine"))})` : ""),
    trait("hide_special") ? words(trait("renormalise") ? "said_renormalised" : "said_hidden") : null,
    trait("merge_words") ? words("said_merged") : null,
    trait("direction") !== "all" ? words(trait("direction")) : null,
    trait("heads").length > 1 && trait("combine") === "max" ? words("said_max") : null,
    trait("shown") === "difference" ? words("what_difference") : trait("shown") === "other" ? words("other") : null,
  ].filter(Boolean).join(" · ");
  const flowQuestion = () => question("look", { what: "rollout", heads: [0], combine: "mean" });

  const controls = () => {
    const now = about();
    form.element.hidden = !now.reads_text || !!model.offline;
    form.draw({ text: trait("text"), text_pair: trait("text_pair"), compare_text: trait("compare_text") }, !now.compares_models);
    const wrong = trait("_problem") ?? {};
    problem.hidden = !wrong.what;
    fill(problem, wrong.what ? h("p.what", {}, wrong.what) : null, wrong.next_step ? h("p.next", {}, "→ ", wrong.next_step) : null);
    const offline = trait("_offline") ?? {};
    fill(notices, (now.notices ?? []).map(([key, values]) => h("p.av-notice", {}, words(key, values))),
      model.offline ? h("p.av-notice", {}, words("offline_note", { layer: offline.layer, heads: rangeOf(offline.heads ?? []) })) : null);
    empty.hidden = !!now.ready;
    empty.textContent = words(now.reads_text ? "empty_text" : "empty");
    main.hidden = !now.ready;
    if (!now.ready) return false;
    const at = now.layers.indexOf(trait("layer")), most = now.heads[at] ?? 1, heads = trait("heads");
    options(picks.layer, now.layers.map(layer => [layer, String(layer)]), trait("layer"));
    options(picks.head, [...Array.from({ length: most }, (_, i) => [i, String(i)]), ["all", words("all_heads")],
      ...(heads.length > 1 && heads.length < most ? [["several", heads.join(", ")]] : [])],
    heads.length === 1 ? heads[0] : heads.length === most ? "all" : "several");
    options(picks.combine, [["mean", words("mean_of")], ["max", words("max_of")]], trait("combine"));
    picks.combine.hidden = heads.length < 2;
    options(picks.score, [["", words("thumbnails")], ...SCORE_NAMES.map(name => [name, words(`score_${name}`)])], trait("score"));
    options(picks.direction, ["all", "a_to_b", "b_to_a"].map(name => [name, words(name)]), trait("direction"));
    directing.hidden = !now.has_pair;
    options(picks.shown, [["this", words(now.compares_models ? "this_model" : "this")], ["other", words(now.compares_models ? "other_model" : "other")],
      ["difference", words("difference")]], trait("shown"));
    comparing.hidden = !now.compares;
    for (const [name, { input }] of Object.entries(checks)) input.checked = trait(name);
    checks.renormalise.input.disabled = !trait("hide_special");
    checks.hide_special.element.hidden = checks.renormalise.element.hidden = !now.tokens.special.length;
    checks.merge_words.element.hidden = new Set(now.tokens.words).size === now.tokens.words.length;
    checks.rollout.element.hidden = !now.has_rollout;
    const mode = trait("view");
    for (const [name, tab] of Object.entries(tabs)) {
      tab.setAttribute("aria-selected", String(name === mode));
      tab.setAttribute("tabindex", name === mode ? "0" : "-1");
    }
    stage.setAttribute("aria-labelledby", tabs[mode].id);
    zoomRow.hidden = mode !== "matrix";
    const isTable = mode === "scores" || mode === "lens";
    foot.hidden = readout.hidden = pairs.hidden = isTable;
    for (const one of [headRow, lookRow, side]) one.hidden = mode === "lens";   // heads are not what a lens shows
    main.classList.toggle("nk-av-alone", mode === "lens");
    matrixFigure.hidden = mode !== "matrix";
    lines.element.hidden = mode !== "heads";
    table.element.hidden = mode !== "scores";
    lens.element.hidden = mode !== "lens";
    lens.refuse(now.can_lens ? "" : words("lens_cannot", { name: now.name || words("lens_bare") }));
    if (!drawing.contains(lines.element)) fill(drawing, lines.element, matrixFigure, table.element, lens.element, rolloutFigure);
    rolloutFigure.hidden = isTable || !trait("rollout") || !now.has_rollout;
    said.textContent = isTable ? "" : sentence();
    said.hidden = isTable;
    ablateButton.hidden = !now.can_ablate || !!model.offline;
    ablateButton.setAttribute("aria-pressed", String(ablating));
    atlasHint.textContent = [words(ablating ? "atlas_hint_off" : "atlas_hint"), trait("score") ? words(`why_${trait("score")}`)
      : words(trait("shown") === "difference" ? "atlas_shared" : "atlas_own")].join(" ");
    cannot.hidden = now.can_ablate || !now.reads_text || !!model.offline;
    const off = trait("ablated");
    ablation.hidden = !now.can_ablate || !(ablating || off.length || trait("prediction")?.rows);
    fill(ablation, h("div.row", {}, h("span", {}, off.length
      ? words("ablate_some", { count: off.length, heads: off.slice(0, 12).map(pair => pair.join(".")).join(", ") + (off.length > 12 ? " …" : "") })
      : words("ablate_none")), off.length && !model.offline ? allOn : null),
    prediction.element, h("p.faint", {}, words("ablate_note")));
    return true;
  };

  const drawAtlas = (answer, numbers) => {
    atlas = answer ?? atlas;
    const name = trait("score"), starts = [];
    let sum = 0;
    for (const count of about().heads) { starts.push(sum); sum += count; }
    const at = SCORE_NAMES.indexOf(name);
    const score = name && numbers && { name: words(`score_${name}`), of: (layer, head) => numbers[(starts[about().layers.indexOf(layer)] + head) * SCORE_NAMES.length + at] };
    map.draw({ about: about(), atlas, score, state: { layer: trait("layer"), heads: trait("heads"), ablated: trait("ablated"), ablating } }, words("atlas_label"));
  };
  const drawScores = numbers => {
    scores = numbers;
    const rows = [];
    about().layers.forEach((layer, at) => {
      for (let head = 0; head < about().heads[at]; head++)
        rows.push({ layer, head, scores: numbers.subarray(rows.length * SCORE_NAMES.length, (rows.length + 1) * SCORE_NAMES.length) });
    });
    table.draw(rows, { layer: trait("layer"), heads: trait("heads") });
  };

  const drawLook = answer => {
    if (answer) look = unpack(answer);
    if (!look) return;
    stage.dataset.shown = `${trait("layer")}.${trait("heads").join(",")}`;
    names = namesOf(look);
    const lit = litOf(look.rows), least = Math.min(1, trait("threshold") / look.scale), mode = trait("view");
    if (document.activeElement !== threshold) threshold.value = String(Math.round(least * 100));
    thresholdSaid(trait("threshold"));
    if (mode === "heads") {
      const web = lines.draw(look, names, { least, lit, litRight: about().to_tokens ? [] : litOf(look.columns), values: null },
        { left: words("left_label"), right: words("right_label") });
      counted.textContent = web.all > web.places.length ? words("lines_cut", { count: web.places.length, all: web.all }) : words("lines_said", { count: web.all });
    } else if (mode === "matrix") {
      matrix.draw(look, names, { least, lit }, words("matrix_label", { rows: look.R, columns: look.C }));
      matrixFigure.firstChild.textContent = trait("rollout") && about().has_rollout ? words("raw") : "";
      counted.textContent = words("tokens_said", { rows: look.R, columns: look.C });
    }
    if (mode === "heads") fill(scale, words("strongest", { value: shortWeight(look.scale) }));
    else fill(scale, legend(look.signed ? `−${shortWeight(look.scale)}` : "0", shortWeight(look.scale), look.signed));
    selection.hidden = !trait("selected").length;
    fill(selection, h("span", {}, words("selected", { count: lit.length })), h("button", { type: "button", onclick: () => put({ selected: [] }) }, words("clear")));
    if (mode === "heads") pointAt(lines.pointed?.[0] ?? "left", lines.pointed?.[1] ?? null);
    else if (!readout.hasChildNodes()) fill(readout, words("readout_hint"));
    drawPairs();
  };
  const drawFlow = answer => {
    flow = unpack(answer);
    flowNames = namesOf(flow);
    const caption = words("rollout_title", { first: about().layers[0], layer: trait("layer") });
    fill(rolloutFigure.firstChild, caption, h("span.faint", {}, ` · ${words(flow.signed ? "scale_signed" : "scale", { scale: shortWeight(flow.scale) })}`));
    beside.draw(flow, flowNames, { least: 0, lit: litOf(flow.rows) }, `${caption}. ${words("matrix_label", { rows: flow.R, columns: flow.C })}`);
  };

  /** Run `then` with an answer: at once if it is known, else when it comes and nothing newer was asked. */
  const when = (answer, turn, then) => {
    if (answer instanceof Promise) answer.then(one => { if (one && turn === turns && !ended) then(one); });
    else if (answer) then(answer);
  };
  const draw = () => {
    if (ended) return;
    if (about().version !== version) startOver();
    const turn = ++turns;
    if (!controls()) return;
    drawAtlas(null, scores);
    if (trait("view") === "lens") {
      if (about().can_lens) when(get("lens", { version: about().version, first: lensFirst }), turn, answer => lens.draw(answer));
    } else if (trait("view") !== "scores") {
      when(get("look", question("look")), turn, drawLook);
      if (!look && !waitingLong) waitingLong = setTimeout(drawFirst, 1500);
    }
    if (!trait("score")) when(get("atlas", question("atlas")), turn, answer => drawAtlas(answer, null));
    if (trait("score") || trait("view") === "scores")
      when(get("scores", { version: about().version, which: trait("shown") }), turn, answer => {
        const numbers = floatsOf(answer.buffers[0]);
        drawScores(numbers);
        drawAtlas(null, numbers);
      });
    if (trait("rollout") && about().has_rollout && !["scores", "lens"].includes(trait("view"))) when(get("look", flowQuestion(), "look.flow"), turn, drawFlow);
    prediction.draw(trait("prediction"));
    predict();
  };
  /** Where no kernel answers (a saved notebook), or not soon: the head that was shown first, under its own name. */
  const drawFirst = () => {
    const first = ((trait("_first") ?? {}).answers ?? []).find(({ ask }) => ask === "look");
    if (ended || look || !first) return;
    drawLook({ values: first.answer, buffers: first.buffers });
    said.textContent = words("title", { layer: first.with.layer, heads: first.with.heads.join(", ") });
    stage.dataset.shown = "first";
  };
  let waiting = false;
  const schedule = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; draw(); });
  };

  const takePicture = async type => {
    const mode = trait("view");
    if (mode === "lens") {
      const picture = screenPicture([lens.element], view.root);
      return type === "svg" ? download("logit-lens.svg", "image/svg+xml", picture.svg()) : download("logit-lens.png", "image/png", await picture.png());
    }
    const lit = look ? litOf(look.rows) : [];
    const maps = [{ canvas: matrix.canvas, pixels: matrix.pixels, look, names, title: titleOf() }];
    if (!rolloutFigure.hidden && flow) maps.push({ canvas: beside.canvas, pixels: beside.pixels, look: flow, names: flowNames, title: rolloutFigure.firstChild.textContent });
    const svg = pictureOf(view, { title: sentence(), mode, look, names, web: lines.web, lit, maps, atlas: map.canvas });
    return takeAway(svg, `attention-${trait("layer")}-${trait("heads").join("-")}`, type);
  };

  for (const name of AV_TRAITS) view.on(`change:${name}`, schedule);
  view.onTheme(() => { lines.paint(); matrix.paint(); beside.paint(); map.paint(); });
  view.later(() => { ended = true; settle.stop(); clearTimeout(waitingLong); });
  draw();
  return () => view.end();
}
