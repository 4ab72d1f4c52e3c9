// What is taken for what: words and letters.

function confusions(data, follow) {
  const holder = el("div");
  const show = (i) => holder.replaceChildren(...confusionTables(data.confusions[i], i, data.systems[i], follow));
  show(0);
  const systems = data.systems.map((system, i) => [i, el("span", {}, tag(i), " ", apart(system.name))]);
  return section(
    "confusions",
    "What is taken for what?",
    el("p", { class: "note" }, "Choose a word to see its utterances."),
    systems.length > 1 ? choice("confusions", "Confusions of which system", systems, 0, show) : null,
    holder,
  );
}

function confusionTables(found, system, score, follow) {
  const times = (at) => ({ title: "times", numeric: true, value: (row) => row[at], cell: (row) => count(row[at]) });
  const word = (title, at, step) => ({
    title,
    header: at === 0,
    value: (row) => row[at],
    cell: (row) => link(row[at], () => follow({ ...step(row), system })),
  });
  const substituted = (row) => ({ letter: "S", said: row[0], heard: row[1] });
  const table = (caption, rows, columns, sorted) =>
    el("div", {}, new SortedTable({ caption, rows, columns, size: 10, sort: [sorted, true] }).element);
  const costs = [
    word("word", 0, (row) => ({ word: row[0] })),
    { title: "errors", numeric: true, value: (row) => row[1], cell: (row) => count(row[1]) },
    {
      title: "of all errors",
      numeric: true,
      extra: true,
      value: (row) => row[1],
      cell: (row) => percent(row[1] / score.errors),
    },
    {
      title: "missed",
      numeric: true,
      value: (row) => row[2],
      cell: (row) => `${count(row[2])} of ${count(row[4])}`,
    },
    { title: "inserted", numeric: true, value: (row) => row[3], cell: (row) => count(row[3]) },
  ];
  return [
    el(
      "div",
      { class: "columns" },
      table("Words that cost most", found.costs, costs, 1),
      table(
        "Substitutions",
        found.substitutions,
        [word("said", 0, substituted), word("heard", 1, substituted), times(2)],
        2,
      ),
      table(
        "Deletions",
        found.deletions,
        [word("said", 0, (row) => ({ letter: "D", said: row[0], heard: null })), times(1)],
        1,
      ),
      table(
        "Insertions",
        found.insertions,
        [word("heard", 0, (row) => ({ letter: "I", said: null, heard: row[0] })), times(1)],
        1,
      ),
    ),
    letters(found.letters),
  ];
}

const MATRIX = 44; // letters of a matrix at most; with more the list alone is shown

function letters(counts) {
  const pairs = counts.filter(([said, heard]) => said !== heard);
  const list = new SortedTable({
    caption: "Letters",
    rows: pairs,
    size: 10,
    sort: [2, true],
    columns: [
      { title: "said", header: true, value: (row) => sign(row[0]), cell: (row) => apart(sign(row[0])) },
      { title: "heard", value: (row) => sign(row[1]), cell: (row) => apart(sign(row[1])) },
      { title: "times", numeric: true, value: (row) => row[2], cell: (row) => count(row[2]) },
    ],
  }).element;
  const known = [...new Set(counts.flat().filter((letter) => typeof letter === "string"))].sort();
  const matrix = known.length && known.length <= MATRIX ? letterMatrix(counts, known) : null;
  return el("div", { class: "letters" }, el("div", {}, list), matrix);
}

// How often each letter (row) was written as which (column), as shares of the row; ∅ is none.
function letterMatrix(counts, known) {
  const axis = [...known, null];
  const times = new Map(counts.map(([said, heard, number]) => [`${said}\n${heard}`, number]));
  const at = (said, heard) => times.get(`${said}\n${heard}`) ?? 0;
  const line = (said) => {
    const total = axis.reduce((sum, heard) => sum + at(said, heard), 0);
    const cells = axis.map((heard) => {
      const number = at(said, heard);
      const share = total ? number / total : 0;
      return el(
        "td",
        {
          class: said === heard ? "right" : null,
          title: number ? `${sign(said)} → ${sign(heard)}: ${count(number)} times, ${percent(share)}` : null,
          style: { "--share": Math.sqrt(share).toFixed(3) },
        },
        el("span", { class: "hidden" }, number ? String(number) : ""),
      );
    });
    return el("tr", {}, el("th", { scope: "row" }, apart(sign(said))), cells);
  };
  return el(
    "div",
    { class: "scroller", tabindex: "0", role: "group", "aria-label": "Letter confusions" },
    el(
      "table",
      { class: "matrix" },
      el("caption", {}, "Said (rows) and heard (columns); ∅ is none"),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("td"),
          axis.map((heard) => el("th", { scope: "col" }, apart(sign(heard)))),
        ),
      ),
      el("tbody", {}, axis.map(line)),
    ),
  );
}
