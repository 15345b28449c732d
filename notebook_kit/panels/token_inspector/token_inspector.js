// TokenInspector: a text, its tokens from one or several tokenizers, and the details of the selected token.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { Help } from "../shared/help.js";
import { screenPicture } from "../shared/pictures.js";
import { FLAG } from "./chips.js";
import { TokenizerRow } from "./row.js";
import { Selection } from "./selection.js";
import { TokenStory } from "./story.js";
import { TextBox } from "./textbox.js";

const LONG_TEXT = 20_000;   // characters; the analysis of a longer text may take longer than the next key stroke

export default {
  render({ model, el }) {
    const view = startView(model, el, "token_inspector");
    new TokenInspector(model, view).start();
    return () => view.end();
  },
};

class TokenInspector {
  constructor(model, view) {
    this.model = model;
    this.view = view;
    this.format = { words: view.words, number: value => value.toLocaleString(model.get("_language")) };
    this.selection = new Selection(model);
    this.rows = [];       // one per tokenizer
    this.parts = {};      // elements, until the interface is rebuilt
    this.answer = null;   // key and block size of the latest answer
    this.save = debounced(250, () => model.save_changes());
    this.askSoon = debounced(120, () => this.ask());
  }

  start() {
    const { view } = this;
    const onSelected = oncePerTask(() => { this.paint(); this.askStory(); });   // `row` and `selected` change one after the other
    const rebuild = () => { this.build(); this.ask(); };
    view.on("change:text", () => this.onText());
    view.on("change:text_pair", () => this.onText());
    view.on("change:selected", onSelected);
    view.on("change:row", onSelected);
    view.on("change:show_ids", () => this.showIds());
    view.on("change:_generation", rebuild);
    view.on("change:_strings", rebuild);
    view.later(() => { this.rows.forEach(row => row.end()); this.save.stop(); this.askSoon.stop(); });
    this.build();
    this.ask();
  }

  // The interface -------------------------------------------------------------------------------------------------

  build() {
    const { words } = this.view;
    const folded = this.parts.story?.folded, help = new Help(this.view);
    this.parts = {
      text: this.textField("text", 3),
      pair: this.textField("text_pair", 2),
      pairButton: h("button", { type: "button", onclick: () => this.togglePair() }, words("second_text")),
      ids: h("input", { type: "checkbox", checked: this.model.get("show_ids"), onchange: event => { this.model.set("show_ids", event.target.checked); this.save(); } }),
      rows: h("div.rows"),
      story: new TokenStory(this.format, folded),
      hint: h("p.hint.faint"),
    };
    const { text, pair, rows, hint, story } = this.parts;
    fill(this.view.body, text.element, pair.element, this.tools(help), help.element, this.legend(), rows, hint, story.element);
    this.buildRows();
    this.showPair();
    this.showIds();
  }

  textField(trait, lines) {
    const { model, view } = this;
    return new TextBox(view, trait, lines, model.get(trait) ?? "", value => {
      this.selection.clear();
      model.set(trait, value);
      this.save();
    });
  }

  tools(help) {
    const { words } = this.view;
    return h("div.row.tools", {},
      this.parts.pairButton,
      h("label.check", {}, this.parts.ids, words("show_ids")),
      h("span.grow"),
      h("button", { type: "button", onclick: () => this.savePicture("png") }, words("save_png")),
      h("button", { type: "button", onclick: () => this.savePicture("svg") }, words("save_svg")),
      help.button);
  }

  legend() {
    const examples = { special: "a", unknown: "?", part: "E0", ...(this.model.get("_rows").length > 1 ? { differs: "a" } : {}) };
    return h("p.legend.faint", {}, Object.entries(examples).map(([kind, example]) =>
      h(`span.key.key-${kind}`, {}, h("span.swatch", { "aria-hidden": "true" }, example), this.view.words(`key_${kind}`))));
  }

