// The head of the page, the comparison and the groups.

function overview(data) {
  const systems = data.systems;
  const wrong = data.utterances.filter((utterance) => errorsOf(utterance, 0)).length;
  const facts = data.facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, apart(text))));
  return el(
    "header",
    {},
    el("p", { class: "kind" }, data.comparison ? "Comparison of two recognizers" : "Evaluation of a recognizer"),
    el("h1", {}, apart(data.title)),
    el(
      "div",
      { class: "headlines" },
      systems.map((system, i) => headline(system, i, systems)),
    ),
    data.without
      ? el("p", {}, `Without the written forms of --normalizer: WER ${percent(data.without.wer)}.`)
      : null,
    el(
      "p",
      { class: "counts" },
      systems.length > 1 ? "A: " : null,
      `${plural(wrong, "utterance")} of ${count(data.utterances.length)} with an error`,
      data.rtf === null ? null : ` · real-time factor ${data.rtf.toFixed(4)}`,
      failedOf(data).length
        ? el("strong", {}, ` · ${count(failedOf(data).length)} failed, counted as deleted`)
        : null,
    ),
    el("dl", { class: "facts" }, facts),
  );
}

const failedOf = (data) => data.utterances.filter((utterance) => utterance.failed);

const SCALES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]; // error rates at which the bar of a headline may end

function headline(system, i, systems) {
  const highest = Math.max(...systems.map((each) => each.wer_high ?? each.wer ?? 1));
  const most = SCALES.find((end) => end >= highest) ?? highest;
  const name = systems.length > 1 ? el("p", { class: "system" }, tag(i), " ", apart(system.name)) : null;
  const kinds = [
    ["substitution", system.substitutions],
    ["deletion", system.deletions],
    ["insertion", system.insertions],
  ];
  return el(
    "div",
    { class: "headline" },
    name,
    el(
      "p",
      { class: "rate" },
      el("span", { class: "label" }, "word error rate"),
      el("strong", {}, percent(system.wer)),
    ),
    el(
      "p",
      { class: "interval" },
      `95% interval ${interval(system)}, over ${system.interval_over}`,
    ),
    el("div", { class: "scale", "aria-hidden": "true" }, "0", bar(system, most, i), percent(most, 0)),
    el(
      "p",
      {},
      `${plural(system.errors, "error")} in ${plural(system.words, "word")}; `,
      `character error rate ${percent(system.cer)} (${interval(system, "cer")})`,
    ),
    el(
      "div",
      { class: "kinds", "aria-hidden": "true" },
      kinds.map(([kind, number]) => el("span", { class: kind, style: { "flex-grow": String(number) } })),
    ),
    el(
      "ul",
      { class: "legend" },
      kinds.map(([kind, number]) => el("li", { class: kind }, el("strong", {}, count(number)), ` ${kind}s`)),
    ),
  );
}

// A or B: the sign of one of two systems.
const tag = (i) => el("span", { class: `tag system-${i}` }, LETTERS[i]);

function comparison(data, follow) {
  const found = data.comparison;
  if (!found) return null;
  const difference = data.utterances.map((utterance) => errorsOf(utterance, 0) - errorsOf(utterance, 1));
  const wins = [difference.filter((d) => d < 0).length, difference.filter((d) => d > 0).length];
  const byWords = found.by === "words";
  const winner = found.better === null ? null : (byWords ? found.difference : found.cer_difference) < 0 ? 0 : 1;
  const verdict =
    winner === null
      ? ["No difference is shown between ", tag(0), " and ", tag(1), "."]
      : [tag(winner), " ", apart(found.better), " is better."];
  const matched = `Matched pairs, ${count(found.matched_pairs.segments)} segments`;
  const rows = [
    ["Difference of word error rates, A − B", `${points(found.difference)} points`],
    ["95% interval", pointsInterval(found.difference_low, found.difference_high)],
    [`Paired bootstrap over ${found.interval_over}`, chance(found.p)],
    ...(byWords ? [[matched, chance(found.matched_pairs.p)]] : []),
    ["Character error rates", `A ${percent(found.cer_a)}, B ${percent(found.cer_b)}`],
    ["Difference of character error rates, A − B", `${points(found.cer_difference)} points`],
    ["95% interval", pointsInterval(found.cer_difference_low, found.cer_difference_high)],
    [`Paired bootstrap over ${found.interval_over}`, chance(found.cer_p)],
    ...(byWords ? [] : [[`${matched} of characters`, chance(found.matched_pairs.p)]]),
    ...(found.missing_a || found.missing_b
      ? [["Utterances without a hypothesis, all deleted", `A ${count(found.missing_a)}, B ${count(found.missing_b)}`]]
      : []),
    ["Utterances with fewer errors", `A ${count(wins[0])}, B ${count(wins[1])}`],
    ["Utterances with as many errors", count(difference.length - wins[0] - wins[1])],
  ];
  return section(
    "comparison",
    "Which is better?",
    el("p", { class: "verdict" }, verdict),
    el(
      "p",
      { class: "note" },
      "A system is called better where both tests find p < 0.05",
      byWords ? "." : ", by characters, as in scripts without spaces between words.",
    ),
    el(
      "table",
      { class: "plain" },
      el("caption", { class: "hidden" }, "The comparison in numbers"),
      el(
        "tbody",
        {},
        rows.map(([name, value]) =>
          el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "numeric" }, value)),
        ),
      ),
    ),
    el(
      "div",
      { class: "columns" },
      [0, 1].map((i) => rightAlone(data.changed, i, follow)),
    ),
  );
}

