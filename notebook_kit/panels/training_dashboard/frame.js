// The frame of the chart: conversion between values and pixels, the visible range, and round numbers for ticks.

const FAR = 4;          // a value this many spreads away from nearly all others is off the chart
const FEW_VALUES = 40;  // up to this many values, all are shown

/** Positions in the chart for its visible ranges of steps (or seconds) `x` and values `y`. */
export class Frame {
  constructor(width, { full, zoom, axis, isLog }) {
    const height = width < 480 ? 220 : 290;
    Object.assign(this, { width, height, full, axis, isLog, left: 58, right: width - 14, top: 20, bottom: height - 26 });
    this.x = zoom ?? full;
    this.y = [0, 1];
  }

  /** The column of a series on the x axis. */
  column(series) {
    return this.axis === "time" ? series.time : series.step;
  }

  xOf(x) {
    const [low, high] = this.x;
    return this.left + (x - low) / (high - low || 1) * (this.right - this.left);
  }

  fromPixel(pixel) {
    const [low, high] = this.x;
    return low + (pixel - this.left) / (this.right - this.left) * (high - low);
  }

  yOf(y) {
    const [low, high] = this.y;
    const part = this.isLog ? (Math.log(y) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (y - low) / (high - low);
    return this.bottom - part * (this.bottom - this.top);
  }

  /** Whether the y axis can show a value. */
  canShow(value) {
    return Number.isFinite(value) && (!this.isLog || value > 0);
  }

  isInside(x) {
    return x >= this.x[0] && x <= this.x[1];
  }

  /** The visible part of a series and one more bucket on each side, as indices `[from, to]`. */
  within(series) {
    const x = this.column(series);
    return [Math.max(0, placeOf(x, series.size, this.x[0]) - 1), Math.min(series.size, placeOf(x, series.size, this.x[1]) + 2)];
  }

  /**
   * Choose the range of the y axis. A few far outliers do not flatten all other values.
   *
   * @returns `{ isEmpty, off }`: whether there are no values, and a value that is off the chart, or null.
   */
  fitTo(lines) {
    const values = lines.flatMap(line => this.valuesOf(line));
    if (!values.length) {
      this.y = this.isLog ? [0.1, 1] : [0, 1];
      return { isEmpty: true, off: null };
    }
    const sorted = Float64Array.from(values).sort();
    if (this.isLog) {
      const low = sorted[0], high = sorted.at(-1), room = Math.max(Math.log(high / low) * 0.06, 0.02);
      this.y = [low * Math.exp(-room), high * Math.exp(room)];
      return { isEmpty: false, off: null };
    }
    const { low, high, off } = withoutFar(sorted), span = high - low;
    const room = span > 1e-6 * Math.abs(high) ? span * 0.06 : Math.abs(high) * 0.05 || 1;
    this.y = [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
    return { isEmpty: false, off };
  }

  valuesOf({ series, curve }) {
    const [from, to] = this.within(series), x = this.column(series), values = [];
    for (let i = from; i < to; i++)
      if (this.isInside(x[i])) values.push(...[series.low[i], series.high[i], curve[i]].filter(value => this.canShow(value)));
    return values;
  }
}

/** The range of sorted values without far outliers, and one of these or null. */
function withoutFar(sorted) {
  const at = part => sorted[Math.round(part * (sorted.length - 1))];
  let low = sorted[0], high = sorted.at(-1), off = null;
  const spread = at(0.97) - at(0.03);
  if (sorted.length <= FEW_VALUES || spread <= 0) return { low, high, off };
  if (high - at(0.97) > FAR * spread) { off = high; high = at(0.97) + spread; }
  if (at(0.03) - low > FAR * spread) { off = low; low = at(0.03) - spread; }
  return { low, high, off };
}

/** At most about `most` round numbers between two values, for ticks. */
export function ticksBetween(low, high, most) {
  const rough = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(times => times * power).find(one => one >= rough * 0.999);
  if (step < Math.abs(high) * 1e-14) return [low]; // numbers this close cannot be counted through
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Ticks for a logarithmic scale: powers of ten, and 2 and 5 times those if there is room. */
export function logTicks(low, high, most) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  if (to - from > most) return ticksBetween(from, to, most).filter(Number.isInteger).map(power => 10 ** power);
  const times = (to - from) * 3 <= most + 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = from; power <= to; power++) for (const one of times) ticks.push(Number(`${one}e${power}`));
  const inside = ticks.filter(tick => tick >= low * 0.999 && tick <= high * 1.001);
  return inside.length >= 2 ? inside : ticksBetween(low, high, most);
}

/** The first index in a sorted column of `size` values whose value is at least x. */
export function placeOf(column, size, x) {
  let low = 0, high = size;
  while (low < high) { const middle = (low + high) >> 1; if (column[middle] < x) low = middle + 1; else high = middle; }
  return low;
}
