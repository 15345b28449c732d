// Every metric as a small chart with its last value: what there is at one glance, and what the large chart may show.

import { fill, h, roving, s } from "../shared/common.js";
import { lastText } from "./store.js";

const TD_ORDER = ["loss", "*", "learning_rate", "grad_norm", "step_time", "samples_per_second", "tokens_per_second", "memory", "gpu_memory", "logged_loss"];

const groupOf = name => name.replace(/^eval_/, "");

/** The metrics of some runs, those of one chart under one name, in the order in which a reader wants them. */
export function groupsOf(runs) {
  const names = new Set(runs.flatMap(run => [...run.series.keys()].map(groupOf)));
  const rank = name => {
    const place = TD_ORDER.indexOf(name);
    if (place >= 0) return place;
    return /_runtime$|_per_second$|^train_/.test(name) ? TD_ORDER.length : TD_ORDER.indexOf("*");
  };
  return [...names].sort((a, b) => rank(a) - rank(b));
}

/** What a metric is called: in the words of the interface, or by its own name. */
export function nameOf(words, name) {
  const said = words(`name_${name}`);
  return said === `name_${name}` ? name : said;
}

/** The lines of one chart: of each run its series of this name, and the one with "eval_" before it. */
export function linesFor(runs, group, words) {
  return runs.flatMap((run, number) => [group, `eval_${group}`].flatMap((name, check) => {
    const series = run.series.get(name);
    if (!series?.size) return [];
    const best = check && series.better ? (series.better === "lower" ? series.least : series.greatest) : null;
    const own = check ? words("name_eval", { name: nameOf(words, group) }) : nameOf(words, group);
    return [{ key: `${run.key} ${name}`, run, name, series, best: best && Number.isFinite(best[0]) ? best : null, label: runs.length > 1 ? `${run.name} · ${own}` : own,
      colour: (2 * number + check) % 8, dash: [[null, "7 4"], ["10 3 2 3", "2 3"]][Math.min(number, 1)][check], dots: !!check, smooth: !check, start: check ? undefined : 1 }];
  }));
}

function sparkline(one, width = 110, height = 26) {
  const { series } = one, low = series.least?.[0];
  if (low === undefined || low === null || series.size < 2) return "";
  const values = series.mean, most = 60, stride = Math.max(1, Math.ceil(series.size / most)), parts = [];
  let least = Infinity, greatest = -Infinity;
  const points = [];
  for (let from = 0; from < series.size; from += stride) {
    let sum = 0, count = 0;
    for (let i = from; i < Math.min(series.size, from + stride); i++) if (Number.isFinite(values[i])) { sum += values[i]; count++; }
    if (!count) continue;
    const value = sum / count;
    least = Math.min(least, value); greatest = Math.max(greatest, value);
    points.push([series.step[Math.min(series.size - 1, from + stride - 1)], value]);
  }
  if (points.length < 2) return "";
  const first = points[0][0], last = points.at(-1)[0], span = greatest - least || 1;
  for (const [step, value] of points)
    parts.push(`${(2 + (step - first) / (last - first || 1) * (width - 4)).toFixed(1)} ${(height - 3 - (value - least) / span * (height - 6)).toFixed(1)}`);
  return `M${parts.join("L")}`;
}

/** The row of small charts. `onPick(group)` when one is chosen. */
export function tilesView(view, onPick) {
  const { words } = view;
  const element = h("div.td-tiles", { role: "group", "aria-label": words("metrics") });
  const tiles = new Map();
  const tabStops = roving(element, ".nk-td-tile");
  const make = group => {
    const tile = {
      group, value: h("span.td-tile-value"), more: h("span.td-tile-more"),
      paths: [0, 1].map(check => s("path", { "class": "nk-td-spark", style: { stroke: `var(--td-${check})` }, "stroke-dasharray": check ? "4 3" : null })),
    };
    tile.button = h("button.td-tile", { type: "button", "aria-pressed": "false", "data-metric": group, onclick: () => onPick(group) },
      h("bdi.td-tile-name", {}, nameOf(words, group)), tile.value,
      s("svg", { viewBox: "0 0 110 26", preserveAspectRatio: "none", "aria-hidden": "true" }, tile.paths), tile.more);
    return tile;
  };
  return {
    element,
    draw(run, shown) {
      const groups = run ? groupsOf([run]) : [];
      if (groups.length !== tiles.size || groups.some(group => !tiles.has(group))) {
        for (const group of [...tiles.keys()]) if (!groups.includes(group)) tiles.delete(group);
        for (const group of groups) if (!tiles.has(group)) tiles.set(group, make(group));
        const focused = document.activeElement;
        fill(element, groups.map(group => tiles.get(group).button));
        if (element.contains(focused)) focused.focus();
        tabStops();
      }
      element.hidden = !groups.length;
      for (const tile of tiles.values()) {
        const lines = linesFor([run], tile.group, words), [main] = lines, check = lines.find(one => one.dots);
        tile.value.textContent = main ? lastText(words, main.series) : "–";
        tile.more.textContent = check && check !== main ? words("tile_eval", { value: lastText(words, check.series) }) : "";
        tile.paths.forEach((path, i) => path.setAttribute("d", lines.find(one => one.dots === !!i) ? sparkline(lines.find(one => one.dots === !!i)) : ""));
        tile.button.setAttribute("aria-pressed", String(tile.group === shown));
      }
    },
  };
}
