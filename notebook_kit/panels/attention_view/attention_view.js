// AttentionView: the atlas of all heads, and one of them as lines, as a matrix, or as numbers. One state, kept in the traits.

import { download, fill, h, startView } from "../shared/common.js";
import { Help } from "../shared/help.js";
import { screenPicture, saveSVG } from "../shared/pictures.js";
import { Ablation } from "./ablation.js";
import { AtlasView } from "./atlas.js";
import { Controls } from "./controls.js";
import { pictureOf } from "./export.js";
import { HeatMap, legend } from "./heatmap.js";
import { LinesView } from "./lines.js";
import { LensView } from "./logit_lens.js";
import { MapsView } from "./maps.js";
import { NeuronsView } from "./neurons.js";
import { PictureView } from "./picture.js";
import { floatsOf, litOf, namesOf, rangeOf, shortWeight, sumsOf, unpack } from "./positions.js";
import { Questions } from "./questions.js";
import { Readout } from "./readout.js";
import { SCORE_NAMES, scoreTable, textForm } from "./sidebar.js";

const TRAITS = ["text", "text_pair", "compare_text", "shown", "layer", "head", "heads", "more", "combine", "view", "hide_special", "renormalise",
  "merge_words", "whole", "direction", "threshold", "rollout", "score", "selected", "ablated", "prediction", "_about", "_problem"];
const WIDE = { layers: 3, heads: 6 };      // an atlas of at most so many rows and at least so many columns takes the whole width
const PATIENCE = 1500;                     // milliseconds until the first head is shown if no kernel answers

export default { render({ model, el }) {
  let page = new Page(model, el);
  const again = () => { page.end(); page = new Page(model, el); };   // most texts are written only on creation
  model.on("change:_language", again);
  return () => { model.off("change:_language", again); page.end(); };
} };

/** One page: its parts, what they show now, and when they are drawn. */
class Page {
  constructor(model, el) {
    this.model = model;
    this.view = startView(model, el, "attention_view");
    this.words = this.view.words;
    this.trait = name => model.get(name);
    this.questions = new Questions(this.view, model);
    this.look = this.names = this.flow = this.flowNames = this.atlas = this.scores = null;
    this.mapsOrigin = null;              // the positions whose maps are shown, while those of others are awaited
    this.lensFirst = this.turns = 0;
    this.ended = this.isScheduled = false;
    this.makeDrawings();
    this.makeFrame();
    for (const name of TRAITS) this.view.on(`change:${name}`, () => this.schedule());
    this.view.onTheme(() => { for (const one of [this.lines, this.picture, this.maps, this.matrix, this.beside, this.map]) one.paint(); });
    this.view.later(() => { this.ended = true; this.controls.settle.stop(); clearTimeout(this.waiting); });
    this.draw();
  }

  end() { this.view.end(); }

  // State -----------------------------------------------------------------------------------------------------------------

  get about() { return this.model.get("_about") ?? {}; }

  get offline() { return Boolean(this.model.offline); }

  /** The axes of the matrix: the one that attends, and the one attended to. */
  get axes() { return [this.about.tokens, this.about.to_tokens ?? this.about.tokens]; }

  /** Whether weights are drawn over a picture instead of as lines. */
  get isPictured() { return Boolean(this.axes[1]?.boxes); }

  /** The axes with the pictures that are shown: of two that are compared, the one whose attention it is. */
  get picturedAxes() {
    const { about, axes: [rows, columns] } = this, other = this.trait("shown") === "other" && about.other_picture;
    const picture = other || columns.picture;
    return [{ ...rows, picture: other || (rows.picture ?? columns.picture) }, { ...columns, picture }];
  }

