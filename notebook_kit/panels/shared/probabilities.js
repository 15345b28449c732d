// Probabilities as colours and as text.

import { colourScale } from "./common.js";

/** 256 colours from 0 to 1, each with the text colour that contrasts more. */
export const PROBABILITY_COLOURS = colourScale().map(rgb => {
  const [r, g, b] = rgb.map(value => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return { back: `rgb(${rgb.join(" ")})`, ink: 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000" };
});

/** The colour of a probability. */
export function colourOf(probability) {
  return PROBABILITY_COLOURS[Math.round(255 * Math.max(0, Math.min(1, probability)))];
}

/** A probability in at most six characters. */
export function percentOf(value) {
  if (value > 0 && value < 0.0001) return "<0.01%";
  return value >= 0.01 ? `${(value * 100).toFixed(1)}%` : `${(value * 100).toFixed(2)}%`;
}
