// Probes: what the model said of a few examples at some steps, as curves and at one step that a slider chooses.

import { colourScale, fill, h, s } from "../shared/common.js";
import { swatch } from "./chart.js";
import { readableNumber } from "./store.js";

export function probesView(view, ask) {
  const { words } = view;
  const title = h("h3", {}, words("probes"));
  const pick = h("select", { "aria-label": words("probe"), onchange: () => { example = Number(pick.value); draw(run); } });
  const text = h("p.td-probe-text", { dir: "auto" });
  const slider = h("input.td-probe-slider", { type: "range", min: "0", max: "0", value: "0", "aria-label": words("probe_step"),
    oninput: () => { at = Number(slider.value) === Number(slider.max) ? null : Number(slider.value); draw(run); } });
  const stepSaid = h("output");
  const curves = s("svg", { "class": "nk-td-probe-curves", "aria-hidden": "true", preserveAspectRatio: "none", viewBox: "0 0 400 90" });
  const table = h("div.td-probe-table");
  const map = h("canvas.td-probe-map", { role: "img" }), mapBox = h("figure.td-probe-attention", { hidden: true }, map, h("figcaption.faint"));
  const element = h("section.td-probes", { hidden: true, "aria-label": words("probes") },
    h("div.row", {}, title, pick), text,
    h("div.td-probe-main", {}, h("div.td-probe-left", {}, curves, h("div.row.td-probe-scrub", {}, slider, stepSaid), table), mapBox));
  let run = null, example = 0, at = null, drawn = "", shownMap = "";
  const scale = colourScale();

  const drawMap = async (taken, row) => {
    mapBox.hidden = !row.size;
    if (!row.size) return;
    const wanted = `${taken.step} ${example}`;
    if (wanted === shownMap) return;
    shownMap = wanted;
    const answer = await ask("probe_attention", { step: taken.step, example });
    if (!answer || shownMap !== wanted) return;
    const { size } = answer.values, bytes = new Uint8Array(answer.buffers[0].buffer, answer.buffers[0].byteOffset, size * size);
    const pixels = new ImageData(size, size);
    bytes.forEach((value, i) => pixels.data.set([...scale[value], 255], i * 4));
    map.width = map.height = size;
    map.getContext("2d").putImageData(pixels, 0, 0);
    map.setAttribute("aria-label", words("probe_map", { step: taken.step }));
    mapBox.lastChild.textContent = words("probe_map", { step: taken.step.toLocaleString("en") });
  };

  const draw = next => {
    run = next;
    const probes = run?.probes ?? [], names = run?.facts?.probes ?? [];
    element.hidden = !probes.length;
    if (!probes.length) return;
    const count = probes.at(-1).rows.length;
    example = Math.min(example, count - 1);
    const options = Array.from({ length: count }, (_, i) => names[i] ?? words("probe_number", { number: i + 1 }));
    if (pick.options.length !== count || options.some((name, i) => pick.options[i].dataset.name !== name))
      fill(pick, options.map((name, i) => h("option", { value: String(i), "data-name": name }, `${i + 1} · ${name.length > 60 ? `${name.slice(0, 59)}…` : name}`)));
    pick.value = String(example);
    pick.hidden = count < 2;
    slider.max = String(probes.length - 1);
    const place = Math.min(at ?? probes.length - 1, probes.length - 1), taken = probes[place], row = taken.rows[example];
    if (document.activeElement !== slider || at === null) slider.value = String(place);
    slider.setAttribute("aria-valuetext", words("step_at", { step: taken.step }));
    stepSaid.textContent = words("step_at", { step: taken.step.toLocaleString("en") });
    text.textContent = options[example];
    const state = `${probes.length} ${place} ${example} ${taken.step}`;
    if (state !== drawn) {
      drawn = state;
      const first = probes[0].step, last = probes.at(-1).step, x = step => 4 + (step - first) / (last - first || 1) * 392;
      const values = probes.flatMap(one => one.rows[example]?.values ?? []).filter(value => value !== null);
      const [low, high] = row.kind === "numbers" ? [Math.min(...values), Math.max(...values)] : [0, 1], y = value => 84 - (value - low) / (high - low || 1) * 78;
      const path = label => probes.map(one => {
        const i = one.rows[example]?.labels.indexOf(label) ?? -1;
        return i < 0 || one.rows[example].values[i] === null ? null : `${x(one.step).toFixed(1)} ${y(one.rows[example].values[i]).toFixed(1)}`;
      }).filter(Boolean).join("L");
      fill(curves, s("line", { x1: x(taken.step), x2: x(taken.step), y1: 2, y2: 88, "class": "nk-td-cursor" }),
        row.labels.slice(0, 6).map((label, i) => s("path", { d: path(label) && `M${path(label)}`, "class": "nk-td-line", "stroke-dasharray": [null, "7 4", "2 3", "10 3 2 3"][i % 4], "vector-effect": "non-scaling-stroke", style: { stroke: `var(--td-${i})` } })));
      const start = probes[0].rows[example];
      fill(table, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words(`probe_${row.kind}`)), h("th", { scope: "col" }, words("value")), h("th", { scope: "col" }, words("since_start")))),
        h("tbody", {}, row.labels.map((label, i) => {
          const before = start.labels.indexOf(label), value = row.values[i], moved = before < 0 || value === null || start.values[before] === null ? null : value - start.values[before];
          return h("tr", {}, h("th", { scope: "row" }, i < 6 ? swatch({ colour: i, dash: [null, "7 4", "2 3", "10 3 2 3"][i % 4] }) : null, " ", h("bdi", {}, label)),
            h("td.td-probe-number", {}, row.kind === "numbers" ? null : h("span.td-probe-bar", { "aria-hidden": "true", style: { "--part": String(Math.max(0, Math.min(1, value ?? 0))) } }),
              h("span", {}, value === null ? words("not_finite_short") : row.kind === "numbers" ? readableNumber(value) : value.toFixed(3))),
            h("td", {}, moved === null ? "–" : `${moved >= 0 ? "+" : "−"}${Math.abs(moved).toFixed(3)}`));
        }))));
    }
    drawMap(taken, row);
  };
  return { element, draw };
}
