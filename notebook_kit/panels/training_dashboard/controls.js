// The progress of the run as text and as a bar, the verdict on it, and the buttons that control it.

import { fill, h } from "../shared/common.js";
import { Help } from "../shared/help.js";
import { duration, lastText, readableNumber } from "./numbers.js";

const BUTTONS = ["pause", "stop", "save", "evaluate"];
const SIGNS = { learning: "↘", flat: "→", rising: "↗", overfitting: "⇅", not_finite: "!", early: "…" };
const SPOKEN_EVERY = 30_000;   // milliseconds
const SILENT_AFTER = 20;       // seconds

function isGoing(status) {
  return ["running", "paused", "stopping"].includes(status);
}

/** The head of the panel. `onAsk(request, value)` is called when someone presses a button. */
export class RunHead {
  constructor(view, onAsk) {
    const { words } = view, help = new Help(view);
    this.words = words;
    this.name = h("bdi");
    this.pill = h("span.td-pill");
    this.line = h("p.td-line");
    this.spoken = h("p.sr", { role: "status", "aria-live": "polite" });
    this.progress = new Progress(words);
    this.verdict = new Verdict(words);
    this.controls = new Controls(words, onAsk);
    this.spokenAt = 0;
    this.element = h("header.td-head", {},
      h("div.row.td-title", {}, h("h3", {}, this.name), h("span.td-space"), this.pill, help.button), help.element,
      this.line, this.progress.element, this.verdict.element, this.controls.element, this.controls.why, this.spoken);
  }

  /** `hears`: the result of `busy.hear`; `silence`: seconds since the last message; `isNew`: whether more than the time has changed. */
  draw(run, { hears, silence, isNew, offline }) {
    const live = run?.live ?? {}, status = live.status ?? "idle", parts = this.parts(run, live, { status, silence, offline });
    this.name.textContent = run?.name ?? "";
    this.element.dataset.status = status;
    this.pill.textContent = this.words(`status_${status}`);
    this.line.textContent = parts.join(" · ");
    this.progress.draw(live, parts.slice(0, 2).join(", "));
    this.verdict.draw(run, live);
    this.controls.draw(run, live, { status, hears, offline });
    if (!isNew || performance.now() - this.spokenAt <= SPOKEN_EVERY) return;
    this.spokenAt = performance.now();
    this.spoken.textContent = [this.words(`status_${status}`), ...parts].join(", ");
  }

  /** The parts of the line below the name. */
  parts(run, live, { status, silence, offline }) {
    const { words } = this, loss = run?.series.get("loss") ?? run?.series.get("eval_loss"), parts = [this.step(live)];
    if (live.epochs && live.epoch !== null) parts.push(words("epoch_of", { epoch: readableNumber(live.epoch, 3), all: readableNumber(live.epochs) }));
    if (loss?.size) parts.push(words("loss_now", { value: lastText(words, loss) }));
    if (status === "running" && live.rate) parts.push(this.speed(live.rate));
    parts.push(this.time(live, status, silence));
    if (isGoing(status) && silence > SILENT_AFTER && !offline) parts.push(words("silent", { time: duration(words, silence) }));
    if (status === "ended") parts.push(this.end(run));
    return parts.filter(Boolean);
  }

  step(live) {
    const step = (live.step ?? 0).toLocaleString("en");
    return live.max_steps ? this.words("step_of", { step, all: live.max_steps.toLocaleString("en") }) : this.words("step_at", { step });
  }

  speed(rate) {
    if (rate >= 1) return this.words("steps_a_second", { count: readableNumber(rate, 3) });
    return this.words("seconds_a_step", { count: readableNumber(1 / rate, 3) });
  }

  time(live, status, silence) {
    const { words } = this, left = live.left ?? null, elapsed = live.elapsed ?? null;
    if (status === "running" && left !== null) return words("left", { time: duration(words, Math.max(0, Math.round(left - Math.min(silence, 5)))) });
    return elapsed === null ? "" : words(isGoing(status) ? "since" : "took", { time: duration(words, elapsed) });
  }

  /** Why a run ended, or "" if it finished. */
  end(run) {
    const last = kind => run.events.findLast(event => event.kind === kind)?.with ?? {};
    const { reason = "finished" } = last("end");
    if (reason === "finished") return "";
    const { type, message } = reason === "error" ? last("error") : {};
    return this.words(`end_${reason.replaceAll(" ", "_")}`) + (type ? ` (${type}: ${message})` : "");
  }
}

/** The progress bar, with a mark at the end of each epoch. */
class Progress {
  constructor(words) {
    this.filled = h("div.td-filled");
    this.marks = h("div.td-epochs", { "aria-hidden": "true" });
    this.element = h("div.td-bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": words("progress") }, this.filled, this.marks);
  }

  draw(live, text) {
    this.element.hidden = !live.max_steps;
    if (!live.max_steps) return;
    const part = Math.min(1, (live.step ?? 0) / live.max_steps);
    this.filled.style.width = `${part * 100}%`;
    this.element.setAttribute("aria-valuenow", String(Math.round(part * 100)));
    this.element.setAttribute("aria-valuetext", text);
    const count = live.epochs && live.epochs <= 40 ? Math.ceil(live.epochs) - 1 : 0;
    if (this.marks.childElementCount !== count)
      fill(this.marks, Array.from({ length: count }, (_, i) => h("i", { style: { left: `${(i + 1) / live.epochs * 100}%` } })));
  }
}

