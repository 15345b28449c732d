// The events of a run, each with a sign and a sentence, and positions on the x axis as text.

import { readableNumber } from "./numbers.js";

export const MARKS = { learning_rate: "η", pause: "❚❚", resume: "▸", stop: "■", nonfinite: "!", error: "×", begin: "↻", save: "▲", best: "★", evaluate: "◆", note: "•", end: "■", alert: "⚑", spike: "↑", rows: "≡" };

/** Kinds of events that are shown as a sign on the axis rather than a line through the chart. */
export const QUIET = new Set(["save", "best", "evaluate", "end", "resume", "rows"]);

/** A value of an event or a setting as text. */
export function valueText(value) {
  return typeof value === "number" ? readableNumber(value) : String(value ?? "");
}

/** The events of a run, each with its sentence as `text`. */
export function marksOf(words, run) {
  return (run?.events ?? []).map(event => {
    const key = event.kind === "learning_rate" && event.with.replayed ? "event_learning_rate_again" : `event_${event.kind}`;
    const values = valuesOf(words, event), text = words(key, values);
    return { ...event, text: text === key ? [event.kind, ...Object.values(values)].join(" ") : text.replace(/\{\w+\}/g, "").trim() };
  });
}

function valuesOf(words, event) {
  const values = Object.fromEntries(Object.entries(event.with).map(([name, value]) => [name, valueText(value)]));
  if (event.kind === "evaluate") values.metrics = metricsText(event.with.metrics ?? {});
  if (event.kind === "end") {
    values.reason = words(`end_${String(event.with.reason ?? "finished").replaceAll(" ", "_")}`);
    values.kept = keptText(words, event.with);
  }
  return values;
}

function metricsText(metrics) {
  const shown = Object.entries(metrics).filter(([name]) => !/_runtime|_per_second|epoch/.test(name));
  return shown.map(([name, value]) => `${name} ${valueText(value)}`).join(", ");
}

/** Which weights the model has at the end. */
function keptText(words, { kept, checkpoint, metric, value }) {
  if (kept === "best checkpoint")
    return words("kept_best", { checkpoint: valueText(checkpoint).split("/").at(-1), metric: valueText(metric), value: valueText(value) });
  return kept ? words("kept_present") : "";
}

/** A position on the x axis as text: a step, or the time since the start. */
export function axisText(frame, x) {
  if (frame.axis !== "time") return Math.round(x).toLocaleString("en");
  const most = frame.x[1];
  if (most >= 7200) return `${readableNumber(x / 3600, 3)} h`;
  return most >= 120 ? `${readableNumber(x / 60, 3)} min` : `${readableNumber(x, 3)} s`;
}