// The words that one system alone gets right.
function rightAlone(changed, system, follow) {
  const other = 1 - system;
  const rows = changed.filter((row) => row[1 + system]);
  return new SortedTable({
    caption: el("span", {}, "Words that ", tag(system), " gets right where ", tag(other), " does not"),
    size: 10,
    rows,
    sort: [1, true],
    columns: [
      {
        title: "word",
        header: true,
        value: (row) => row[0],
        cell: (row) => link(row[0], () => follow({ word: row[0], system: other })),
      },
      {
        title: `only ${LETTERS[system]}`,
        numeric: true,
        value: (row) => row[1 + system],
        cell: (row) => count(row[1 + system]),
      },
      {
        title: `only ${LETTERS[other]}`,
        numeric: true,
        value: (row) => row[1 + other],
        cell: (row) => count(row[1 + other]),
      },
    ],
  }).element;
}

const link = (text, click) => el("button", { type: "button", class: "link", click }, apart(text));

function groups(data) {
  if (!data.groups.length) return null;
  const tables = data.groups.map((group) => el("div", {}, groupTable(group)));
  return section(
    "groups",
    "Where are the errors?",
    el("p", { class: "note" }, "Thin lines are 95% intervals. Few words say little."),
    el("div", { class: "columns groups" }, tables),
  );
}

function groupTable({ field, rows }) {
  const pair = rows[0].scores.length > 1;
  const most = Math.max(
    ...rows.flatMap((row) => row.scores.map((score) => score.wer_high ?? score.wer ?? 1)),
    0.001,
  );
  const order = new Map(rows.map((row, i) => [row, i]));
  const rate = (i) => ({
    title: pair ? `WER ${LETTERS[i]}` : "WER",
    numeric: true,
    value: (row) => row.scores[i].wer ?? Infinity,
    cell: (row) => el("span", { title: `95% interval ${interval(row.scores[i])}` }, percent(row.scores[i].wer)),
  });
  const difference = (row) => (row.scores[0].wer ?? Infinity) - (row.scores[1].wer ?? Infinity);
  const bars = {
    title: "95% interval",
    wide: true,
    cell: (row) => row.scores.map((score, i) => bar(score, most, i)),
  };
  return new SortedTable({
    caption: `By ${field}, intervals over ${rows[0].scores[0].interval_over}`,
    size: 20,
    rows,
    sort: field === "speaker" ? [pair ? 2 : 3, true] : [0, false],
    columns: [
      { title: field, header: true, value: (row) => order.get(row), cell: (row) => apart(row.label) },
      ...(pair
        ? []
        : [
            {
              title: "utterances",
              numeric: true,
              extra: true,
              value: (row) => row.scores[0].utterances,
              cell: (row) => count(row.scores[0].utterances),
            },
          ]),
      {
        title: "words",
        numeric: true,
        value: (row) => row.scores[0].words,
        cell: (row) => count(row.scores[0].words),
      },
      ...rows[0].scores.map((_, i) => rate(i)),
      ...(pair
        ? [
            {
              title: "A − B",
              numeric: true,
              value: difference,
              cell: (row) => (Number.isFinite(difference(row)) ? points(difference(row)) : "–"),
            },
          ]
        : []),
      bars,
    ],
  }).element;
}
