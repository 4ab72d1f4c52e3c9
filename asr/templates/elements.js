"use strict";
// Small helpers: elements and numbers. Text from the data reaches the page through `append` alone, as text.

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "style") for (const [property, set] of Object.entries(value)) node.style.setProperty(property, set);
    else if (typeof value === "function") node.addEventListener(key, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// Text of any direction, which does not turn what stands around it.
const apart = (text) => el("bdi", {}, String(text));

const count = (number) => number.toLocaleString("en");
const percent = (rate, digits = 1) => (rate === null ? "∞" : `${(100 * rate).toFixed(digits)}%`);
const signed = (number, digits) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(digits)}`;
const points = (rate) => (rate === null ? "∞" : signed(100 * rate, 1));
const chance = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// An interval that draws gave the same rate every time, as from one utterance, is no certainty.
const interval = (score, rate = "wer") =>
  score[`${rate}_low`] === score[`${rate}_high`]
    ? "–"
    : `${percent(score[`${rate}_low`])} to ${percent(score[`${rate}_high`])}`;

// The same of a difference, in percentage points.
const pointsInterval = (low, high) => (low === high && low !== null ? "–" : `${points(low)} to ${points(high)} points`);

// Letters that one cannot see, and marks that would stand on nothing.
const sign = (letter) =>
  letter === null ? "∅" : letter === " " ? "␣" : /^\p{M}/u.test(letter) ? `◌${letter}` : letter;

const LETTERS = ["A", "B"];

function section(id, title, ...children) {
  return el(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title),
    ...children,
  );
}

// Radio buttons in one line: [value, label] each; `chosen` is called with the new value.
function choice(name, legend, options, value, chosen) {
  const buttons = options.map(([option, label]) =>
    el(
      "label",
      {},
      el("input", { type: "radio", name, value: option, checked: option === value, change: () => chosen(option) }),
      el("span", {}, label),
    ),
  );
  return el("fieldset", { class: "choice" }, el("legend", { class: "hidden" }, legend), ...buttons);
}

// A rate as a bar, with its interval as a thin line over it; `most` is the rate at the right end.
function bar(score, most, system = 0) {
  const share = (rate) => `${(100 * Math.min(rate === null ? most : rate, most)) / (most || 1)}%`;
  const low = share(score.wer_low);
  const whisker = { left: low, width: `calc(${share(score.wer_high)} - ${low})` };
  return el(
    "span",
    { class: `bar system-${system}`, "aria-hidden": "true" },
    el("span", { class: "fill", style: { width: share(score.wer) } }),
    score.wer_low === score.wer_high ? null : el("span", { class: "whisker", style: whisker }),
  );
}
