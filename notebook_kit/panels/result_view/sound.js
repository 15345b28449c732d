// A recording: its wave and spectrogram, which play from where one clicks, and the words that were heard.

import { fill, h, roving, sharpCanvas, themed } from "../shared/common.js";
import { Player } from "./player.js";

const WAVE_HEIGHT = 56;    // CSS pixels
const STEPS = [            // seconds from one time below the spectrogram to the next
  0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800,
];
const STEP = 1;            // seconds that an arrow key moves

export class SoundStage {
  constructor(view, values, [heat, wave], { onPoint, onSound }) {
    Object.assign(this, { view, values, onPoint, things: values.things });
    this.wave = new Int8Array(wave.buffer, wave.byteOffset, wave.byteLength);
    this.address = URL.createObjectURL(new Blob([heat], { type: "image/png" }));
    this.player = new Player(values, { load: onSound, onTime: at => this.onTime(at), onState: isPlaying => this.onState(isPlaying) });
    this.build();
    view.onResize(this.track, () => this.paint());
    view.onTheme(() => this.paint());
    this.onTime(0);
  }

  build() {
    const { words } = this.view, { kind, duration } = this.values;
    this.button = h("button.rv-play", { type: "button", onclick: () => this.toggle() });
    this.time = h("span.rv-time.faint");
    this.canvas = h("canvas.rv-wave");
    this.band = h("div.rv-band", { hidden: true });
    this.cursor = h("div.rv-cursor");
    this.track = h("div.rv-track", { role: "slider", tabindex: "0", "aria-label": words("place_in_sound"), "aria-valuemin": "0", "aria-valuemax": duration.toFixed(2) },
      this.canvas, h("img.rv-bands", { src: this.address, alt: "", draggable: "false" }), this.band, this.cursor);
    this.track.addEventListener("click", event => this.player.play(this.secondsAt(event)));
    this.track.addEventListener("pointermove", event => this.onPoint(this.wordAt(this.secondsAt(event))));
    this.track.addEventListener("pointerleave", () => this.onPoint(null));
    this.track.addEventListener("keydown", event => this.onKey(event));
    this.ticks = h("div.rv-ticks.faint", { "aria-hidden": "true" });
    this.pictured = h("div.rv-sound", {}, this.track, this.ticks, kind === "speech" ? this.transcript() : null);
    this.element = h("div", {}, h("div.row.rv-controls", {}, this.button, this.time), this.pictured);
    this.onState(false);
  }

  /** The times below the spectrogram, as many as fit. */
  paintTicks(width) {
    const { duration } = this.values, pixels = width / duration, room = step => (step < 1 ? 42 : 34);  // of "0:00.5" and "0:01"
    const fits = step => duration / step <= 8 && step * pixels >= room(step) + 10;
    const step = STEPS.find(fits) ?? 1800 * Math.ceil(duration / 1800 / 8);
    const places = Array.from({ length: Math.floor(duration / step) + 1 }, (_, i) => i * step);
    fill(this.ticks, places.map(at => {
      // a time at the very end is written to the left of its place, where there is room
      const isLast = at > 0 && (duration - at) * pixels < room(step);
      if (isLast && step * pixels < 2 * room(step)) return null;
      return h("span", { style: { left: `${(100 * at) / duration}%`, translate: isLast ? "-100%" : "none" } }, clock(at, step < 1 ? 1 : 0));
    }));
  }

  /** The words as buttons that play from them, or the whole text if it is not known when they were said. */
  transcript() {
    const { words } = this.view, { text, spaced } = this.values;
    if (!this.things.length) return h("p.rv-marked", { dir: "auto" }, text || h("span.faint", {}, words("silence")));
    this.said = this.things.map(({ label, start, end }, i) => h("button.rv-word", {
      type: "button", "data-i": String(i), title: `${clock(start, 2)} – ${clock(end, 2)}`,
    }, label.trim()));
    const element = h("p.rv-marked.rv-said", { dir: "auto", "aria-label": words("said") }, this.said.map((word, i) => {
      const { label } = this.things[i];  // spaces around a word are between the buttons, where lines may break
      return spaced ? [word, " "] : [i > 0 && label.trimStart() !== label ? " " : null, word, label.trimEnd() === label ? null : " "];
    }));
    const indexOf = event => { const found = event.target.closest?.(".nk-rv-word"); return found ? Number(found.dataset.i) : null; };
    element.addEventListener("click", event => { const i = indexOf(event); if (i !== null) this.player.play(this.things[i].start); });
    element.addEventListener("pointerover", event => this.onPoint(indexOf(event)));
    element.addEventListener("pointerleave", () => this.onPoint(null));
    element.addEventListener("focusin", event => { if (event.target.matches(":focus-visible")) this.onPoint(indexOf(event)); });
    element.addEventListener("focusout", () => this.onPoint(null));
    roving(element, ".nk-rv-word")();
    return element;
  }

