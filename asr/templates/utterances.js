// The table of utterances: search, filters and word alignments.

// The steps of an alignment: {letter, said, heard}.
function stepsOf(utterance, system) {
  const words = (text) => (text ? text.split(" ") : []);
  const said = words(utterance.said);
  const heard = words(utterance.heard[system]);
  let i = 0;
  let j = 0;
  return [...utterance.steps[system]].map((letter) => ({
    letter,
    said: letter === "I" ? null : said[i++],
    heard: letter === "D" ? null : heard[j++],
  }));
}

function errorsOf(utterance, system) {
  let errors = 0;
  for (const letter of utterance.steps[system]) errors += letter !== "=";
  return errors;
}

// Each utterance with what the table sorts and searches by.
function prepare(data) {
  return data.utterances.map((utterance, number) => {
    const words = [...utterance.steps[0]].filter((letter) => letter !== "I").length;
    const errors = data.systems.map((_, system) => errorsOf(utterance, system));
    return {
      ...utterance,
      number,
      words,
      errors,
      rate: words ? errors[0] / words : errors[0] ? Infinity : 0,
      pace: utterance.seconds ? words / utterance.seconds : null,
      medium: data.media[number] ?? null,
      searched: [utterance.id, utterance.speaker ?? "", utterance.said, ...utterance.heard]
        .join("\n")
        .toLowerCase(),
    };
  });
}

const KINDS = { S: "substitution", D: "deletion", I: "insertion" };
const LIMIT = 20000; // letters of an alignment that are drawn: beyond, a text is no utterance

// Words in order: right ones plain, wrong ones as what was said (struck out) over what was heard (underlined).
function aligned(utterance, system) {
  const units = stepsOf(utterance, system)
    .slice(0, LIMIT)
    .map(({ letter, said, heard }) => {
      if (letter === "=") return el("span", { class: "word" }, said);
      const none = () => el("span", { class: "none", "aria-hidden": "true" }, "·");
      const above = said === null ? none() : el("del", {}, said);
      const below = heard === null ? none() : el("ins", {}, heard);
      return el("span", { class: `word wrong ${KINDS[letter]}`, title: KINDS[letter] }, above, below);
    });
  return units.flatMap((unit) => [unit, " "]);
}

function utterances(data) {
  const rows = prepare(data);
  const pair = data.systems.length > 1;
  const filter = { which: "wrong", text: "", step: null };
  const kinds = {
    wrong: ["With errors", (row) => row.errors.some(Boolean)],
    ...(pair
      ? {
          a: ["A better", (row) => row.errors[0] < row.errors[1]],
          b: ["B better", (row) => row.errors[0] > row.errors[1]],
        }
      : {}),
    ...(rows.some((row) => row.medium) ? { media: ["To hear", (row) => row.medium] } : {}),
    ...(rows.some((row) => row.failed) ? { failed: ["Failed", (row) => row.failed] } : {}),
    all: ["All", () => true],
  };
  const fits = (row) =>
    kinds[filter.which][1](row) &&
    row.searched.includes(filter.text) &&
    (!filter.step || hasStep(row, filter.step));
  const table = new SortedTable({
    caption: el("span", { class: "hidden" }, "Utterances"),
    columns: columns(data),
    rows: [],
    size: 25,
    sort: [0, true],
    className: "utterances",
  });
  const chip = el("p", { class: "chip", hidden: true });
  const update = () => table.setRows(rows.filter(fits));
  const search = el("input", {
    type: "search",
    id: "search",
    placeholder: "word, name or speaker",
    input: (event) => {
      filter.text = event.target.value.trim().toLowerCase();
      update();
    },
  });
  const follow = (step) => {
    filter.step = step;
    const clear = el("button", { type: "button", click: () => follow(null) }, "Show all again");
    chip.hidden = !step;
    if (step) chip.replaceChildren(...described(step, pair), " ", clear);
    update();
    if (step) element.scrollIntoView({ block: "start" });
  };
  const options = Object.entries(kinds).map(([kind, [label, test]]) => [
    kind,
    `${label} ${count(rows.filter(test).length)}`,
  ]);
  const element = section(
    "utterances",
    "Utterances",
    el(
      "p",
      { class: "note" },
      el("del", {}, "said"),
      " was not heard; ",
      el("ins", {}, "heard"),
      " was not said. Of the worst there is sound.",
    ),
    el(
      "div",
      { class: "filters" },
      choice("which", "Which utterances", options, filter.which, (kind) => {
        filter.which = kind;
        update();
      }),
      el("label", { for: "search", class: "search" }, el("span", {}, "Search "), search),
    ),
    chip,
    table.element,
  );
  update();
  return { element, follow };
}

const hasStep = (row, { system, word, letter, said, heard }) =>
  stepsOf(row, system).some((step) =>
    word === undefined
      ? step.letter === letter && step.said === said && step.heard === heard
      : step.letter !== "=" && (step.said === word || step.heard === word),
  );

function described({ system, word, letter, said, heard }, pair) {
  const of = pair ? [" by ", tag(system)] : [];
  if (word !== undefined) return ["Errors in ", apart(`“${word}”`), ...of, "."];
  if (letter === "S") return [apart(`“${said}”`), " taken for ", apart(`“${heard}”`), ...of, "."];
  return [apart(`“${said ?? heard}”`), letter === "D" ? " not heard" : " inserted", ...of, "."];
}

function columns(data) {
  const pair = data.systems.length > 1;
  const number = (title, value, cell) => ({
    title,
    numeric: true,
    value,
    cell: (row) => (value(row) === null ? "–" : cell(value(row))),
  });
  return [
    ...data.systems.map((_, i) => number(pair ? `errors ${LETTERS[i]}` : "errors", (row) => row.errors[i], count)),
    pair
      ? number(
          "A − B",
          (row) => row.errors[0] - row.errors[1],
          (value) => (value ? signed(value, 0) : "0"),
        )
      : number(
          "WER",
          (row) => row.rate,
          (rate) => percent(rate === Infinity ? null : rate, 0),
        ),
    number("words", (row) => row.words, count),
    number(
      "seconds",
      (row) => row.seconds,
      (seconds) => seconds.toFixed(1),
    ),
    number(
      "words/s",
      (row) => row.pace,
      (pace) => pace.toFixed(1),
    ),
    { title: "speaker", value: (row) => row.speaker, cell: (row) => apart(row.speaker ?? "–") },
    {
      title: "utterance",
      wide: true,
      header: true,
      value: (row) => row.id,
      cell: (row) => utteranceCell(row, data),
    },
  ];
}

function utteranceCell(row, data) {
  const texts = data.systems.map((_, i) => {
    const words = row.steps[i] ? aligned(row, i) : [el("em", {}, "nothing was said, nothing was heard")];
    return el(
      "div",
      { class: "alignment" },
      data.systems.length > 1 ? tag(i) : null,
      el("p", { dir: "auto", lang: "" }, words),
    );
  });
  const failed = row.failed ? el("p", { class: "failed" }, "Failed: ", apart(row.failed)) : null;
  const cell = el("div", {}, el("p", { class: "id" }, apart(row.id)), texts, failed);
  if (row.medium) cell.append(...opener(row));
  return cell;
}
