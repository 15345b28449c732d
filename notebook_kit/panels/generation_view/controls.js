// How tokens are chosen: the settings of the next generation.

import { debounced, fill, h } from "../shared/common.js";

/** The form of the settings, bound to the traits. */
export function settingsView(model, view) {
  const { words } = view;
  const inputs = {}, ranges = {};
  const save = debounced(80, () => model.save_changes());
  const put = (name, value) => { model.set(name, value); save(); };
  const limits = { temperature: [0.05, 5, 0.05], top_k: [0, 100000, 1], top_p: [0, 1, 0.01], repetition_penalty: [0.5, 3, 0.05], max_new_tokens: [1, 4096, 1], seed: [0, 2 ** 31 - 1, 1] };
  const slides = { temperature: [0.05, 2], top_p: [0, 1] };
  const field = name => {
    const [low, high, step] = limits[name];
    const take = (text, isDone) => {
      const value = Number(text);
      if (text !== "" && Number.isFinite(value) && value >= low && value <= high) {
        put(name, step === 1 ? Math.round(value) : value);
        if (name === "seed") { put("pinned", true); draw(); }
      }
      else if (isDone) draw();                 // an invalid value is replaced by the current one
    };
    inputs[name] = h("input", { type: "number", min: low, max: high, step, inputmode: "decimal", "data-name": name, oninput: event => take(event.target.value, false), onchange: event => take(event.target.value, true) });
    if (slides[name]) ranges[name] = h("input", { type: "range", min: slides[name][0], max: slides[name][1], step, "aria-label": words(name), oninput: event => put(name, Number(event.target.value)) });
    return h("div.gv-field", {}, h("label", {}, h("span", {}, words(name)), inputs[name]), ranges[name] ?? null, h("p.faint", {}, words(`why_${name}`)));
  };
  const ways = [false, true].map(value => h("input", { type: "radio", name: `way-${Math.random().toString(36).slice(2)}`, onchange: () => { put("do_sample", value); draw(); } }));
  ways[1].name = ways[0].name;
  const dice = h("button.gv-dice", { type: "button", title: words("new_seed"), "aria-label": words("new_seed"), onclick: () => { put("seed", Math.floor(Math.random() * 1e6)); draw(); } }, "⚄");
  const sampling = ["temperature", "top_k", "top_p"].map(field), seed = field("seed");
  seed.querySelector("label").after(dice);
  const pin = h("input", { type: "checkbox", onchange: () => put("pinned", pin.checked) });
  seed.lastChild.before(h("label.gv-pin", {}, pin, h("span", {}, words("pin_seed"))));
  const drawing = h("fieldset.gv-sampling", {}, sampling, seed);
  const rules = h("p.gv-rules.faint");
  const element = h("fieldset.gv-settings", {}, h("legend", {}, words("settings")),
    h("div.gv-ways", { role: "radiogroup", "aria-label": words("way") }, [["greedy", 0], ["sample", 1]].map(([name, i]) => h("label", {}, ways[i], h("span", {}, words(name))))),
    drawing, field("repetition_penalty"), field("max_new_tokens"), rules);
  const round = value => String(Number(value.toFixed(3)));
  const draw = () => {
    ways.forEach((way, i) => { way.checked = Boolean(model.get("do_sample")) === Boolean(i); });
    pin.checked = Boolean(model.get("pinned"));
    drawing.disabled = !model.get("do_sample");
    for (const [name, input] of Object.entries(inputs)) {
      if (document.activeElement !== input || Number(input.value) !== model.get(name)) input.value = round(model.get(name));
      if (ranges[name]) ranges[name].value = String(model.get(name));
    }
    element.disabled = Boolean(model.offline);
    const own = Object.entries(model.get("_about")?.rules ?? {}).map(([name, value]) => `${name} ${value}`);
    rules.hidden = !own.length;
    fill(rules, words("rules", { rules: own.join(", ") }));
  };
  return { element, draw, flush: () => { save.stop(); model.save_changes(); }, stop: save.stop };
}
