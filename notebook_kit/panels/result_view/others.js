// Texts beside their source, vectors as a heat map, and answers of any other form.

import { h } from "../shared/common.js";

export class TextStage {
  constructor(view, { things, source }) {
    const { words } = view;
    const counted = text => words("count_words", { count: text.split(/\s+/).filter(Boolean).length });
    const column = (name, text, ...content) => h("section.rv-column", {},
      h("h4", {}, words(name), " ", h("span.faint", {}, counted(text))), h("p.rv-marked", { dir: "auto" }, content.length ? content : text));
    const written = things.map(({ label }) => (source && label.startsWith(source)
      ? column("written", label, h("span.faint", {}, source), label.slice(source.length))
      : column("written", label)));
    const isContinued = things.length > 0 && things.every(({ label }) => source && label.startsWith(source));
    this.element = h("div.rv-columns", {}, source && !isContinued ? column("source", source) : null, h("div.rv-written", {}, written));
  }
}

export class FeatureStage {
  constructor(view, { facts, shown }, [picture]) {
    const { words } = view;
    this.address = URL.createObjectURL(new Blob([picture], { type: "image/png" }));
    this.element = h("figure.rv-features", {},
      h("img.rv-heat", { src: this.address, alt: words("alt_features", { listed: "" }) }),
      h("figcaption", {}, h("p", {}, words("features_facts", facts)),
        shown[0] < facts.rows || shown[1] < facts.columns ? h("p.faint", {}, words("features_cut", { rows: shown[0], columns: shown[1] })) : null));
  }

  end() { URL.revokeObjectURL(this.address); }
}

export class PlainStage {
  constructor(view, { text, problem }) {
    this.element = h("div.rv-text", {},
      problem.what ? h("div.rv-problem", { role: "note" }, h("p", {}, problem.what), problem.next_step ? h("p", {}, "→ ", problem.next_step) : null) : null,
      text ? h("pre.rv-plain", { tabindex: "0", role: "region", "aria-label": view.words("title") }, text) : null);
  }
}
