// ResultView: the answer of a pipeline over its picture, in its text or beside it.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { Help } from "../shared/help.js";
import { screenPicture } from "../shared/pictures.js";
import { Recorder } from "../shared/recorder.js";
import { BoxStage } from "./boxes.js";
import { CaptionStage } from "./captions.js";
import { GapStage } from "./gaps.js";
import { MarkStage } from "./marked.js";
import { MaskStage } from "./masks.js";
import { FeatureStage, PlainStage, TextStage } from "./others.js";
import { ScoreStage } from "./scores.js";
import { SoundStage } from "./sound.js";
import { ThingList } from "./things.js";

const STAGES = {
  scores: ScoreStage, boxes: BoxStage, segments: MaskStage, entities: MarkStage, answers: MarkStage, candidates: GapStage,
  captions: CaptionStage, heard: SoundStage, speech: SoundStage, texts: TextStage, features: FeatureStage, plain: PlainStage, error: PlainStage,
};
const LISTED = ["scores", "boxes", "segments", "entities", "answers", "candidates", "heard"];
const NARROWED = ["boxes", "segments", "entities"];

export default {
  render({ model, el }) {
    const view = startView(model, el, "result_view");
    new ResultPage(model, view).start();
    return () => view.end();
  },
};

class ResultPage {
  constructor(model, view) {
    this.model = model;
    this.view = view;
    this.save = debounced(200, () => model.save_changes());
    this.lit = null;      // index of the thing under the pointer or in focus
    this.item = null;     // the answer that is shown: { values, buffers }
  }

  start() {
    const { view } = this;
    for (const name of ["threshold", "hidden", "selected"]) view.on(`change:${name}`, () => this.refresh());
    view.on("change:index", () => this.ask());
    view.on("change:_strings", () => { this.build(); this.draw(); });
    view.on("change:_about", () => { this.build(); this.ask(); });
    view.on(view.root, "keydown", event => this.onKey(event));
    view.later(() => { this.stage?.end?.(); this.recorder?.end(); this.save.now(); });
    this.build();
    this.ask();
  }

  get index() { return this.model.get("index"); }

  build() {
    const { view: { words }, model } = this, { title, count, records } = model.get("_about"), help = new Help(this.view);
    this.status = h("span.rv-status.faint", { role: "status", "aria-live": "polite" });
    this.place = h("span.rv-place");
    this.previous = h("button.rv-step", { type: "button", "aria-label": words("previous"), title: words("previous"), onclick: () => this.step(-1) }, "‹");
    this.next = h("button.rv-step", { type: "button", "aria-label": words("next"), title: words("next"), onclick: () => this.step(1) }, "›");
    this.main = h("div.rv-main");
    this.recorder?.end();
    this.recorder = records && !model.offline ? new Recorder(this.view, { onRecorded: samples => this.onRecorded(samples), onProblem: error => this.view.showError(error) }) : null;
    const pager = count > 1 ? h("div.rv-pager", { role: "group", "aria-label": words("inputs") }, this.previous, this.place, this.next) : null;
    fill(this.view.body,
      h("div.row.rv-head", {}, h("h3", {}, title || words("title")), pager, this.recorder?.element, this.status, h("span.grow"),
        h("button", { type: "button", onclick: () => this.savePicture("png") }, words("save_png")),
        h("button", { type: "button", onclick: () => this.savePicture("svg") }, words("save_svg")),
        help.button),
      help.element, this.main);
    this.showPlace();
  }

  showPlace() {
    const { count } = this.model.get("_about");
    this.place.textContent = this.view.words("place", { number: this.index + 1, count });
    this.previous.disabled = this.index <= 0;
    this.next.disabled = this.index >= count - 1;
  }

  step(by) {
    const to = this.index + by;
    if (to < 0 || to >= this.model.get("_about").count) return;
    this.model.set("index", to);
    this.model.set("selected", null);
    this.model.save_changes();
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && (this.model.get("selected") ?? null) !== null) this.pick(null);
    else if (event.key === "PageDown" || event.key === "PageUp") this.step(event.key === "PageDown" ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async onRecorded(samples) {
    await this.view.ask("record", {}, "record", false, [samples.buffer]);
  }

  /** A minute of the recording that is shown. */
  async sound(index, window) {
    const answer = await this.view.ask("sound", { index, window }, "sound");
    if (!answer) return null;
    const [data] = answer.buffers;
    return new Int16Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  }

  async ask() {
    this.showPlace();
    if (!this.model.get("_about").count) { fill(this.main, h("p.faint", {}, this.view.words("record_first"))); return; }
    const item = await this.view.ask("item", { index: this.index });
    if (!item) return;
    this.item = item;
    this.draw();
  }

  draw() {
    if (!this.item) return;
    const { values, buffers } = this.item, { index } = this, hooks = { onPoint: i => this.point(i), onPick: i => this.pick(i) };
    this.stage?.end?.();
    this.lit = null;
    this.stage = new STAGES[values.kind](this.view, values, buffers, { ...hooks, onSound: window => this.sound(index, window), onOrigins: () => this.view.ask("origins", { index }) });
    this.list = LISTED.includes(values.kind) ? new ThingList(this.view, values, {
      ...hooks, isNarrowed: NARROWED.includes(values.kind),
      onThreshold: value => this.set("threshold", value),
      onHidden: labels => this.set("hidden", labels),
    }) : null;
    this.main.dataset.kind = values.kind;
    fill(this.main, values.question ? h("p.rv-question", { dir: "auto" }, values.question) : null, this.stage.element, this.list?.element);
    this.refresh();
  }

  set(name, value) {
    this.model.set(name, value);
    this.save();
    this.refresh();
  }

  point(i) {
    if (this.lit === i) return;
    this.lit = i;
    this.refresh();
  }

  pick(i) {
    const before = this.model.get("selected") ?? null;
    this.set("selected", i === before ? null : i);
    this.save.now();
  }

  /** Show which things are visible, and which one is lit: the one under the pointer, or else the chosen one. */
  refresh() {
    if (!this.stage) return;
    const { things, kind } = this.item.values, selected = this.model.get("selected") ?? null;
    const threshold = this.model.get("threshold"), hidden = new Set(this.model.get("hidden")), isNarrowed = NARROWED.includes(kind);
    const isVisible = ({ score, label }) => !isNarrowed || ((score === null || score >= threshold) && !hidden.has(label));
    const visible = things.map(isVisible), chosen = selected !== null && selected < things.length ? selected : null;
    const lit = [this.lit, chosen].find(i => i !== null && visible[i]) ?? null;
    this.stage.update?.({ visible, lit, selected: chosen });
    this.list?.update({ visible, lit, selected: chosen, threshold, hidden });
    const shown = visible.filter(Boolean).length;
    this.status.textContent = isNarrowed && things.length ? this.view.words("shown_of", { shown, all: things.length }) : "";
  }

  async savePicture(type) {
    const parts = [this.stage.pictured ?? this.stage.element, this.list?.list].filter(Boolean);
    const picture = screenPicture(parts, this.view.root), name = `result-${this.index + 1}`;
    if (type === "svg") download(`${name}.svg`, "image/svg+xml", picture.svg());
    else download(`${name}.png`, "image/png", await picture.png());
  }
}
