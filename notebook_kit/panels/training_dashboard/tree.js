// The branches of a run as a tree: a bar over the steps for each run, which begins on the bar of its parent.

import { fill, h } from "../shared/common.js";
import { lastText } from "./numbers.js";

export class Tree {
  constructor({ words }) {
    this.words = words;
    this.list = h("ul.td-tree-list");
    this.element = h("section.td-tree", { hidden: true, "aria-label": words("branches") }, h("h3", {}, words("branches")), this.list);
    this.drawn = "";
  }

  draw(runs) {
    const rows = ordered(runs), isTree = rows.some(row => row.parent);
    this.element.hidden = !isTree;
    if (!isTree) return;
    const most = Math.max(...runs.map(run => Math.max(run.live.max_steps ?? 0, run.live.step ?? 0)), 1);
    const state = JSON.stringify(rows.map(row => [row.run.key, row.run.name, row.run.live.status, row.run.live.step, most]));
    if (state === this.drawn) return;
    this.drawn = state;
    fill(this.list, rows.map((row, place) => this.item(row, place, rows, runs, most)));
  }

  item({ run, parent, depth }, place, rows, runs, most) {
    const { words } = this, loss = run.series.get("loss") ?? run.series.get("eval_loss");
    const first = parent ? run.facts.branched_at ?? 0 : 0, last = Math.max(first, run.live.step ?? 0);
    const up = parent ? place - rows.findIndex(row => row.run === parent) : 0;
    const parts = [parent ? words("tree_from", { step: first.toLocaleString("en") }) : null, words(`status_${run.live.status ?? "idle"}`), loss?.size ? words("loss_now", { value: lastText(words, loss) }) : null];
    return h("li.td-tree-row", { "data-run": run.key, style: { "--colour": `var(--td-${(2 * runs.indexOf(run)) % 8})`, "--up": up, "--depth": depth } },
      h("span.td-tree-name", {}, h("bdi", {}, run.name), h("span.faint", {}, parts.filter(Boolean).join(" · "))),
      h("span.td-tree-track", { "aria-hidden": "true" },
        parent ? h("i.td-tree-elbow", { style: { left: `${first / most * 100}%` } }) : null,
        h("i.td-tree-bar", { style: { left: `${first / most * 100}%`, width: `${Math.max(0.5, (last - first) / most * 100)}%` } })));
  }
}

/** The runs, each after its parent, as `{ run, parent, depth }`. */
function ordered(runs) {
  const rows = [], byKey = new Map(runs.map(run => [run.key, run])), parentOf = run => byKey.get(run.live.parent);
  const add = (run, depth) => {
    if (rows.some(row => row.run === run)) return;
    rows.push({ run, parent: parentOf(run), depth });
    runs.filter(one => parentOf(one) === run).forEach(one => add(one, depth + 1));
  };
  runs.filter(run => !parentOf(run)).forEach(run => add(run, 0));
  return rows;
}