  /** The name of a part of the model: its kind, its axes and its layers. */
  partName({ kind, rows, columns, layers: [first, last] }) {
    const { words } = this;
    const name = axis => axis.replace(/^(decoder )?(\w+)/, (_, isDecoder, plain) => words(`axis_${isDecoder ? "decoder" : plain}`)).replace(/(\d)x(\d)/, "$1×$2");
    if (kind === "similarity") return words("part_similarity");
    const axes = rows === columns ? name(rows) : `${name(rows)} → ${name(columns)}`;
    return `${words(`part_${kind}`)}: ${axes} (${words("layers_of", { first, last, count: last - first + 1 })})`;
  }

  /** Whether the table of a text's and a picture's similarity is shown, which has no heads. */
  get isSimilarity() { return Boolean(this.about.similarity); }

  headsOf(layer) { return this.about.heads[this.about.layers.indexOf(layer)] ?? 1; }

  /** What the rows and the columns do, for the axes. */
  get sides() { return { rows: this.kindWords("looks"), columns: this.kindWords("looked_at") }; }

  /** A text for the kind of the columns (or of the rows, axis 0), such as `key_patches`, or `key` if there is no special one. */
  kindWords(key, values = {}, axis = 1) {
    const { kind } = this.axes[axis] ?? {}, strings = this.trait("_strings") ?? {};
    const special = (["spectrogram", "similarity"].includes(kind) ? [kind, "patches"] : [kind]).map(one => `${key}_${one}`);   // both have patches, too
    return this.words(special.find(one => `attention_view.${one}` in strings) ?? key, values);
  }

  put(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.schedule();
    queueMicrotask(() => this.model.save_changes());   // after drawing has sent its questions, so that they are answered first
  }

  /** Select positions, or deselect them if all are selected. */
  toggle(group) {
    const chosen = new Set(this.trait("selected")), on = group.every(token => chosen.has(token));
    for (const token of group) { if (on) chosen.delete(token); else chosen.add(token); }
    this.put({ selected: [...chosen].sort((a, b) => a - b) });
  }

  /** Show a head of the atlas, together with those shown if `add`; or switch it off. */
  show(layer, head, add = false) {
    if (this.ablation.isOn) { this.ablation.toggle([[layer, head]]); return; }
    this.put(add ? this.added(layer, head) : { layer, heads: [head], head, more: [] });
  }

  /** The heads that are shown, with one added, or without it if it is shown already and not the only one. */
  added(layer, head) {
    const all = [...this.shownHeads.map(pair => String(pair))], key = String([layer, head]);
    const next = all.includes(key) ? all.filter(one => one !== key) : [...all, key];
    const pairs = (next.length ? next : [key]).map(one => one.split(",").map(Number)), own = this.trait("layer");
    const first = pairs.some(([one]) => one === own) ? own : pairs[0][0];
    const heads = pairs.filter(([one]) => one === first).map(([, one]) => one).sort((a, b) => a - b);
    return { layer: first, heads, head: heads[0], more: pairs.filter(([one]) => one !== first) };
  }

  /** All heads that are shown, as pairs of layer and head. */
  get shownHeads() { return [...this.trait("heads").map(head => [this.trait("layer"), head]), ...this.trait("more")]; }

  // The parts -------------------------------------------------------------------------------------------------------------

  makeDrawings() {
    const { view } = this;
    this.readout = new Readout(this);
    this.neurons = new NeuronsView(this);
    this.ablation = new Ablation(this);
    this.map = new AtlasView(view, { onShow: (...head) => this.show(...head), onLayer: layer => this.ablation.toggleLayer(layer) });
    this.table = scoreTable(view, (layer, head) => this.show(layer, head));
    this.lens = new LensView(view, first => { this.lensFirst = first; this.schedule(); });
    this.lines = new LinesView(view, { onPoint: (side, i) => this.readout.point(side, i), onPick: (side, i) => this.pick(side, i) });
    this.picture = new PictureView(view, {
      onPoint: (side, i) => this.readout.point(side, i),
      onPick: i => this.toggle(this.look.rows[i]),
      onRead: j => this.readOnPicture(j),
    });
    this.maps = new MapsView(view, { onShow: (...head) => this.show(...head) });
    this.matrix = new HeatMap(view, {
      onCell: (i, j) => this.readout.cell(this.look, this.names, i, j),
      onPick: (i, j) => { this.toggle(this.look.rows[i]); this.neurons.take(i, j); },
    });
    this.beside = new HeatMap(view, { onCell: (i, j) => this.readout.cell(this.flow, this.flowNames, i, j), onPick: i => this.toggle(this.flow.rows[i]) });
  }

