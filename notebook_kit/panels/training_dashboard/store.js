// What the page knows of some runs: series in buckets, kept up to date by what Python sends, however long a run is.

const TD_BUCKETS = 1000;
const TD_ROWS = 6;

/**
 * The runs of one panel. A frame (the trait `_frame`) says everything; messages say what is new since. When one was missed,
 * the next frame mends it, and a kernel that answers is asked for one.
 *
 *   run.series.get("loss") -> { name, better, width, count, size, step, low, high, mean, time, bad, least, greatest, last }
 */
export function runStore(model, onChange) {
  let runs = [], number = -1, asked = 0, heard = performance.now();
  const id = `store-${Math.random().toString(36).slice(2)}`;

  const seriesOf = (run, name) => {
    if (!run.series.has(name)) {
      const bytes = new ArrayBuffer(TD_ROWS * TD_BUCKETS * 4);
      const row = (i, Kind) => new Kind(bytes, i * TD_BUCKETS * 4, TD_BUCKETS);
      run.series.set(name, { name, size: 0, step: row(0, Int32Array), low: row(1, Float32Array), high: row(2, Float32Array), mean: row(3, Float32Array),
        time: row(4, Float32Array), bad: row(5, Float32Array) });
    }
    return run.series.get(name);
  };
  /** Take in what a message or a frame says; the buckets stand one series after the other in the buffer. */
  const take = (told, buffer, whole) => {
    if (whole) runs = [];
    let at = 0;
    for (const said of told) {
      let run = runs.find(one => one.key === said.key);
      if (!run) runs.push(run = { key: said.key, name: said.name, facts: {}, live: {}, events: [], probes: [], series: new Map() });
      for (const name of ["name", "facts", "live"]) if (name in said) run[name] = said[name];
      if (said.dropped) run.series = new Map([...run.series].filter(([name]) => !said.dropped.includes(name)));
      for (const name of ["events", "probes"]) if (said[name]) run[name].splice(said[`${name}_from`], Infinity, ...said[name]);
      for (const [name, better, from, size, width, count, least, greatest, last] of said.series ?? []) {
        const one = seriesOf(run, name);
        ["step", "low", "high", "mean", "time", "bad"].forEach((column, i) => {
          const Kind = one[column].constructor;
          one[column].set(new Kind(buffer.buffer.slice(buffer.byteOffset + (at + i * size) * 4, buffer.byteOffset + (at + (i + 1) * size) * 4)), from);
        });
        at += TD_ROWS * size;
        Object.assign(one, { better, width, count, size: from + size, least, greatest, last });
      }
    }
  };
  const onFrame = () => {
    const frame = model.get("_frame");
    if (!frame || frame.number === undefined || (frame.number <= number && !model.offline)) return;
    number = frame.number;
    take(frame.runs, frame.buffer, true);
    heard = performance.now();
    onChange();
  };
  const askWhole = () => {
    if (model.offline || performance.now() - asked < 1000) return;
    asked = performance.now();
    model.send({ nk: `${id}.frame`, ask: "frame", with: {} });     // quietly: a kernel that is busy sends frames by itself
  };
  const onMessage = (content, buffers) => {
    if (content?.nk === `${id}.frame` && content.answer) {
      number = content.answer.number;
      take(content.answer.runs, buffers[0], true);
    } else if (content?.feed) {
      heard = performance.now();
      if (content.feed.number <= number) return;
      if (content.feed.after !== number) return askWhole();
      number = content.feed.number;
      take(content.feed.runs, buffers[0], false);
    } else return;
    onChange();
  };
  model.on("change:_frame", onFrame);
  model.on("msg:custom", onMessage);
  return {
    get runs() { return runs; },
    get main() { return runs[0]; },
    /** Seconds since Python was last heard. */
    silence: () => (performance.now() - heard) / 1000,
    start() { onFrame(); if (!runs.length || !["ended", "idle"].includes(runs[0].live.status)) askWhole(); },
    end() { model.off("change:_frame", onFrame); model.off("msg:custom", onMessage); },
  };
}

