// Playing a recording from any place. Its samples are asked for in windows, so that an hour need not be loaded.

export class Player {
  /**
   * `load(window)` resolves to the 16-bit samples of a window, or to null; `onTime(seconds)` is called while it plays, and
   * `onState(isPlaying)` when it starts and ends.
   */
  constructor({ duration, rate, window: size }, { load, onTime, onState }) {
    Object.assign(this, { duration, rate, size, load, onTime, onState });
    this.isPlaying = false;
    this.at = 0;           // seconds
    this.runs = 0;         // a later call of `play` or `stop` ends an earlier one
  }

  async play(from = this.at) {
    this.stop();
    const run = ++this.runs, start = from >= this.duration - 0.02 ? 0 : Math.max(0, from);
    this.context ??= new AudioContext();
    this.isPlaying = true;
    this.moveTo(start);
    this.onState(true);
    await this.context.resume();
    await this.playWindow(start, run);
  }

  async playWindow(from, run) {
    const place = Math.floor(from / this.size), samples = await this.load(place);
    if (run !== this.runs) return;
    if (!samples?.length) { this.stop(); return; }
    const buffer = this.context.createBuffer(1, samples.length, this.rate), channel = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) channel[i] = samples[i] / 32768;
    this.source = new AudioBufferSourceNode(this.context, { buffer });
    this.source.connect(this.context.destination);
    this.source.start(0, from - place * this.size);
    const origin = this.context.currentTime - from, end = Math.min(this.duration, (place + 1) * this.size);
    this.follow(origin, end, run);
  }

  follow(origin, end, run) {
    if (run !== this.runs) return;
    const now = this.context.currentTime - origin;
    this.moveTo(Math.min(now, end));
    if (now < end) requestAnimationFrame(() => this.follow(origin, end, run));
    else if (end < this.duration - 0.02) this.playWindow(end, run);
    else this.stop();
  }

  moveTo(seconds) {
    this.at = seconds;
    this.onTime(seconds);
  }

  stop() {
    this.runs += 1;
    this.source?.stop();
    this.source = null;
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.onState(false);
  }

  end() {
    this.stop();
    this.context?.close();
  }
}