  pick(side, i) {
    const groups = side === "left" ? this.look.rows : this.look.columns;
    this.neurons.take(side === "left" ? i : null, side === "left" ? null : i);
    if (side === "left" || !this.about.to_tokens) this.toggle(groups[i]);
  }

  /** Read a cell of the row that the picture shows, if it shows one. */
  readOnPicture(j) {
    const { rows } = this.readout.pointed(...this.picture.place);
    if (rows.length === 1) this.readout.cell(this.look, this.names, rows[0], j);
  }

  makeFrame() {
    const { words } = this, help = this.help = new Help(this.view);
    this.controls = new Controls(this);
    this.form = textForm(this.view, values => this.view.ask("read", values));
    this.notices = h("div.av-notices", { role: "status" });
    this.problem = h("div.error", { role: "alert", hidden: true });
    this.empty = h("p.av-empty.faint");
    this.atlasHint = h("p.faint.av-hint");
    this.said = h("p.av-said-line");
    this.scale = h("span.av-scale-host");
    this.counted = h("span.faint");
    this.selection = h("span.row.av-selection", { hidden: true });
    this.foot = h("div.row.av-foot", {}, this.scale, this.counted, this.selection);
    this.rolloutFigure = h("figure.av-rollout", { hidden: true }, h("figcaption"), this.beside.element, h("p.faint", {}, words("rollout_note")));
    this.matrixFigure = h("figure.av-raw", {}, h("figcaption"), this.matrix.element);
    const { controls, ablation } = this;
    controls.tabRow.append(help.button);
    this.side = h("div.av-side", {},
      h("div.row.av-heading", {}, h("h3", {}, words("atlas")), controls.colourBy),
      this.map.element, this.map.range, this.atlasHint, h("div.row", {}, ablation.button), ablation.cannot, ablation.element);
    controls.stage.append(h("div.av-drawing", {}, this.lines.element, this.picture.element, this.maps.element, this.matrixFigure, this.table.element, this.lens.element, this.rolloutFigure));
    const detail = h("div.av-detail", {}, controls.headRow, controls.lookRow, controls.tabRow, help.element, this.said, controls.stage,
      this.foot, this.readout.element, this.neurons.element, this.readout.pairs);
    this.main = h("div.av-main", {}, this.side, detail);
    fill(this.view.body, this.form.element, this.notices, this.problem, this.empty, this.main);
  }

  /** Shade the positions beside the lines, or colour the picture; null for nothing. */
  shade(values, isExact = false) {
    if (!this.isPictured) { this.lines.values(values); return; }
    const { rows } = this.readout.pointed(...this.picture.place);
    const marks = { sources: rows.length < this.look.R ? rows : [], hasWindow: isExact && this.about.has_windows };
    this.picture.shade({ right: values?.right ?? null, left: values?.left ?? null }, this.readout.title(...this.picture.place), marks);
    this.shadeFlow();
    fill(this.scale, legend(this.look.signed ? `−${shortWeight(this.picture.top)}` : "0", shortWeight(this.picture.top), this.look.signed));
  }

  /** Colour the picture of the rollout by the same rows. */
  shadeFlow() {
    const isShown = this.trait("rollout") && this.about.has_rollout && this.flow && this.flow.R === this.look.R;
    if (!isShown) { this.picture.flow(null); return; }
    const { rows, share } = this.readout.pointed(...this.picture.place);
    const values = sumsOf(this.flow, rows, []).right?.map(value => value * share) ?? null;
    this.picture.flow(values, this.words("rollout_title", { first: this.about.layers[0], layer: this.trait("layer") }));
  }

