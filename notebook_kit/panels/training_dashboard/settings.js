// The bar above the chart: how it is drawn, its zoom, and the buttons for saving it.

import { debounced, h } from "../shared/common.js";

const WEIGHT_DECADES = 2.5;

// An average spans 1 / (1 - weight) points; equal steps of the slider are equal steps of the logarithm of that number.
function weightOf(place) {
  return Number((1 - 10 ** (-place / 100 * WEIGHT_DECADES)).toFixed(4));
}

function placeOfWeight(weight) {
  return Math.round(-Math.log10(1 - Math.min(0.9968, weight)) / WEIGHT_DECADES * 100);
}

/**
 * `onSet(name, value)` is called to change a trait, `onZoom(times)` to scale the visible range (null: show everything),
 * `onSave(type)` to save the chart as "png" or "svg".
 */
export class ChartSettings {
  constructor({ words }, { onSet, onZoom, onSave }) {
    Object.assign(this, { words, onZoom, onSave });
    this.heading = h("h3.td-heading");
    this.weight = h("input", { type: "range", min: "0", max: "100", step: "1", "aria-label": words("smoothing"), oninput: () => this.onWeight() });
    this.weightText = h("output.td-weight");
    this.setWeight = debounced(30, value => onSet("smoothing", value));
    this.log = h("input", { type: "checkbox", onchange: () => onSet("log_scale", this.log.checked) });
    this.axis = h("select", { "aria-label": words("axis"), onchange: () => onSet("axis", this.axis.value) },
      ["step", "time"].map(value => h("option", { value }, words(`axis_${value}`))));
    this.reset = h("button", { type: "button", disabled: true, onclick: () => onZoom(null) }, words("zoom_reset"));
    this.element = this.bar();
  }

  bar() {
    const { words } = this;
    const zoomButton = (name, sign, times) => h("button.td-small", { type: "button", "aria-label": words(name), title: words(name), onclick: () => this.onZoom(times) }, sign);
    const saveButton = type => h("button", { type: "button", "aria-label": `${words("export")} ${type.toUpperCase()}`, onclick: () => this.onSave(type) }, type.toUpperCase());
    return h("div.row.td-bar-row", {}, this.heading, h("span.td-space"),
      h("label.td-check", {}, h("span", {}, words("smoothing")), this.weight, this.weightText),
      h("label.td-check", {}, this.log, h("span", {}, words("log_scale"))),
      h("label.td-check", {}, h("span", {}, words("axis")), this.axis),
      h("span.td-zoom", {}, zoomButton("zoom_out", "−", 1 / 0.6), zoomButton("zoom_in", "+", 0.6), this.reset),
      h("span.td-export", {}, ["png", "svg"].map(saveButton)));
  }

  onWeight() {
    const weight = weightOf(Number(this.weight.value));
    this.setWeight(weight);
    this.weightText.textContent = weight.toFixed(2);
  }

  draw(title, { smoothing, log, axis }) {
    this.heading.textContent = title;
    if (document.activeElement !== this.weight) { this.weight.value = String(placeOfWeight(smoothing)); this.weightText.textContent = smoothing.toFixed(2); }
    this.log.checked = log;
    this.axis.value = axis;
  }

  end() {
    this.setWeight.stop();
  }
}
