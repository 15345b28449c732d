// GenerationView: a model writes. The prompt, the tokens as they come, the chosen one, the settings, the branches.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { Help } from "../shared/help.js";
import { visible } from "../shared/letters.js";
import { screenPicture } from "../shared/pictures.js";
import { PROBABILITY_COLOURS, percentOf } from "../shared/probabilities.js";
import { BranchList } from "./branches.js";
import { settingsView } from "./controls.js";
import { PlainText } from "./plain.js";
import { Story } from "./story.js";
import { GV_PART, TokensView, gvFloats } from "./tokens.js";

const TRAITS = ["prompt", "chosen", "branch", "running", "chat", "do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens", "seed", "pinned",
  "colour", "layer", "head", "combine", "_about", "_branches", "_problem"];

export default { render({ model, el }) {
  let page = new Page(model, el);
  const again = () => { page.end(); page = new Page(model, el); };   // most texts are written only on creation
  model.on("change:_language", again);
  return () => { model.off("change:_language", again); page.end(); };
} };

/** Four numbers per token: probability, rank, entropy, and the probability after the rules. */
function rowsOf(buffer) {
  const flat = gvFloats(buffer);
  return Array.from({ length: flat.length / 4 }, (_, i) => [...flat.subarray(4 * i, 4 * i + 4)]);
}

/** One page: its parts, and the branch that it shows. */
class Page {
  constructor(model, el) {
    this.model = model;
    this.view = startView(model, el, "generation_view");
    this.words = this.view.words;
    this.trait = name => model.get(name);
    this.branch = 0;
    this.shown = null;                     // the branch as it was received
    this.ended = this.isScheduled = false;
    this.makeWriting();
    this.makeParts();
    for (const name of TRAITS) this.view.on(`change:${name}`, () => this.schedule());
    this.view.on("change:_shown", () => this.show(this.trait("_shown") ?? {}));
    this.view.on("change:branch", () => this.onBranch());
    this.view.on("msg:custom", (content, buffers) => this.onNews(content?.nk_news, buffers));
    this.view.later(() => { this.ended = true; this.savePrompt.stop(); this.settings.stop(); });
    this.show(this.trait("_shown") ?? {});
  }

  end() { this.view.end(); }

  get about() { return this.trait("_about") ?? {}; }

  get offline() { return Boolean(this.model.offline); }

  put(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
    this.schedule();
  }

  // The parts -------------------------------------------------------------------------------------------------------------

