// Puts the page together.

function main() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = utterances(data);
  const sections = [
    comparison(data, table.follow),
    groups(data),
    confusions(data, table.follow),
    table.element,
  ].filter(Boolean);
  const links = sections.map((each) => el("a", { href: `#${each.id}` }, each.querySelector("h2").textContent));
  document.body.append(overview(data), el("nav", { "aria-label": "Sections" }, links), el("main", {}, sections));
}

main();