  secondsAt(event) {
    const frame = this.track.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - frame.left) / frame.width)) * this.values.duration;
  }

  wordAt(seconds) {
    const found = this.values.kind === "speech" ? this.things.findIndex(({ start, end }) => seconds >= start && seconds < end) : -1;
    return found < 0 ? null : found;
  }

  toggle() {
    if (this.player.isPlaying) this.player.stop();
    else this.player.play();
  }

  onKey(event) {
    const { duration } = this.values, moves = { ArrowRight: this.player.at + STEP, ArrowLeft: this.player.at - STEP, Home: 0, End: duration };
    if (event.key === " " || event.key === "Enter") this.toggle();
    else if (event.key in moves) {
      const to = Math.max(0, Math.min(duration, moves[event.key]));
      if (this.player.isPlaying) this.player.play(to);
      else this.player.moveTo(to);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  onState(isPlaying) {
    const { words } = this.view;
    fill(this.button, h("span", { "aria-hidden": "true" }, isPlaying ? "■ " : "▶ "), words(isPlaying ? "stop" : "play"));
    this.element.classList.toggle("nk-rv-playing", isPlaying);
    if (!isPlaying) this.light(this.pointed ?? null);
  }

  onTime(at) {
    const { duration } = this.values;
    this.cursor.style.left = `${(100 * at) / duration}%`;
    this.time.textContent = `${clock(at, 1)} / ${clock(duration, 1)}`;
    this.track.setAttribute("aria-valuenow", at.toFixed(2));
    this.track.setAttribute("aria-valuetext", clock(at, 1));
    if (this.player?.isPlaying) this.light(this.wordAt(at));
  }

  update({ lit }) {
    this.pointed = lit;
    if (!this.player.isPlaying || lit !== null) this.light(lit);
  }

  /** Mark a word in the text, and when it was said. */
  light(i) {
    if (i === this.lit) return;
    this.lit = i;
    this.said?.forEach((word, k) => word.classList.toggle("nk-rv-lit", k === i));
    this.band.hidden = i === null || this.values.kind !== "speech";
    if (this.band.hidden) return;
    const { start, end } = this.things[i], { duration } = this.values;
    this.band.style.left = `${(100 * start) / duration}%`;
    this.band.style.width = `${(100 * Math.max(0.004 * duration, end - start)) / duration}%`;
  }

  paint() {
    const width = this.canvas.parentElement?.clientWidth ?? 0, count = this.wave.length / 2;
    if (!width) return;
    this.paintTicks(width);
    const context = sharpCanvas(this.canvas, width, WAVE_HEIGHT), middle = WAVE_HEIGHT / 2;
    context.clearRect(0, 0, width, WAVE_HEIGHT);
    context.fillStyle = themed(this.view.root, "--nk-accent");
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x * count) / width), to = Math.max(from + 1, Math.floor(((x + 1) * count) / width));
      let low = 0, high = 0;
      for (let k = from; k < to && k < count; k++) { low = Math.min(low, this.wave[k]); high = Math.max(high, this.wave[count + k]); }
      const top = middle - (high / 127) * middle, bottom = middle - (low / 127) * middle;
      context.fillRect(x, top, 1, Math.max(1, bottom - top));
    }
  }

  end() {
    this.player.end();
    URL.revokeObjectURL(this.address);
  }
}

/** Seconds as "1:05", or with decimals. */
function clock(seconds, decimals) {
  const minutes = Math.floor(seconds / 60), rest = (seconds - 60 * minutes).toFixed(decimals);
  return `${minutes}:${rest.padStart(decimals ? 3 + decimals : 2, "0")}`;
}
