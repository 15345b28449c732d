// Numbers as text: values with their units, and durations.

/** A number with four significant digits and a true minus sign. */
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

/** The last value of a series as text, even if it is not finite. */
export function lastText(words, one, name = one.name) {
  const end = one.size - 1;
  if (one.bad[end] && !(one.last && one.last[1] >= one.step[end])) return words("not_finite_short");
  return one.last ? withUnit(name, one.last[0]) : "–";
}

/** A value with the unit of its metric. */
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

/** A number of seconds as text: "45 s", "12 min", "3 h 20 min"; `words` supplies the units. */
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
