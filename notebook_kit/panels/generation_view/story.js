// The chosen token: its numbers, its alternatives, and what the model attended to when it wrote it.

import { fill, h } from "../shared/common.js";
import { visible } from "../shared/letters.js";
import { percentOf } from "../shared/probabilities.js";
import { alternativesView, lookingView } from "./alternatives.js";
import { GV_PART, gvFloats } from "./tokens.js";

/** The section below the tokens of a page. */
export class Story {
  constructor(page) {
    const { view, words } = page;
    this.page = page;
    this.step = this.drawn = null;         // the alternatives to the chosen token: as received, and as drawn
    this.weights = null;                   // the attention: { position, weights }
    this.drawnWeights = undefined;         // undefined, so that a first null is drawn too
    this.askedStep = this.askedWeights = "";
    this.alternatives = alternativesView(view, token => view.ask("continue", { branch: page.branch, position: this.step.position, token }, "write"));
    this.looking = lookingView(view, values => page.put(values));
    this.heading = h("h3");
    this.facts = h("p.gv-facts");
    this.element = h("section.gv-story", { "aria-label": words("story"), hidden: true },
      this.heading, this.facts, h("div.gv-columns", {}, this.alternatives.element, this.looking.element));
  }

  /** Forget the answers, because another branch is shown. */
  startOver() {
    this.step = this.weights = null;
    this.askedStep = this.askedWeights = "";
  }

  isThere(position) { return position !== null && position !== undefined && position < this.page.paper.now.tokens.length; }

  // Questions -------------------------------------------------------------------------------------------------------------

  ask() {
    this.askStep();
    this.askWeights();
  }

  async askStep() {
    const { page } = this, { branch } = page, position = page.trait("chosen"), key = `${branch} ${position}`;
    if (!this.isThere(position)) { this.step = null; this.askedStep = ""; return; }
    if (this.askedStep === key) return;
    this.askedStep = key;
    const first = page.trait("_first");
    if (first?.branch === branch && first.position === position) {
      this.step = { ...first, numbers: gvFloats(first.numbers) };
      return;
    }
    const answer = await page.view.ask("step", { branch, position });
    if (!answer || answer.values.gone || this.askedStep !== key || page.ended) { if (this.askedStep === key) this.askedStep = ""; return; }
    this.step = { branch, ...answer.values, numbers: gvFloats(answer.buffers[0]) };
    page.schedule();
  }

  async askWeights() {
    const { page } = this, { trait } = page;
    const values = { branch: page.branch, position: trait("chosen"), layer: trait("layer"), head: trait("head"), combine: trait("combine") };
    const key = JSON.stringify(values);
    if (trait("colour") !== "attention" || !this.isThere(values.position) || !(page.about.heads ?? []).length) { this.weights = null; this.askedWeights = ""; return; }
    if (this.askedWeights === key) return;
    this.askedWeights = key;
    this.weights = null;
    const answer = await page.view.ask("attention", values);
    if (this.askedWeights !== key || page.ended || !answer || answer.values.gone) return;
    this.weights = { position: values.position, weights: gvFloats(answer.buffers[0]) };
    page.schedule();
  }

  /** The weights of the chosen token, or null. */
  get shownWeights() { return this.weights && this.weights.position === this.page.trait("chosen") ? this.weights.weights : null; }

  /** The weight that fills a token completely. In many models the first token has most of the weight and would dwarf the rest. */
  topOf(weights) {
    const rest = this.looking.withoutFirst && weights.length > 1 ? weights.subarray(1) : weights;
    return Math.max(1e-6, ...rest);
  }

  // Drawing ---------------------------------------------------------------------------------------------------------------

  drawControls() {
    const { about, trait, model } = this.page;
    const state = { layer: trait("layer") ?? null, head: trait("head") ?? null, combine: trait("combine") };
    this.looking.controls({ on: trait("colour") === "attention", heads: about.heads ?? [], state, apart: Boolean(about.is_encoder_decoder), offline: model.offline });
  }

  drawWeights(weights) {
    if (weights === this.drawnWeights) return;
    this.drawnWeights = weights;
    const { now } = this.page.paper;
    this.looking.draw(weights, now.apart ? now.context : [...now.context, ...now.tokens]);
  }

  draw() {
    const { page, step } = this, position = page.trait("chosen");
    if (!this.isThere(position)) { this.element.hidden = true; return; }
    if (!step || step.branch !== page.branch || step.position !== position) return;   // the former content stays until the answer arrives
    this.element.hidden = false;
    if (this.drawn === step) return;
    this.drawn = step;
    this.drawFacts(position);
    this.alternatives.draw({ ...step, vocabulary: page.about.vocabulary, offline: page.model.offline });
  }

  drawFacts(position) {
    const { words, paper } = this.page, [text, id, kind] = paper.now.tokens[position];
    const [probability, rank, entropy, after] = paper.now.numbers[position] ?? [];
    fill(this.heading, words("token_at", { place: position }), " ", h("bdi.gv-quoted.mono", {}, kind === GV_PART ? text : visible(text)));
    const facts = [["probability", percentOf(probability)], ["rank", String(rank)], ["id", String(id)], ["after", percentOf(after)],
      ["entropy", words("nats", { value: entropy.toFixed(2) })]];
    fill(this.facts, facts.map(([name, value]) => h("span.gv-fact", {}, h("span.faint", {}, words(name)), " ", h("b", {}, value))));
  }
}