  /** The prompt, and the buttons that start and stop. */
  makeWriting() {
    const { view, words, model } = this, button = (name, more) => h("button", { type: "button", ...more }, words(name));
    this.settings = settingsView(model, view);
    this.savePrompt = debounced(250, () => model.save_changes());
    this.prompt = h("textarea.gv-prompt", { rows: 3, dir: "auto", "aria-label": words("prompt"), placeholder: words("prompt_here"), title: words("prompt_hint"),
      oninput: () => { model.set("prompt", this.prompt.value); this.savePrompt(); },
      onkeydown: event => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.write(); }
        if (event.key === "Escape" && this.trait("running")) view.ask("stop");
      } });
    this.generate = h("button.gv-primary", { type: "button", title: words("prompt_hint"), onclick: () => this.write() }, words("generate"));
    this.stop = button("stop", { onclick: () => view.ask("stop") });
    this.onward = button("go_on", { onclick: () => { this.settings.flush(); view.ask("go_on", {}, "write"); } });
    this.chat = h("input", { type: "checkbox", onchange: () => this.put({ chat: this.chat.checked }) });
    this.chatLabel = h("label.gv-check", {}, this.chat, h("span", {}, words("chat")));
    this.status = h("span.gv-status", { role: "status", "aria-live": "polite" });
  }

  write() {
    this.savePrompt.stop();
    this.settings.flush();
    return this.view.ask("generate", { prompt: this.prompt.value }, "write");
  }

  makeParts() {
    const { view, words } = this, help = new Help(view);
    this.paper = new TokensView(view, { onChoose: position => this.put({ chosen: position }), onPoint: (kind, place) => this.point(kind, place) });
    this.story = new Story(this);
    this.plain = new PlainText(view);
    this.branches = new BranchList(view, branch => this.put({ branch }));
    this.problem = h("div.error", { role: "alert", hidden: true });
    this.notice = h("p.faint");
    this.empty = h("p.gv-empty.faint");
    this.readout = h("p.gv-readout", {}, words("readout_hint"));
    this.bar = this.makeBar();
    const buttons = h("div.row", {}, this.generate, this.stop, this.onward, this.chatLabel, this.status, h("span.gv-space"), help.button);
    const left = h("div.gv-left", {}, this.prompt, buttons, help.element, this.problem, this.notice, this.bar, this.empty, this.paper.element, this.readout, this.plain.element,
      this.branches.element, this.story.element);
    fill(view.body, h("div.gv-main", {}, left, this.settings.element));
  }

  /** The choice of colours, the legend, and the export. */
  makeBar() {
    const { words } = this;
    this.colour = h("select", { "aria-label": words("colour_by"), onchange: event => this.put({ colour: event.target.value }) },
      ["probability", "entropy", "attention"].map(name => h("option", { value: name }, words(name))));
    this.legend = h("span.gv-legend");
    const exports = h("span.gv-export", {}, ["png", "svg"].map(type =>
      h("button", { type: "button", "aria-label": words("save_as", { type: type.toUpperCase() }), onclick: () => this.takePicture(type) }, type.toUpperCase())));
    return h("div.row.gv-bar-row", {}, h("label.gv-labelled", {}, h("span", {}, words("colour_by")), this.colour), this.legend, h("span.gv-space"), exports);
  }

  // State -----------------------------------------------------------------------------------------------------------------

  show(shown) {
    this.shown = shown;
    if (this.branch !== shown.branch) this.story.startOver();
    this.branch = shown.branch ?? 0;
    this.paper.draw({ context: shown.context ?? [], tokens: shown.tokens ?? [], numbers: rowsOf(shown.numbers), apart: this.about.is_encoder_decoder });
    if (this.trait("running")) this.catchUp();
    this.schedule();
  }

  add(first, tokens, numbers) {
    const { now } = this.paper, skip = now.tokens.length - first;
    if (skip < 0 || skip >= tokens.length) return;
    this.paper.draw({ ...now, tokens: [...now.tokens, ...tokens.slice(skip)], numbers: [...now.numbers, ...numbers.slice(skip)] });
    this.schedule();
  }

  /** Ask for the tokens that were sent before this page was listening. */
  async catchUp() {
    const { branch } = this;
    if (this.offline) return;
    const answer = await this.view.ask("tokens", { branch, first: this.paper.now.tokens.length }, "tokens");
    if (answer && !answer.values.gone && branch === this.branch) this.add(answer.values.first, answer.values.tokens, rowsOf(answer.buffers[0]));
  }

  /** In a file on disk there is no kernel to show another branch. */
  async onBranch() {
    if (!this.offline || this.trait("branch") === this.branch) return;
    const answer = await this.view.ask("tokens", { branch: this.trait("branch"), first: 0 }, "tokens");
    if (answer) this.show({ ...answer.values, numbers: answer.buffers[0] });
  }

  onNews(news, buffers) {
    if (!news || news.branch !== this.branch) return;
    if (news.first > this.paper.now.tokens.length) this.catchUp();
    else this.add(news.first, news.tokens, rowsOf(buffers[0]));
  }

  /** Show the numbers of the token under the pointer. */
  point(kind, place) {
    const { words } = this, { now } = this.paper;
    this.plain.mark(kind, place);
    if (kind === null) { fill(this.readout, words("readout_hint")); return; }
    const entry = now[kind][place], isWritten = kind === "tokens";
    if (!entry) return;
    const at = isWritten && !now.apart ? now.context.length + place : place;
    const weight = isWritten && now.apart ? undefined : this.story.weights?.weights[at];
    const parts = [h("b.mono", {}, h("bdi", {}, entry[2] === GV_PART ? entry[0] : visible(entry[0])))];
    if (isWritten) {
      const [probability, rank, entropy] = now.numbers[place] ?? [];
      parts.push(percentOf(probability), words("rank_is", { rank }), words("entropy_is", { entropy: entropy.toFixed(2) }));
    }
    parts.push(words("id_is", { id: entry[1] }));
    if (weight !== undefined) parts.push(words("weight_is", { weight: weight.toFixed(4) }));
    fill(this.readout, parts.flatMap((part, i) => (i ? [" · ", part] : [part])));
  }

  // Drawing ---------------------------------------------------------------------------------------------------------------

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => { this.isScheduled = false; this.draw(); });
  }

  draw() {
    if (this.ended) return;
    const isReady = Boolean(this.about.vocabulary || this.about.name);
    this.drawWriting(isReady);
    this.drawMessages(isReady);
    this.story.drawControls();
    this.story.ask();
    this.drawTokens();
    this.drawLegend();
    this.branches.draw(this.trait("_branches") ?? [], this.branch);
    this.story.draw();
  }

  get isRunning() { return this.trait("running") && !this.offline; }

  drawWriting(isReady) {
    const { trait, offline } = this, isEmpty = !this.paper.now.tokens.length;
    if (this.prompt.value !== trait("prompt")) this.prompt.value = trait("prompt");
    this.prompt.readOnly = offline;
    this.settings.draw();
    this.generate.disabled = !isReady;
    this.generate.hidden = offline;
    this.stop.hidden = !this.isRunning;
    this.onward.hidden = offline || this.isRunning || isEmpty || this.shown?.ended === "end";
    this.chatLabel.hidden = !this.about.has_chat;
    this.chat.checked = trait("chat");
    const text = this.statusText();
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  /** The progress of the generation, or how it ended. */
  statusText() {
    const { words, shown } = this, count = this.paper.now.tokens.length;
    if (this.isRunning) return words("writing", { count });
    if (!count || !shown?.ended) return "";
    const rate = shown.rate ? words("rate_is", { rate: shown.rate.toFixed(shown.rate < 10 ? 1 : 0) }) : null;
    return [words("count_tokens", { count }), words(`ended_${shown.ended}`), rate].filter(Boolean).join(" · ");
  }

  drawMessages(isReady) {
    const { words } = this, wrong = this.trait("_problem") ?? {}, isEmpty = this.branch === 0;
    this.problem.hidden = !wrong.what;
    fill(this.problem, wrong.what ? h("p.what", {}, wrong.what) : null, wrong.next_step ? h("p.next", {}, "→ ", wrong.next_step) : null);
    this.notice.hidden = !this.offline;
    fill(this.notice, words("offline_note"));
    this.empty.hidden = !isEmpty;
    this.empty.textContent = words(isReady ? "empty_text" : "empty");
    this.paper.element.hidden = this.bar.hidden = this.readout.hidden = isEmpty;
    this.plain.draw({ ...this.paper.now, text: this.trait("running") ? "" : this.trait("text"), isEmpty });
  }

  drawTokens() {
    const { trait, story, about } = this, weights = story.shownWeights;
    this.paper.paint({
      colour: trait("colour"),
      chosen: trait("chosen"),
      unsure: Math.log(Math.max(2, about.vocabulary || 2)),
      weights,
      top: weights ? story.topOf(weights) : 1,
      fork: this.shown?.fork ?? null,
      running: this.isRunning,
    });
    story.drawWeights(weights);
  }

  drawLegend() {
    const { words } = this, kind = this.trait("colour");
    this.colour.value = kind;
    if (this.legend.dataset.kind === kind) return;
    this.legend.dataset.kind = kind;
    const ends = { probability: ["0%", "100%"], entropy: [words("unsure"), words("sure")], attention: [words("weight_none"), words("weight_most")] }[kind];
    const scale = kind === "attention" ? h("span.gv-scale.gv-scale-fill", { "aria-hidden": "true" }, [0.15, 0.4, 0.7, 1].map(part => h("span", { style: { "--part": String(part) } })))
      : h("span.gv-scale", { "aria-hidden": "true" }, Array.from({ length: 16 }, (_, i) => h("span", { style: { "background-color": PROBABILITY_COLOURS[i * 17].back } })));
    fill(this.legend, h("span", {}, ends[0]), scale, h("span", {}, ends[1]));
  }

  async takePicture(type) {
    const shown = [this.paper.element, this.branches.element, this.story.element].filter(one => !one.hidden);
    const picture = screenPicture(shown, this.view.root);
    if (type === "svg") download("generation.svg", "image/svg+xml", picture.svg());
    else download("generation.png", "image/png", await picture.png());
  }
}
