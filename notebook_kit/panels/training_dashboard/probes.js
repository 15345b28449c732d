// Probes: the predictions for a few examples over the run as curves, and at one step selected with a slider.

import { colourScale, fill, h, s } from "../shared/common.js";
import { readableNumber } from "./numbers.js";
import { PROBE_DASHES, swatch } from "./swatch.js";

const MOST_CURVES = 6;
const WIDTH = 400;
const HEIGHT = 90;

export class Probes {
  /** `ask(kind, values)` sends a request to Python. */
  constructor({ words }, ask) {
    this.words = words;
    this.run = null;
    this.example = 0;
    this.at = null;      // the index of the probe at the slider; null: the newest
    this.drawn = "";     // the state that the curves and the table show
    this.map = new AttentionMap(words, ask);
    this.pick = h("select", { "aria-label": words("probe"), onchange: () => { this.example = Number(this.pick.value); this.draw(this.run); } });
    this.text = h("p.td-probe-text", { dir: "auto" });
    this.slider = h("input.td-probe-slider", { type: "range", min: "0", max: "0", value: "0", "aria-label": words("probe_step"), oninput: () => this.onSlide() });
    this.stepText = h("output");
    this.curves = s("svg", { "class": "nk-td-probe-curves", "aria-hidden": "true", preserveAspectRatio: "none", viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
    this.table = h("div.td-probe-table");
    this.element = h("section.td-probes", { hidden: true, "aria-label": words("probes") },
      h("div.row", {}, h("h3", {}, words("probes")), this.pick), this.text,
      h("div.td-probe-main", {},
        h("div.td-probe-left", {}, this.curves, h("div.row.td-probe-scrub", {}, this.slider, this.stepText), this.table),
        this.map.element));
  }

  onSlide() {
    const place = Number(this.slider.value);
    this.at = place === Number(this.slider.max) ? null : place;
    this.draw(this.run);
  }

  draw(run) {
    const probes = run?.probes ?? [];
    this.run = run;
    this.element.hidden = !probes.length;
    if (!probes.length) return;
    this.drawPick(probes.at(-1).rows.length, run.facts?.probes ?? []);
    const newest = probes.length - 1, place = Math.min(this.at ?? newest, newest), probe = probes[place];
    this.drawSlider(newest, place, probe.step);
    const state = `${probes.length} ${place} ${this.example} ${probe.step}`;
    if (state !== this.drawn) {
      this.drawn = state;
      const examples = probes.map(({ step, rows }) => ({ step, row: rows[this.example] }));
      fill(this.curves, curveShapes(examples, probe.step, probe.rows[this.example]));
      fill(this.table, valueTable(this.words, probe.rows[this.example], examples[0].row));
    }
    this.map.draw(probe.step, this.example, probe.rows[this.example].size);
  }

  drawPick(count, names) {
    const options = Array.from({ length: count }, (_, i) => names[i] ?? this.words("probe_number", { number: i + 1 }));
    this.example = Math.min(this.example, count - 1);
    if (this.pick.options.length !== count || options.some((name, i) => this.pick.options[i].dataset.name !== name))
      fill(this.pick, options.map((name, i) => h("option", { value: String(i), "data-name": name }, `${i + 1} · ${name.length > 60 ? `${name.slice(0, 59)}…` : name}`)));
    this.pick.value = String(this.example);
    this.pick.hidden = count < 2;
    this.text.textContent = options[this.example];
  }

  drawSlider(newest, place, step) {
    this.slider.max = String(newest);
    if (document.activeElement !== this.slider || this.at === null) this.slider.value = String(place);
    this.slider.setAttribute("aria-valuetext", this.words("step_at", { step }));
    this.stepText.textContent = this.words("step_at", { step: step.toLocaleString("en") });
  }
}

/** The value of each label over the steps, and a line at the current step. */
function curveShapes(examples, current, { kind, labels }) {
  const first = examples[0].step, span = examples.at(-1).step - first || 1;
  const values = examples.flatMap(({ row }) => row?.values ?? []).filter(value => value !== null);
  const [low, high] = kind === "numbers" ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const x = step => 4 + (step - first) / span * (WIDTH - 8), y = value => HEIGHT - 6 - (value - low) / (high - low || 1) * (HEIGHT - 12);
  const path = label => examples.flatMap(({ step, row }) => {
    const value = row?.values[row.labels.indexOf(label)] ?? null;
    return value === null ? [] : [`${x(step).toFixed(1)} ${y(value).toFixed(1)}`];
  }).join("L");
  return [
    s("line", { x1: x(current), x2: x(current), y1: 2, y2: HEIGHT - 2, "class": "nk-td-cursor" }),
    labels.slice(0, MOST_CURVES).map((label, i) => s("path", {
      d: path(label) && `M${path(label)}`, "class": "nk-td-line", "stroke-dasharray": PROBE_DASHES[i % PROBE_DASHES.length],
      "vector-effect": "non-scaling-stroke", style: { stroke: `var(--td-${i})` },
    })),
  ];
}

/** The values of an example, and how much they have changed since `start`. */
function valueTable(words, { kind, labels, values }, start) {
  const heads = [words(`probe_${kind}`), words("value"), words("since_start")];
  const line = (label, i) => {
    const value = values[i], before = start.values[start.labels.indexOf(label)] ?? null;
    const text = kind === "numbers" ? readableNumber(value) : value?.toFixed(3);
    return h("tr", {},
      h("th", { scope: "row" }, i < MOST_CURVES ? swatch({ colour: i, dash: PROBE_DASHES[i % PROBE_DASHES.length] }) : null, " ", h("bdi", {}, label)),
      h("td.td-probe-number", {},
        kind === "numbers" ? null : h("span.td-probe-bar", { "aria-hidden": "true", style: { "--part": String(Math.max(0, Math.min(1, value ?? 0))) } }),
        h("span", {}, value === null ? words("not_finite_short") : text)),
      h("td", {}, value === null || before === null ? "–" : changeText(value - before)));
  };
  return h("table", {}, h("thead", {}, h("tr", {}, heads.map(text => h("th", { scope: "col" }, text)))), h("tbody", {}, labels.map(line)));
}

function changeText(change) {
  return `${change >= 0 ? "+" : "−"}${Math.abs(change).toFixed(3)}`;
}

/** The attention of one head on an example as a picture, requested from Python when first shown. */
class AttentionMap {
  constructor(words, ask) {
    Object.assign(this, { words, ask });
    this.canvas = h("canvas.td-probe-map", { role: "img" });
    this.caption = h("figcaption.faint");
    this.element = h("figure.td-probe-attention", { hidden: true }, this.canvas, this.caption);
    this.scale = colourScale();
    this.shown = "";
  }

  /** `size`: number of tokens in the example; undefined if its attention was not recorded. */
  async draw(step, example, size) {
    const wanted = `${step} ${example}`;
    this.element.hidden = !size;
    if (!size || wanted === this.shown) return;
    this.shown = wanted;
    const answer = await this.ask("probe_attention", { step, example });
    if (!answer || this.shown !== wanted) return;
    this.paint(answer.values.size, answer.buffers[0]);
    this.canvas.setAttribute("aria-label", this.words("probe_map", { step }));
    this.caption.textContent = this.words("probe_map", { step: step.toLocaleString("en") });
  }

  paint(size, buffer) {
    const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, size * size), pixels = new ImageData(size, size);
    bytes.forEach((value, i) => pixels.data.set([...this.scale[value], 255], i * 4));
    this.canvas.width = this.canvas.height = size;
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
  }
}
