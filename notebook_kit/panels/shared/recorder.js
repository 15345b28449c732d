// The microphone: a button that records, and gives the samples at 16 kHz.

import { fill, h } from "./common.js";

const LONGEST = 60;       // seconds
const RATE = 16_000;      // samples per second

export class Recorder {
  /** `onRecorded(samples)` gets 16-bit samples; `onProblem({ what, next_step })` what prevents it. */
  constructor({ words }, { onRecorded, onProblem }) {
    Object.assign(this, { words, onRecorded, onProblem });
    this.element = h("button.record", { type: "button", "aria-pressed": "false", onclick: () => this.toggle() });
    this.show(null);
  }

  show(seconds) {
    const isRecording = seconds !== null;
    this.element.setAttribute("aria-pressed", String(isRecording));
    fill(this.element, h("span.record-dot", { "aria-hidden": "true" }, isRecording ? "■" : "●"), " ",
      isRecording ? this.words("record_stop", { seconds: Math.floor(seconds) }) : this.words("record"));
  }

  async toggle() {
    if (this.recorder) { this.recorder.stop(); return; }
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      this.onProblem({ what: this.words("no_microphone"), next_step: this.words("no_microphone_next") });
      return;
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      this.onProblem({ what: this.words("microphone_refused", { why: error.message }), next_step: this.words("microphone_refused_next") });
      return;
    }
    this.start();
  }

  start() {
    const parts = [], began = performance.now();
    this.recorder = new MediaRecorder(this.stream);
    this.recorder.addEventListener("dataavailable", event => parts.push(event.data));
    this.recorder.addEventListener("stop", () => { this.release(); if (!this.isEnded) this.finish(new Blob(parts)); });
    this.recorder.start();
    this.timer = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      this.show(seconds);
      if (seconds >= LONGEST) this.recorder?.stop();
    }, 200);
    this.show(0);
  }

  /** What was recorded, decoded by the browser and resampled. */
  async finish(blob) {
    try {
      const context = new OfflineAudioContext(1, 1, RATE), decoded = await context.decodeAudioData(await blob.arrayBuffer());
      const channel = decoded.getChannelData(0), samples = new Int16Array(channel.length);
      for (let i = 0; i < channel.length; i++) samples[i] = Math.max(-1, Math.min(1, channel[i])) * 32767;
      this.onRecorded(samples);
    } catch (error) {
      this.onProblem({ what: this.words("microphone_refused", { why: error.message }), next_step: this.words("microphone_refused_next") });
    }
  }

  release() {
    clearInterval(this.timer);
    this.stream?.getTracks().forEach(track => track.stop());
    this.recorder = this.stream = null;
    this.show(null);
  }

  end() {
    this.isEnded = true;
    this.release();
  }
}
