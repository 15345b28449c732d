// The controls above the drawing: the head, the settings for showing it, and the views.

import { debounced, fill, h, roving } from "../shared/common.js";
import { shortWeight } from "./positions.js";
import { SCORE_NAMES } from "./sidebar.js";

const VIEWS = ["heads", "maps", "matrix", "scores", "lens"];

/** Fill a select with `[value, text]` entries if they have changed, and choose one. */
function options(select, entries, value) {
  const key = JSON.stringify(entries);
  if (select.dataset.key !== key) {
    fill(select, entries.map(([v, name]) => h("option", { value: v }, name)));
    select.dataset.key = key;
  }
  select.value = String(value);
}

/** A control with its label. */
function labelled(text, control, ...more) {
  return h("label.av-labelled", {}, h("span", {}, text), control, ...more);
}

/** The controls of a page, bound to its traits. */
export class Controls {
  constructor(page) {
    this.page = page;
    this.picks = this.makePicks();
    this.checks = Object.fromEntries(["hide_special", "renormalise", "merge_words", "whole", "rollout"].map(name => [name, this.check(name)]));
    this.makeThreshold();
    this.makeTabs();
    const { words } = page, { layer, head, combine, shown, direction, score } = this.picks;
    this.comparing = labelled(words("compare"), shown);
    this.directing = labelled(words("direction"), direction);
    this.colourBy = labelled(words("colour_by"), score);
    this.parting = labelled(words("kind"), this.picks.part);
    this.choosing = [labelled(words("layer"), layer), labelled(words("head"), head)];
    this.headRow = h("div.row.av-bar", {}, this.parting, this.choosing, combine, this.comparing, this.directing);
    this.limiting = labelled(words("threshold"), this.threshold, this.thresholdValue);
    this.lookRow = h("div.row.av-bar", {}, Object.values(this.checks).map(one => one.element), this.limiting);
    this.tabRow = h("div.row.av-tabrow", {}, this.tabList, h("span.av-space"), this.makeZoom(), this.makeExports());
  }

  makePicks() {
    const { page } = this;
    const choice = (name, change) => h("select", { "aria-label": page.words(name), onchange: event => change(event.target.value) });
    const picks = {
      score: choice("colour_by", value => page.put({ score: value })),
      layer: choice("layer", value => this.pickLayer(Number(value))),
      head: choice("head", value => this.pickHead(value)),
      combine: choice("combine", value => page.put({ combine: value })),
      direction: choice("direction", value => page.put({ direction: value })),
      shown: choice("compare", value => page.put({ shown: value })),
      part: choice("kind", value => page.view.ask("kind", { kind: value })),
    };
    picks.combine.setAttribute("aria-label", page.words("all_heads"));
    return picks;
  }

  pickLayer(layer) {
    const heads = this.page.trait("heads").filter(head => head < this.page.headsOf(layer));
    this.page.put({ layer, heads: heads.length ? heads : [0], head: heads[0] ?? 0, more: [] });
  }

  pickHead(value) {
    if (value === "several") return;
    const heads = value === "all" ? Array.from({ length: this.page.headsOf(this.page.trait("layer")) }, (_, i) => i) : [Number(value)];
    this.page.put({ heads, head: heads[0], more: [] });
  }

  check(name) {
    const input = h("input", { type: "checkbox", onchange: () => this.page.put({ [name]: input.checked }) });
    return { input, element: h("label.av-check", {}, input, h("span", {}, this.page.words(name))) };
  }

