// Tiles: each metric as a small chart with its last value, which is also a button that shows it in the large chart.

import { fill, h, roving, s } from "../shared/common.js";
import { groupsOf, isMain, linesFor, nameOf } from "./metrics.js";
import { lastText } from "./numbers.js";

const WIDTH = 110;
const HEIGHT = 26;
const MOST_POINTS = 60;

/** The small charts, the less important ones in a fold. `opened`: names of the open folds; `onPick(group)` is called by a click. */
export class Tiles {
  constructor({ words }, opened, onPick) {
    Object.assign(this, { words, onPick });
    this.main = h("div.td-tiles", { role: "group", "aria-label": words("metrics") });
    this.others = h("div.td-rest", { role: "group", "aria-label": words("more_metrics") });
    this.isFilling = false;   // the fold is open because none of the main metrics has a value yet
    const onToggle = () => { if (this.more.open && !this.isFilling) opened.add("tiles"); else opened.delete("tiles"); };
    this.more = h("details.td-more", { open: opened.has("tiles"), ontoggle: onToggle }, h("summary"), this.others);
    this.element = h("div", {}, this.main, this.more);
    this.tiles = new Map();   // metric -> its elements
    this.resetTabStops = [this.main, this.others].map(one => roving(one, ".nk-td-tile"));
  }

  draw(run, shown) {
    const groups = run ? groupsOf([run]) : [];
    if (groups.length !== this.tiles.size || groups.some(group => !this.tiles.has(group))) this.setGroups(groups);
    this.element.hidden = !groups.length;
    for (const [group, tile] of this.tiles) this.drawTile(tile, linesFor([run], group, this.words), group === shown);
  }

  setGroups(groups) {
    this.tiles = new Map(groups.map(group => [group, this.tiles.get(group) ?? this.makeTile(group)]));
    const focused = document.activeElement, others = groups.filter(group => !isMain(group));
    const buttons = names => names.map(group => this.tiles.get(group).button);
    fill(this.main, buttons(groups.filter(isMain)));
    fill(this.others, buttons(others));
    this.main.hidden = !this.main.childElementCount;
    this.more.hidden = !others.length;
    if (this.main.hidden) {
      this.isFilling ||= !this.more.open;
      this.more.open = true;
    } else if (this.isFilling) {
      this.isFilling = this.more.open = false;
    }
    this.more.firstChild.textContent = this.words("more_count", { count: others.length });
    if (this.element.contains(focused)) focused.focus();
    this.resetTabStops.forEach(reset => reset());
  }

  makeTile(group) {
    const value = h("span.td-tile-value"), more = h("span.td-tile-more");
    const paths = [0, 1].map(check => s("path", { "class": "nk-td-spark", style: { stroke: `var(--td-${check})` }, "stroke-dasharray": check ? "4 3" : null }));
    const drawing = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, paths);
    const button = h("button.td-tile", { type: "button", "aria-pressed": "false", "data-metric": group, onclick: () => this.onPick(group) },
      h("bdi.td-tile-name", {}, nameOf(this.words, group)), value, drawing, more);
    return { button, value, more, paths };
  }

  drawTile(tile, lines, isShown) {
    const [main] = lines, check = lines.find(one => one.dots), train = lines.find(one => !one.dots);
    tile.value.textContent = main ? lastText(this.words, main.series) : "–";
    tile.more.textContent = check && check !== main ? this.words("tile_eval", { value: lastText(this.words, check.series) }) : "";
    [train, check].forEach((line, i) => tile.paths[i].setAttribute("d", line ? sparkline(line.series) : ""));
    tile.button.setAttribute("aria-pressed", String(isShown));
  }
}

/** A series as the path of a small chart. */
function sparkline(series) {
  if ((series.least?.[0] ?? null) === null || series.size < 2) return "";
  const points = fewPoints(series);
  if (points.length < 2) return "";
  const values = points.map(([, value]) => value);
  const first = points[0][0], span = points.at(-1)[0] - first || 1, least = Math.min(...values), room = Math.max(...values) - least || 1;
  const x = step => 2 + (step - first) / span * (WIDTH - 4), y = value => HEIGHT - 3 - (value - least) / room * (HEIGHT - 6);
  return `M${points.map(([step, value]) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`;
}

/** Averages of neighbouring buckets as `[step, value]`, at most `MOST_POINTS` of them. */
function fewPoints(series) {
  const stride = Math.max(1, Math.ceil(series.size / MOST_POINTS)), points = [];
  for (let from = 0; from < series.size; from += stride) {
    const end = Math.min(series.size, from + stride);
    const finite = [...series.mean.subarray(from, end)].filter(Number.isFinite);
    if (finite.length) points.push([series.step[end - 1], finite.reduce((a, b) => a + b) / finite.length]);
  }
  return points;
}
