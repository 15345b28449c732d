// The data of runs on the page: series in a bounded number of buckets, updated by messages from Python.

const BUCKETS = 1000;
const COLUMNS = { step: Int32Array, low: Float32Array, high: Float32Array, mean: Float32Array, time: Float32Array, bad: Float32Array };
const KINDS = Object.entries(COLUMNS);

/**
 * The runs of one panel. A frame (the trait `_frame`) contains everything, messages what is new since then. If a message was missed,
 * the next frame replaces it, and the page requests one in case the kernel can answer.
 *
 *   run.series.get("loss") -> { name, better, width, count, size, step, low, high, mean, time, bad, least, greatest, last }
 */
export class RunStore {
  constructor(model, onChange) {
    Object.assign(this, { model, onChange });
    this.runs = [];
    this.number = -1;                      // of the latest frame or message
    this.askedAt = 0;
    this.heardAt = performance.now();
    this.question = `store-${Math.random().toString(36).slice(2)}.frame`;
  }

  start(view) {
    view.on("change:_frame", () => this.onFrame());
    view.on("msg:custom", (content, buffers) => this.onMessage(content, buffers));
    this.onFrame();
    if (!["ended", "idle"].includes(this.main?.live.status)) this.askForFrame();
  }

  get main() {
    return this.runs[0];
  }

  /** Seconds since the last message from Python. */
  get silence() {
    return (performance.now() - this.heardAt) / 1000;
  }

  onFrame() {
    const frame = this.model.get("_frame");
    if (!frame || frame.number === undefined || (frame.number <= this.number && !this.model.offline)) return;
    this.heardAt = performance.now();
    this.takeFrame(frame, frame.buffer);
    this.onChange();
  }

  onMessage(content, buffers) {
    if (content?.nk === this.question && content.answer) {
      this.takeFrame(content.answer, buffers[0]);
      this.onChange();
    } else if (content?.feed) {
      this.onNews(content.feed, buffers[0]);
    }
  }

  onNews(news, buffer) {
    this.heardAt = performance.now();
    if (news.number <= this.number) return;
    if (news.after !== this.number) { this.askForFrame(); return; }
    this.number = news.number;
    this.take(news.runs, buffer);
    this.onChange();
  }

  /** Request a frame, without an indicator: a busy kernel sends frames without being asked. */
  askForFrame() {
    if (this.model.offline || performance.now() - this.askedAt < 1000) return;
    this.askedAt = performance.now();
    this.model.send({ nk: this.question, ask: "frame", with: {} });
  }

  takeFrame(frame, buffer) {
    this.number = frame.number;
    this.runs = [];
    this.take(frame.runs, buffer);
  }

  /** Store the contents of a message or a frame; the buckets of all series are consecutive in the buffer. */
  take(runs, buffer) {
    let at = 0;
    for (const news of runs) {
      const run = this.run(news.key, news.name);
      for (const name of ["name", "facts", "live"]) if (name in news) run[name] = news[name];
      for (const name of news.dropped ?? []) run.series.delete(name);
      for (const name of ["events", "probes"]) if (news[name]) run[name].splice(news[`${name}_from`], Infinity, ...news[name]);
      for (const [name, better, from, size, width, count, least, greatest, last] of news.series ?? []) {
        const series = run.series.get(name) ?? emptySeries(name);
        run.series.set(name, series);
        columnsOf(buffer, at, size).forEach((values, i) => series[KINDS[i][0]].set(values, from));
        at += KINDS.length * size;
        Object.assign(series, { better, width, count, size: from + size, least, greatest, last });
      }
    }
  }

  run(key, name) {
    const known = this.runs.find(run => run.key === key);
    if (known) return known;
    const run = { key, name, facts: {}, live: {}, events: [], probes: [], series: new Map() };
    this.runs.push(run);
    return run;
  }
}

function emptySeries(name) {
  return { name, size: 0, ...Object.fromEntries(KINDS.map(([column, Kind]) => [column, new Kind(BUCKETS)])) };
}

/** The columns of a series that starts at index `at` (in 4-byte numbers) of a buffer. */
function columnsOf(buffer, at, size) {
  return KINDS.map(([, Kind], i) => {
    const start = buffer.byteOffset + (at + i * size) * 4;
    return new Kind(buffer.buffer.slice(start, start + size * 4));
  });
}

/** The series of a part of a run, which Python sends in finer buckets. */
export function seriesFrom(described, buffer) {
  const series = new Map();
  let at = 0;
  for (const [name, better, , size, width, count, least, greatest, last] of described) {
    const columns = columnsOf(buffer, at, size).map((values, i) => [KINDS[i][0], values]);
    series.set(name, { name, better, size, width, count, least, greatest, last, ...Object.fromEntries(columns) });
    at += KINDS.length * size;
  }
  return series;
}

/**
 * The exponential moving average over the means of the buckets. A bucket of n points has the weight of n points, so that the curve
 * does not depend on the thinning; the start is bias-corrected as in Adam (Kingma and Ba, 2014).
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
