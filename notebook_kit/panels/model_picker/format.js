// Numbers, sizes and facts about models as text, in the language of the panel.

/** Writes numbers, sizes, tasks, and what a model needs. */
export class Format {
  constructor(model, words) {
    this.model = model;
    this.words = words;
  }

  get language() {
    return this.model.get("_language");
  }

  number(value) {
    return value.toLocaleString(this.language);
  }

  short(value) {
    return new Intl.NumberFormat(this.language, { notation: "compact", maximumFractionDigits: 1 }).format(value);
  }

  size(bytes) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let value = bytes, unit = 0;
    while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
    return `${value.toLocaleString(this.language, { maximumFractionDigits: value >= 100 || !unit ? 0 : 1 })} ${units[unit]}`;
  }

  /** What loading the model would download. */
  toFetch(row) {
    if (row.source === "zoo") return this.words("in_zoo");
    if (row.fetch_bytes === 0) return this.words("in_cache");
    if (row.fetch_bytes === null) return row.cached_bytes ? this.words("in_part") : "?";
    const bytes = `${row.is_exact ? "" : "≈ "}${this.size(row.fetch_bytes)}`;
    return row.cached_bytes ? this.words("more_bytes", { size: bytes }) : bytes;
  }

  /** Why a model cannot be loaded; "" if it can. */
  obstacle(row) {
    if (!row.obstacle) return "";
    return this.words(`obstacle_${row.obstacle}`, { what: row.obstacle === "architecture" ? row.model_type : row.task });
  }

  task(name) {
    const text = this.words(`task_${name}`);
    return text === `task_${name}` ? name : text;
  }
}