/** The verdict on the run, as a sentence. */
class Verdict {
  constructor(words) {
    this.words = words;
    this.sign = h("span.td-verdict-sign", { "aria-hidden": "true" });
    this.sentence = h("span");
    this.element = h("p.td-verdict", {}, this.sign, this.sentence);
  }

  draw(run, live) {
    const kind = live.verdict?.kind ?? "early";
    const text = value => (Number.isInteger(value) ? value.toLocaleString("en") : typeof value === "number" ? readableNumber(value) : value);
    this.element.dataset.kind = kind;
    this.element.hidden = !run?.series.size || kind === "no_loss";
    this.sign.textContent = SIGNS[kind] ?? "";
    this.sentence.textContent = this.words(`verdict_${kind}`, Object.fromEntries(Object.entries(live.verdict ?? {}).map(([key, value]) => [key, text(value)])));
  }
}

/** The buttons, the learning rate field, and the reasons why some of them are disabled. */
class Controls {
  constructor(words, onAsk) {
    Object.assign(this, { words, onAsk });
    this.id = `td-why-${Math.random().toString(36).slice(2)}`;
    this.why = h("p.td-why.faint", { id: this.id, hidden: true });
    this.buttons = Object.fromEntries(BUTTONS.map(request => [request,
      h("button", { type: "button", "data-ask": request, onclick: () => this.press(request) }, words(`ask_${request}`))]));
    this.rate = h("input.td-rate", { type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": words("name_learning_rate") });
    this.set = h("button", { type: "submit" }, words("set"));
    this.element = h("div.row.td-buttons", { role: "group", "aria-label": words("controls") }, Object.values(this.buttons), this.rateForm());
    this.status = "";
  }

  rateForm() {
    const onsubmit = event => {
      event.preventDefault();
      if (!this.set.disabled) this.onAsk("learning_rate", this.rate.value.trim().replace(",", "."));
    };
    return h("form.td-rate-form", { onsubmit }, h("label.td-rate-label", {}, h("span", {}, this.words("name_learning_rate")), this.rate), this.set);
  }

  press(request) {
    if (this.buttons[request].getAttribute("aria-disabled") === "true") return;
    this.onAsk(request === "pause" && this.status === "paused" ? "resume" : request);
  }

  draw(run, live, { status, hears, offline }) {
    const reasons = new Map(), pending = new Set(live.pending ?? []);   // reasons: key of a text -> the requests
    this.status = status;
    for (const request of [...BUTTONS, "learning_rate"]) {
      const key = reasonOf(request, live, offline);
      if (key) reasons.set(key, [...(reasons.get(key) ?? []), request]);
      this.mark(request === "learning_rate" ? this.set : this.buttons[request], key, pending.has(request));
    }
    this.set.disabled = this.rate.disabled = [...reasons.values()].some(requests => requests.includes("learning_rate"));
    this.buttons.pause.textContent = this.words(status === "paused" ? "ask_resume" : "ask_pause");
    const isLate = hears === "after" && isGoing(status);
    const sentences = this.sentences(reasons, pending, isLate);
    this.why.textContent = sentences.join(" ");
    this.why.hidden = !sentences.length;
    this.showRate(run?.series.get("learning_rate")?.last?.[0] ?? run?.facts?.hyperparameters?.learning_rate);
  }

  mark(control, key, isPending) {
    control.setAttribute("aria-disabled", String(Boolean(key)));
    if (key) control.setAttribute("aria-describedby", this.id);
    else control.removeAttribute("aria-describedby");
    control.title = key ? this.words(key) : "";
    control.classList.toggle("nk-td-waiting", isPending);
  }

  sentences(reasons, pending, isLate) {
    const { words } = this;
    const names = requests => [...requests].map(request => words(request === "learning_rate" ? "name_learning_rate" : `ask_${request}`)).join(", ");
    const isAll = requests => requests.length === BUTTONS.length + 1;
    return [
      pending.size ? words("asked_for", { what: names(pending) }) : null,
      ...[...reasons].map(([key, requests]) => (isAll(requests) ? words(key) : `${names(requests)}: ${words(key)}`)),
      isLate && !reasons.size ? words("why_after") : null,
    ].filter(Boolean);
  }

  /** Show the learning rate of the run, unless someone is typing a new one. */
  showRate(value) {
    if (document.activeElement === this.rate) return;
    const text = Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "";
    if (this.rate.value !== text) this.rate.value = text;
    this.rate.placeholder = text ? "" : this.words("unknown_rate");
  }
}

/** The key of the text saying why a request is not possible now; "" if it is. */
function reasonOf(request, live, offline) {
  if (offline) return "why_offline";
  const reason = live.can?.[request];
  if (reason === "why_loaded") return "why_loaded";
  if (live.status === "ended") return "why_ended";
  if (reason) return reason;
  if (live.status === "idle" || !live.status) return "why_idle";
  return live.status === "stopping" ? "why_stopping" : "";
}
