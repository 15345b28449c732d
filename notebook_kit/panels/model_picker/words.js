// Numbers, sizes and models in words, as the panel's language writes them.

/** Functions that write numbers and sizes, and say what is to be said of a model. */
export function pickerWords(model, words) {
  const language = () => model.get("_language");
  const number = value => value.toLocaleString(language());
  const short = value => new Intl.NumberFormat(language(), { notation: "compact", maximumFractionDigits: 1 }).format(value);
  const size = bytes => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let value = bytes, unit = 0;
    while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
    return `${value.toLocaleString(language(), { maximumFractionDigits: value >= 100 || !unit ? 0 : 1 })} ${units[unit]}`;
  };
  /** What loading it would bring, in a few words. */
  const toFetch = row => {
    if (row.source === "zoo") return words("in_zoo");
    if (row.fetch_bytes === 0) return words("in_cache");
    if (row.fetch_bytes === null) return row.cached_bytes ? words("in_part") : "?";
    const bytes = `${row.is_exact ? "" : "≈ "}${size(row.fetch_bytes)}`;
    return row.cached_bytes ? words("more_bytes", { size: bytes }) : bytes;
  };
  /** What speaks against it; "" if nothing does. */
  const obstacle = row => (row.obstacle ? words(`obstacle_${row.obstacle}`, { what: row.obstacle === "architecture" ? row.model_type : row.task }) : "");
  const task = name => {
    const said = words(`task_${name}`);
    return said === `task_${name}` ? name : said;
  };
  return { number, short, size, toFetch, obstacle, task };
}