  // Drawing ---------------------------------------------------------------------------------------------------------------

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => { this.isScheduled = false; this.draw(); });
  }

  draw() {
    if (this.ended) return;
    if (this.questions.isStale) this.startOver();
    const turn = ++this.turns;
    this.drawAround();
    if (!this.about.ready) return;
    this.controls.draw();
    this.drawFrame();
    this.ablation.draw();
    this.drawAtlas(null, this.scores);
    this.askForStage(turn);
    this.askForAtlas(turn);
    this.ablation.prediction.draw(this.trait("prediction"));
    this.ablation.predict();
  }

  startOver() {
    this.questions.startOver();
    this.look = this.flow = this.atlas = this.scores = this.mapsOrigin = null;
    this.lensFirst = 0;
  }

  /** Call `then` with an answer: at once if it is known, else when it arrives, unless a newer question was asked. */
  when(answer, turn, then) {
    if (answer instanceof Promise) answer.then(one => { if (one && turn === this.turns && !this.ended) then(one); });
    else if (answer) then(answer);
  }

  askForStage(turn) {
    const { questions, about } = this, mode = this.trait("view");
    if (mode === "lens") {
      if (about.can_lens) this.when(questions.get("lens", { version: about.version, first: this.lensFirst }), turn, answer => this.lens.draw(answer));
    } else if (mode !== "scores" && mode !== "maps") {
      this.when(questions.get("look", questions.ofHeads()), turn, answer => this.drawLook(answer));
      if (!this.look && !this.waiting) this.waiting = setTimeout(() => this.drawFirst(), PATIENCE);
      if (this.trait("rollout") && about.has_rollout) this.when(questions.get("look", questions.ofRollout(), "look.flow"), turn, answer => this.drawFlow(answer));
    }
  }

  /** Whether the atlas shows a score. */
  get isScored() { return SCORE_NAMES.includes(this.trait("score")); }

  askForAtlas(turn) {
    const { questions, about } = this, score = this.trait("score"), isMapped = about.has_maps && !score;
    const { origin } = this, maps = questions.ofMaps();
    // A file keeps the small pictures that it was saved with, whatever is selected: its note says that it holds no others.
    const isAsked = !this.offline || questions.has("maps", maps) || this.trait("view") === "maps";
    if (about.has_maps && isAsked && (isMapped || this.trait("view") === "maps")) {
      this.when(questions.get("maps", maps), turn, answer => {
        this.mapsOrigin = origin;
        if (isMapped) { this.drawAtlas(answer, null); this.drawHint(); }
        this.drawMaps(answer);
      });
    }
    if ((!score && !about.has_maps) || score === "matrices") this.when(questions.get("atlas", questions.ofAll()), turn, answer => this.drawAtlas(answer, null));
    if (!this.isScored && this.trait("view") !== "scores") return;
    this.when(questions.get("scores", { version: about.version, which: this.trait("shown") }), turn, answer => {
      this.scores = floatsOf(answer.buffers[0]);
      this.drawScores();
      this.drawAtlas(null, this.scores);
    });
  }

  /** The form, notices and errors, which are shown even without attention. */
  drawAround() {
    const { about, trait, words } = this, wrong = trait("_problem") ?? {}, offline = trait("_offline") ?? {};
    this.form.element.hidden = !about.reads_text || this.offline;
    this.form.draw({ text: trait("text"), text_pair: trait("text_pair"), compare_text: trait("compare_text") }, !about.compares_models);
    this.problem.hidden = !wrong.what;
    fill(this.problem, wrong.what ? h("p.what", {}, wrong.what) : null, wrong.next_step ? h("p.next", {}, "→ ", wrong.next_step) : null);
    fill(this.notices, (about.notices ?? []).map(([key, values]) => h("p.av-notice", {}, words(key, values))),
      this.offline ? h("p.av-notice", {}, words("offline_note", { layer: offline.layer, heads: rangeOf(offline.heads ?? []) })) : null);
    this.empty.hidden = Boolean(about.ready);
    this.empty.textContent = words(about.reads_text ? "empty_text" : "empty");
    this.main.hidden = !about.ready;
  }

  /** Show the parts of the current view. */
  drawFrame() {
    const { about, trait, words } = this, mode = trait("view"), isTable = ["scores", "lens", "maps"].includes(mode);
    this.foot.hidden = this.readout.element.hidden = this.readout.pairs.hidden = this.said.hidden = isTable;
    this.side.hidden = mode === "lens" || this.isSimilarity;
    this.main.classList.toggle("nk-av-alone", this.side.hidden);
    this.main.classList.toggle("nk-av-wide", about.layers.length <= WIDE.layers && this.map.most >= WIDE.heads);
    this.neurons.element.hidden = !about.can_vectors || isTable || !this.neurons.isAnswered;
    this.matrixFigure.hidden = mode !== "matrix";
    this.lines.element.hidden = mode !== "heads" || this.isPictured;
    this.picture.element.hidden = mode !== "heads" || !this.isPictured;
    this.maps.element.hidden = mode !== "maps";
    this.table.element.hidden = mode !== "scores";
    this.lens.element.hidden = mode !== "lens";
    this.lens.refuse(about.can_lens ? "" : words("lens_cannot", { name: about.name || words("lens_bare") }));
    this.rolloutFigure.hidden = isTable || !trait("rollout") || !about.has_rollout;
    this.beside.element.hidden = this.rolloutFigure.firstChild.hidden = mode === "heads" && this.isPictured;   // then it is on the picture
    this.said.textContent = isTable ? "" : this.sentence();
    this.help.explain(this.isSimilarity ? "similarity" : !this.isPictured ? "" : this.axes[1].span ? "frames" : "patches");
    this.drawHint();
  }

  drawHint() {
    const { about, trait, words } = this, why = this.isScored ? this.kindWords(`why_${trait("score")}`)
      : about.has_maps && !trait("score") && trait("shown") !== "difference" ? words("atlas_maps", { origin: this.mapsOrigin ?? this.origin })
        : words(trait("shown") === "difference" ? "atlas_shared" : "atlas_own");
    this.atlasHint.textContent = `${words(this.ablation.isOn ? "atlas_hint_off" : "atlas_hint")} ${why}`;
  }

  get title() {
    const { trait, words } = this;
    if (this.isSimilarity) return words("similarity_title", { value: this.about.similarity[0].toFixed(3).replace("-", "−") });
    const own = words("title", { layer: trait("layer"), heads: trait("heads").join(", ") });
    return [own, ...trait("more").map(([layer, head]) => words("head_name", { layer, head }))].join(", ");
  }

  /** The names of the positions from which the small pictures look. */
  get origin() {
    const [rows] = this.axes, chosen = this.trait("selected").filter(i => i < rows.labels.length);
    const names = (chosen.length ? chosen : rows.first === null ? [] : [rows.first]).map(i => rows.labels[i]);
    return names.slice(0, 4).join(", ") + (names.length > 4 ? " …" : "") || this.kindWords("from_all", {}, 0);
  }

  /** A one-line description of the matrix. */
  sentence() {
    const { trait, words } = this, isSeveral = this.shownHeads.length > 1;
    return [
      this.title + (isSeveral ? ` (${words(trait("combine"))})` : ""),
      trait("hide_special") ? words(trait("renormalise") ? "said_renormalised" : "said_hidden") : null,
      trait("merge_words") ? this.kindWords("said_merged") : null,
      trait("direction") !== "all" ? this.kindWords(trait("direction")) : null,
      isSeveral && trait("combine") === "max" ? words("said_max") : null,
      trait("shown") === "difference" ? words("what_difference") : trait("shown") === "other" ? words("other") : null,
    ].filter(Boolean).join(" · ");
  }

  drawAtlas(answer, numbers) {
    this.atlas = answer ?? this.atlas;
    const { about, trait } = this, name = trait("score"), at = SCORE_NAMES.indexOf(name), starts = [];
    let sum = 0;
    for (const count of about.heads) { starts.push(sum); sum += count; }
    const of = (layer, head) => numbers[(starts[about.layers.indexOf(layer)] + head) * SCORE_NAMES.length + at];
    const score = this.isScored && numbers && { name: this.words(`score_${name}`), of };
    const state = { layer: trait("layer"), heads: trait("heads"), shown: this.shownHeads, ablated: trait("ablated"), ablating: this.ablation.isOn };
    this.map.draw({ about, atlas: this.atlas, isMaps: about.has_maps && !name, score, state }, this.words("atlas_label"));
  }

  drawMaps(answer) {
    if (this.trait("view") !== "maps") return;
    const { about, words } = this, layer = this.trait("layer"), shown = new Set(this.shownHeads.map(String));
    this.maps.draw(answer, { about, layer, picture: this.picturedAxes[1].picture, isShown: head => shown.has(String([layer, head])) },
      { title: words("maps_title", { layer, origin: this.mapsOrigin }), note: words("maps_note") });
  }

  drawScores() {
    const rows = [], width = SCORE_NAMES.length;
    this.about.layers.forEach((layer, at) => {
      for (let head = 0; head < this.about.heads[at]; head++)
        rows.push({ layer, head, scores: this.scores.subarray(rows.length * width, (rows.length + 1) * width) });
    });
    this.table.draw(rows, new Set(this.shownHeads.map(String)));
  }

  drawLook(answer) {
    if (answer) this.look = unpack(answer);
    if (!this.look) return;
    const { look, trait } = this, mode = trait("view");
    this.controls.stage.dataset.shown = `${trait("layer")}.${trait("heads").join(",")}${trait("more").map(pair => ` ${pair.join(".")}`).join("")}`;
    this.names = namesOf(look, this.about, trait("shown"));
    const lit = litOf(look.rows, trait("selected")), least = Math.min(1, trait("threshold") / look.scale);
    this.controls.drawThreshold(least);
    if (mode === "heads" && this.isPictured) this.drawPicture(lit, least);
    else if (mode === "heads") this.drawLines(lit, least);
    else this.drawMatrix(lit, least);
    this.selection.hidden = !trait("selected").length;
    fill(this.selection, h("span", {}, this.words("selected", { count: lit.length })),
      h("button", { type: "button", onclick: () => this.put({ selected: [] }) }, this.words("clear")));
    if (mode !== "heads") this.readout.hint();
    else if (this.isPictured) this.readout.point(...this.picture.place);
    else this.readout.point(this.lines.pointed?.[0] ?? "left", this.lines.pointed?.[1] ?? null);
    this.readout.drawPairs();
    this.neurons.draw();
  }

  drawLines(lit, least) {
    const { look, words } = this, litRight = this.about.to_tokens ? [] : litOf(look.columns, this.trait("selected"));
    const web = this.lines.draw(look, this.names, { least, lit, litRight, values: null }, { left: words("left_label"), right: words("right_label"), looks: words("looks"), looked: words("looked_at") });
    this.counted.textContent = web.all > web.places.length ? words("lines_cut", { count: web.places.length, all: web.all }) : words("lines_said", { count: web.all });
    fill(this.scale, words("strongest", { value: shortWeight(look.scale) }));
  }

  drawPicture(lit, least) {
    const { look } = this, isTwoWay = Boolean(this.about.to_tokens) || this.axes[1].kind === "joint";
    const captions = { from: this.kindWords("picture_from", {}, 0), to: this.kindWords("picture_to"), label: this.kindWords("picture_label", { count: look.R }, 0),
      toLabel: isTwoWay ? this.kindWords("picture_columns") : "" };
    const version = `${this.about.version} ${this.trait("shown") === "other"}`, isThis = this.trait("shown") === "this";
    const own = this.isSimilarity && isThis ? look.rows.map(([row]) => this.about.similarity[row]) : null;
    this.picture.draw(look, this.names, { axes: this.picturedAxes, version, lit, least, isTwoWay, own }, captions);
    this.counted.textContent = this.kindWords("tokens_said", { rows: look.R, columns: look.C });
  }

  drawMatrix(lit, least) {
    const { look, words } = this;
    this.matrix.draw(look, this.names, { least, lit, sides: this.sides }, words("matrix_label", { rows: look.R, columns: look.C }));
    this.matrixFigure.firstChild.textContent = this.trait("rollout") && this.about.has_rollout ? words("raw") : "";
    this.counted.textContent = this.kindWords("tokens_said", { rows: look.R, columns: look.C });
    fill(this.scale, legend(look.signed ? `−${shortWeight(look.scale)}` : "0", shortWeight(look.scale), look.signed));
  }

  drawFlow(answer) {
    const { words, trait } = this, flow = unpack(answer);
    this.flow = flow;
    this.flowNames = namesOf(flow, this.about, trait("shown"));
    if (this.isPictured && trait("view") === "heads" && this.look) this.shadeFlow();
    const caption = words("rollout_title", { first: this.about.layers[0], layer: trait("layer") });
    fill(this.rolloutFigure.firstChild, caption, h("span.faint", {}, ` · ${words(flow.signed ? "scale_signed" : "scale", { scale: shortWeight(flow.scale) })}`));
    this.beside.draw(flow, this.flowNames, { least: 0, lit: litOf(flow.rows, trait("selected")), sides: this.sides }, `${caption}. ${words("matrix_label", { rows: flow.R, columns: flow.C })}`);
  }

  /** Without a kernel (in a saved notebook), or while it is slow: the head that was shown first, under its name. */
  drawFirst() {
    const first = this.questions.first.find(({ ask }) => ask === "look");
    if (this.ended || this.look || !first) return;
    this.drawLook({ values: first.answer, buffers: first.buffers });
    this.said.textContent = this.words("title", { layer: first.with.layer, heads: first.with.heads.join(", ") });
    this.controls.stage.dataset.shown = "first";
  }

  // Export ------------------------------------------------------------------------------------------------------------------

  async takePicture(type) {
    const mode = this.trait("view"), { look, names } = this;
    if (mode === "lens") {
      const picture = screenPicture([this.lens.element], this.view.root);
      if (type === "svg") download("logit-lens.svg", "image/svg+xml", picture.svg());
      else download("logit-lens.png", "image/png", await picture.png());
      return;
    }
    if (mode === "maps") {
      const { canvases: images, title } = this.maps, svg = pictureOf(this.view, { title, mode, images, lit: [], sides: this.sides });
      await saveSVG(svg, `attention-${this.trait("layer")}-all-heads`, type);
      return;
    }
    const isPictured = mode === "heads" && this.isPictured, isListed = isPictured && this.picture.from.host.hidden;
    if (isListed) {   // words beside a picture: as they are on the screen
      const picture = screenPicture([this.said, this.picture.element], this.view.root), name = `attention-${this.trait("layer")}-${this.trait("heads").join("-")}`;
      if (type === "svg") download(`${name}.svg`, "image/svg+xml", picture.svg());
      else download(`${name}.png`, "image/png", await picture.png());
      return;
    }
    const lit = look ? litOf(look.rows, this.trait("selected")) : [];
    const images = mode === "scores" ? [{ canvas: this.map.canvas }] : isPictured ? this.picture.canvases : this.heatMaps();
    const svg = pictureOf(this.view, { title: this.sentence(), mode: isPictured ? "picture" : mode, look, names, web: this.lines.web, lit, images, sides: this.sides });
    await saveSVG(svg, `attention-${this.trait("layer")}-${this.trait("heads").join("-")}`, type);
  }

  heatMaps() {
    const maps = [{ pixels: this.matrix.pixels, look: this.look, names: this.names, title: this.title }];
    if (!this.rolloutFigure.hidden && this.flow)
      maps.push({ pixels: this.beside.pixels, look: this.flow, names: this.flowNames, title: this.rolloutFigure.firstChild.textContent });
    return maps;
  }
}
