// The list of branches, the newest first.

import { fill, h } from "../shared/common.js";
import { visible } from "../shared/letters.js";

const PROMPT_CHARACTERS = 40;

/** The list; `onShow(number)` is called when a branch is chosen. */
export class BranchList {
  constructor(view, onShow) {
    [this.words, this.onShow] = [view.words, onShow];
    this.element = h("section.gv-branches", { "aria-label": this.words("branches"), hidden: true });
    this.drawn = [];
  }

  /** Draw the list if it has changed; otherwise it stays, because a click on it may be in progress. */
  draw(lines, shown) {
    this.element.hidden = lines.length < 2;
    if (this.element.hidden || (this.drawn[0] === lines && this.drawn[1] === shown)) return;
    this.drawn = [lines, shown];
    const focused = this.element.contains(document.activeElement) ? document.activeElement.dataset.branch : null;
    fill(this.element, h("h3", {}, this.words("branches")), h("ol.gv-list", {}, [...lines].reverse().map(line => h("li", {}, this.line(line, shown)))));
    if (focused) this.element.querySelector(`[data-branch="${focused}"]`)?.focus();
  }

  line(line, shown) {
    const { words } = this, isRoot = line.parent === null;
    const prompt = line.prompt.slice(0, PROMPT_CHARACTERS) + (line.prompt.length > PROMPT_CHARACTERS ? "…" : "");
    const start = isRoot ? words("branch_root", { prompt }) : words("branch_from", { parent: line.parent, place: line.fork });
    const perplexity = line.perplexity === null ? null : words("perplexity_is", { value: line.perplexity.toFixed(2) });
    const tokens = line.tokens.flatMap((token, i) => (i || isRoot ? visible(token) : [h("b", {}, visible(token))]));
    return h("button.gv-branch",
      { type: "button", "data-branch": line.branch, "aria-current": line.branch === shown ? "true" : null, onclick: () => this.onShow(line.branch) },
      h("span.gv-branch-number", {}, String(line.branch)),
      h("span.gv-branch-text", {}, h("span.faint", {}, `${start} `),
        h("span.gv-branch-tokens", { dir: "auto" }, tokens, line.count - line.fork > line.tokens.length ? " …" : "")),
      h("span.gv-branch-facts.faint", {}, [words("count_tokens", { count: line.count }), perplexity].filter(Boolean).join(" · ")));
  }
}