  makeThreshold() {
    const { page } = this;
    this.settle = debounced(60, value => page.put({ threshold: value }));
    const take = event => {
      if (!page.look) return;
      const value = (Number(event.target.value) / 100) * page.look.scale;
      this.showThreshold(value);
      this.settle(Number(value.toPrecision(3)));
    };
    this.threshold = h("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": page.words("threshold"), oninput: take });
    this.thresholdValue = h("output.av-threshold");
  }

  showThreshold(value) { this.thresholdValue.textContent = value ? shortWeight(value) : "0"; }

  /** Show the threshold; `least` is the threshold as a fraction of the scale. */
  drawThreshold(least) {
    if (document.activeElement !== this.threshold) this.threshold.value = String(Math.round(least * 100));
    this.showThreshold(this.page.trait("threshold"));
  }

  makeTabs() {
    const { page } = this, id = `${page.view.id ?? Math.random().toString(36).slice(2)}-stage`;
    this.stage = h("div.av-stage", { role: "tabpanel", id });
    this.tabList = h("div.av-tabs", { role: "tablist", "aria-label": page.words("views") });
    this.tabs = Object.fromEntries(VIEWS.map(name => [name, h("button",
      { type: "button", role: "tab", "data-view": name, "aria-controls": id, id: `${id}-${name}`, onclick: () => page.put({ view: name }) }, page.words(name))]));
    this.tabList.append(...Object.values(this.tabs));
    roving(this.tabList, "[role=tab]:not([hidden])", { onMove: tab => page.put({ view: tab.dataset.view }) });
  }

  makeZoom() {
    const { words, matrix } = this.page;
    const buttons = [["zoom_out", "−", () => matrix.zoomBy(1 / 1.5)], ["zoom_fit", "⤢", () => matrix.fit()], ["zoom_in", "+", () => matrix.zoomBy(1.5)]];
    this.zoomRow = h("span.av-zoom", {}, buttons.map(([name, sign, run]) =>
      h("button", { type: "button", "aria-label": words(name), title: `${words(name)}. ${words("zoom_hint")}`, onclick: run }, sign)));
    return this.zoomRow;
  }

  makeExports() {
    const { page } = this;
    return h("span.av-export", {}, ["png", "svg"].map(type => h("button",
      { type: "button", "aria-label": `${page.words("export")} ${type.toUpperCase()}`, onclick: () => page.takePicture(type) }, type.toUpperCase())));
  }

  draw() {
    this.drawPicks();
    this.drawChecks();
    this.drawTabs();
  }

  drawPicks() {
    const { page, picks } = this, { words, about, trait } = page;
    const heads = trait("heads"), most = page.headsOf(trait("layer")), more = trait("more").length;
    options(picks.layer, about.layers.map(layer => [layer, String(layer)]), trait("layer"));
    options(picks.head, [...Array.from({ length: most }, (_, i) => [i, String(i)]), ["all", words("all_heads")],
      ...(more || (heads.length > 1 && heads.length < most) ? [["several", more ? words("several_heads", { count: heads.length + more }) : heads.join(", ")]] : [])],
    more ? "several" : heads.length === 1 ? heads[0] : heads.length === most ? "all" : "several");
    options(picks.combine, [["mean", words("mean_of")], ["max", words("max_of")]], trait("combine"));
    picks.combine.hidden = heads.length + more < 2;
    options(picks.part, about.parts.map(part => [part.name, page.partName(part)]), about.part);
    this.parting.hidden = !about.parts.length || page.offline;
    for (const one of this.choosing) one.hidden = page.isSimilarity;
    options(picks.score, [["", page.kindWords("thumbnails")], ...(about.has_maps ? [["matrices", words("matrices")]] : []), ...SCORE_NAMES.map(name => [name, words(`score_${name}`)])], trait("score"));
    options(picks.direction, ["all", "a_to_b", "b_to_a"].map(name => [name, page.kindWords(name)]), trait("direction"));
    this.directing.hidden = !about.has_pair;
    options(picks.shown, [["this", about.compares_models ? words("this_model") : page.kindWords("this")], ["other", words(about.compares_models ? "other_model" : "other")],
      ["difference", words("difference")]], trait("shown"));
    this.comparing.hidden = !about.compares;
  }

  drawChecks() {
    const { checks, page } = this, { about, trait } = page;
    for (const [name, { input }] of Object.entries(checks)) input.checked = trait(name);
    checks.renormalise.input.disabled = !trait("hide_special");
    checks.hide_special.element.hidden = !about.tokens.special.length;
    checks.renormalise.element.hidden = checks.hide_special.element.hidden || page.isSimilarity;
    checks.merge_words.element.hidden = new Set(about.tokens.words).size === about.tokens.words.length;
    checks.whole.element.hidden = !about.is_pooled || trait("view") === "maps" || page.offline;
    checks.whole.element.title = page.words("whole_why");
    checks.rollout.element.hidden = !about.has_rollout || trait("view") === "maps";
    this.limiting.hidden = trait("view") === "maps";   // each map is scaled to its own maximum
    for (const name of ["hide_special", "merge_words"]) checks[name].element.lastChild.textContent = page.kindWords(name);
  }

  drawTabs() {
    const mode = this.page.trait("view");
    for (const [name, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", String(name === mode));
      tab.setAttribute("tabindex", name === mode ? "0" : "-1");
    }
    this.tabs.maps.hidden = !this.page.about.has_maps && mode !== "maps";
    this.tabs.scores.hidden = this.page.isSimilarity && mode !== "scores";
    this.tabs.lens.hidden = !this.page.about.can_lens && mode !== "lens";
    this.tabs.heads.textContent = this.page.kindWords("heads");
    this.stage.setAttribute("aria-labelledby", this.tabs[mode].id);
    this.zoomRow.hidden = mode !== "matrix";
    this.headRow.hidden = this.lookRow.hidden = mode === "lens";   // the lens does not show heads
  }
}
