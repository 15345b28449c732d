// A matrix of attention from Python: its weights, and the names of its rows and columns.

/** The bytes of a buffer from Python. */
export function bytesOf(data) {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The float32 numbers of a buffer from Python; copied, because it may start at any byte. */
export function floatsOf(data) {
  return new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
}

/**
 * The matrix in an answer: `{ R, C, rows, columns, scale, signed, bytes, fine }`, with the positions in each row and column. If it shows
 * every frame of a recording whose frames are otherwise merged, `fine` has the axes of those frames, and the rows and columns on them.
 */
export function unpack(answer) {
  const { size: [R, C], rows, columns, scale, signed, fine = null } = answer.values;
  const groups = list => list.map(group => (Array.isArray(group) ? group : [group]));
  const left = groups(rows);
  answer.look ??= { R, C, rows: left, columns: columns ? groups(columns) : left, scale, signed, fine, bytes: bytesOf(answer.buffers[0]) };
  return answer.look;
}

/** The labels of a matrix; `which` is the trait `shown`. */
export function namesOf(look, { tokens, to_tokens: to, other_tokens: others, other_to_tokens: othersTo, version }, which) {
  if (look.fine) return namesOf({ ...look, ...look.fine, fine: null }, { tokens: look.fine.axes[0], to_tokens: look.fine.axes[1], version: `${version} whole` }, "this");
  const name = (side, others, group) => {
    if (group.length > 1) return side.word_labels[side.words[group[0]]];
    const own = side.labels[group[0]], other = others?.[group[0]];
    if (!others || other === own || which === "this") return own;
    return which === "other" ? other : `${own} / ${other}`;
  };
  const rows = look.rows.map(group => name(tokens, others, group));
  const columns = look.columns === look.rows && !to ? rows : look.columns.map(group => name(to ?? tokens, to ? othersTo : others, group));
  return { row: i => rows[i], column: j => columns[j], key: `${version} ${which}` };
}

/** The indices of the groups that contain a selected position. */
export function litOf(groups, selected) {
  const chosen = new Set(selected);
  return groups.flatMap((group, i) => (group.some(token => chosen.has(token)) ? [i] : []));
}

/** The weight at place k, row by row, to within `stepOf`. */
export function valueOf(look, k) {
  return (look.signed ? (look.bytes[k] - 128) / 127 : look.bytes[k] / 255) * look.scale;
}

/** The maximum error of a weight that was sent as a byte. */
export function stepOf(look) {
  return (look.scale / (look.signed ? 254 : 510)).toPrecision(1);
}

/** The sums of some rows over columns, and of some columns over rows, from bytes. */
export function sumsOf(look, rows, columns) {
  const right = new Float64Array(look.C), left = new Float64Array(look.R);
  for (const i of rows) for (let j = 0; j < look.C; j++) right[j] += valueOf(look, i * look.C + j);
  for (const j of columns) for (let i = 0; i < look.R; i++) left[i] += valueOf(look, i * look.C + j);
  return { right: rows.length ? [...right] : null, left: columns.length ? [...left] : null };
}

/** A weight with six digits. */
export function number(value) {
  return (Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential(3) : value.toFixed(6)).replace("-", "−");
}

/** A weight with three digits. */
export function shortWeight(value) {
  return value < 0.001 ? value.toExponential(1) : value.toFixed(3);
}

/** Numbers as text: "0–11", or "0, 2, 5". */
export function rangeOf(numbers) {
  const last = numbers[numbers.length - 1];
  return numbers.length > 2 && last - numbers[0] === numbers.length - 1 ? `${numbers[0]}–${last}` : numbers.join(", ");
}
