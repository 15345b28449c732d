// Metrics: which of them share a chart, their names, and the style of their lines.

const ORDER = ["loss", "*", "learning_rate", "grad_norm", "step_time", "samples_per_second", "tokens_per_second", "memory", "gpu_memory", "logged_loss"];
const EVALUATION_SPEED = /^eval_.*(runtime|_per_second|compilation_time)$/;   // not a validation of the training's speed
const DASHES = [[null, "7 4"], ["10 3 2 3", "2 3"]];   // of the first run, of the others: [training, evaluation]

/** The metric whose chart shows a series: its name without the prefix "eval_"; that of the speed of an evaluation stays. */
export function groupOf(name) {
  return EVALUATION_SPEED.test(name) ? name : name.replace(/^eval_/, "");
}

/** Whether a metric is among those shown first: losses, what an evaluation measures, and the learning rate. */
export function isMain(group) {
  return ORDER.indexOf(group) < 0 ? !isSpeed(group) : group === "loss" || group === "learning_rate";
}

function isSpeed(name) {
  return /_runtime$|_per_second$|_time$|^train_/.test(name);
}

/** The metrics of some runs without the prefix "eval_", in the order shown. */
export function groupsOf(runs) {
  const names = new Set(runs.flatMap(run => [...run.series.keys()].map(groupOf)));
  const rank = name => {
    const place = ORDER.indexOf(name);
    if (place >= 0) return place;
    return isSpeed(name) ? ORDER.length : ORDER.indexOf("*");
  };
  return [...names].sort((a, b) => rank(a) - rank(b));
}

/** The name of a metric in the language of the interface, or its own name if there is none. */
export function nameOf(words, name) {
  const text = words(`name_${name}`);
  return text === `name_${name}` ? name : text;
}

/** The lines of one chart: for each run, the series with this name and the one with "eval_" in front. */
export function linesFor(runs, group, words) {
  const names = EVALUATION_SPEED.test(group) || EVALUATION_SPEED.test(`eval_${group}`) ? [group] : [group, `eval_${group}`];
  return runs.flatMap((run, number) => names.flatMap((name, check) => {
    const series = run.series.get(name);
    if (!series?.size) return [];
    const own = check ? words("name_eval", { name: nameOf(words, group) }) : nameOf(words, group);
    return [{
      key: `${run.key} ${name}`, run, name, series,
      best: check ? bestOf(series) : null,
      label: runs.length > 1 ? `${run.name} · ${own}` : own,
      colour: (2 * number + check) % 8, dash: DASHES[Math.min(number, 1)][check],
      dots: check === 1, smooth: check === 0, start: check ? undefined : 1,
    }];
  }));
}

/** The best value of a series and its step; null if it is unknown which values are better. */
function bestOf(series) {
  if (!series.better) return null;
  const best = series.better === "lower" ? series.least : series.greatest;
  return best && Number.isFinite(best[0]) ? best : null;
}