  buildRows() {
    this.rows.forEach(row => row.end());
    const listeners = {
      onClick: (row, event) => this.selection.onClick(row, event),
      onKey: (row, event) => this.selection.onKey(row, event),
      onPoint: token => this.markText(token),
      onDrawn: () => this.paint(),
    };
    this.rows = (this.model.get("_rows") ?? []).map((about, index) => new TokenizerRow(this.view, this.format, index, about, listeners));
    fill(this.parts.rows, this.rows.map(row => row.root), this.rows.length ? null : h("p.faint", {}, this.view.words("empty")));
    this.view.body.classList.toggle("nk-none", !this.rows.length);
  }

  togglePair() {
    this.selection.clear();
    this.model.set("text_pair", this.model.get("text_pair") === null ? "" : null);
    this.save();
    if (this.model.get("text_pair") !== null) this.parts.pair.focus();
  }

  showPair() {
    const isOpen = (this.model.get("text_pair") ?? null) !== null;
    this.parts.pair.element.hidden = !isOpen;
    this.parts.pairButton.setAttribute("aria-pressed", String(isOpen));
  }

  showIds() {
    this.parts.ids.checked = this.model.get("show_ids");
    this.parts.rows.classList.toggle("nk-with-ids", this.model.get("show_ids"));
  }

  // Asking --------------------------------------------------------------------------------------------------------

  get texts() {
    return { text: this.model.get("text") ?? "", text_pair: this.model.get("text_pair") ?? null };
  }

  async ask() {
    const { text, text_pair } = this.texts;
    if (!this.rows.length) return;
    const isLong = text.length + (text_pair?.length ?? 0) > LONG_TEXT;
    const result = await this.view.ask(isLong ? "tokens_of_long_text" : "tokens", { text, text_pair }, "tokens");
    if (!result || result.values.rows.length !== this.rows.length) return;
    this.answer = { of: result.values.of, blockSize: result.values.block };
    result.values.rows.forEach((values, i) => this.rows[i].draw(values, result.buffers[i], this.answer, this.rows[0].about.name));
    this.parts.hint.textContent = this.rows.some(row => row.count) ? this.view.words("hint") : "";
    this.paint();
    this.askStory();
  }

  /** Show the selection on the tokens and in the text. */
  paint() {
    this.selection.paint(this.rows);
    this.markText(null);
  }

  /** Mark the characters of the token under the pointer, or else of the selected tokens. */
  markText(pointed) {
    const row = this.rows[this.model.get("row")], spans = { text: [], pair: [] };
    const tokens = pointed ? [pointed] : this.selection.positions.map(position => row?.token(position));
    for (const token of tokens)
      if (token && !(token.flags & FLAG.inserted)) spans[token.flags & FLAG.second ? "pair" : "text"].push([token.start, token.end]);
    for (const name of ["text", "pair"]) this.parts[name].mark(spans[name]);
  }

  onText() {
    const { text, text_pair } = this.texts;
    this.parts.text.value = text;
    this.parts.pair.value = text_pair ?? "";
    this.showPair();
    if (text.length > LONG_TEXT) { this.askSoon(); return; }
    this.askSoon.stop();
    this.ask();
  }

  async askStory() {
    const row = this.model.get("row"), position = this.selection.positions.at(-1);
    if (position === undefined || this.answer === null || row >= this.rows.length) { this.showStory(null); return; }
    const result = await this.view.ask("story", { of: this.answer.of, row, position });
    if (result) this.showStory(result.values.gone ? null : { row, position, ...result.values });
  }

  showStory(story) {
    const about = this.rows[story?.row]?.about;
    this.parts.story.draw(story, about, this.rows.length > 1 ? about?.name : "");
    this.parts.hint.hidden = Boolean(story);
  }

  async savePicture(type) {
    const picture = screenPicture([...this.rows.map(row => row.root), this.parts.story.element].filter(one => !one.hidden), this.view.root);
    if (type === "svg") download("tokens.svg", "image/svg+xml", picture.svg());
    else download("tokens.png", "image/png", await picture.png());
  }
}

/** A function that runs once after the present task, however often it is called in it. */
function oncePerTask(run) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    queueMicrotask(() => { isWaiting = false; run(); });
  };
}