/** A run's series under other buckets: those that Python sent of a part of it. */
export function seriesFrom(told, buffer) {
  const run = { series: new Map() };
  let at = 0;
  for (const [name, better, , size, width, count, least, greatest, last] of told) {
    const row = (i, Kind) => new Kind(buffer.buffer.slice(buffer.byteOffset + (at + i * size) * 4, buffer.byteOffset + (at + (i + 1) * size) * 4));
    run.series.set(name, { name, better, size, width, count, least, greatest, last, step: row(0, Int32Array), low: row(1, Float32Array), high: row(2, Float32Array),
      mean: row(3, Float32Array), time: row(4, Float32Array), bad: row(5, Float32Array) });
    at += TD_ROWS * size;
  }
  return run.series;
}

/**
 * The exponential moving average over the buckets' means. A bucket of n points weighs as n points do, so that the curve is
 * the same however the series was thinned; the start is corrected as in Adam (Kingma and Ba, 2014).
 */
export function smoothed(series, weight) {
  const line = new Float32Array(series.size);
  let average = 0, seen = 0;                // sum of weights so far
  for (let i = 0; i < series.size; i++) {
    const full = i < series.size - 1 ? series.width : series.count - series.width * i, points = full - series.bad[i];
    if (points > 0) {
      const kept = weight ** points;
      average = kept * average + (1 - kept) * series.mean[i];
      seen = kept * seen + (1 - kept);
    }
    line[i] = points > 0 && seen > 0 ? average / seen : NaN;
  }
  return line;
}

/** A number as people read it: four significant digits, a true minus sign. */
export function readableNumber(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  let text;
  if (value === 0) text = "0";
  else if (size >= 1e6 || size < 1e-3) text = value.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e").replace("e+", "e");
  else if (size >= 1000) text = Math.round(value).toLocaleString("en");
  else text = String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

/** The last value of a series in words: what came last, also where that is no finite number. */
export function lastText(words, one, name = one.name) {
  const end = one.size - 1;
  if (one.bad[end] && !(one.last && one.last[1] >= one.step[end])) return words("not_finite_short");
  return one.last ? withUnit(name, one.last[0]) : "–";
}

/** A value with its unit, by the name of what it measures. */
export function withUnit(name, value) {
  if (value === null || value === undefined) return "–";
  if (/(^|_)memory/.test(name)) return value >= 2 ** 30 ? `${readableNumber(value / 2 ** 30, 3)} GiB` : `${readableNumber(value / 2 ** 20, 3)} MiB`;
  if (/_per_second$/.test(name)) return `${readableNumber(value, 3)}/s`;
  if (/(_time|_runtime)$/.test(name)) {
    const [times, unit] = value >= 1 || !value ? [1, "s"] : value >= 1e-3 ? [1e3, "ms"] : [1e6, "µs"];
    return `${readableNumber(value * times, 3)} ${unit}`;
  }
  return readableNumber(value);
}

/** Seconds as people say them: "45 s", "12 min", "3 h 20 min"; `words` has the units. */
export function duration(words, seconds) {
  if (seconds < 10) return words("seconds", { count: readableNumber(Math.max(0, seconds), 2) });
  const whole = Math.round(seconds);
  if (whole < 90) return words("seconds", { count: whole });
  const minutes = Math.round(whole / 60);
  if (minutes < 90) return words("minutes", { count: minutes });
  const hours = Math.floor(minutes / 60), rest = minutes % 60;
  if (hours < 48) return rest ? `${words("hours", { count: hours })} ${words("minutes", { count: rest })}` : words("hours", { count: hours });
  return `${words("days", { count: Math.floor(hours / 24) })} ${words("hours", { count: hours % 24 })}`;
}
