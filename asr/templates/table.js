// A table that is sorted by the buttons in its head and shows one page of its rows at a time.
//
// A column: {title, value(row): number, text or null to sort by, cell(row): text or node}, and true where it is so:
// numeric, header, wide, extra. Where there is little room, extra columns are left out.
// The head names the order in aria-sort; null comes last in both orders.

function compareValues(one, other, descending) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "number" ? one - other : one.localeCompare(other, undefined, { numeric: true });
  return descending ? -order : order;
}

class SortedTable {
  constructor({ caption, columns, rows, size = 50, sort = null, className = "" }) {
    Object.assign(this, { columns, size, page: 0, column: null, descending: false });
    this.heads = columns.map((column, i) => this.head(column, i));
    // The roles are those of the elements; said again, since tables that are laid out otherwise lose them.
    const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, this.heads));
    this.body = el("tbody", { role: "rowgroup" });
    const table = el("table", { class: className, role: "table" }, el("caption", {}, caption), head, this.body);
    this.status = el("span", { role: "status" });
    this.previous = el("button", { type: "button", click: () => this.turn(-1) }, "‹ Previous");
    this.next = el("button", { type: "button", click: () => this.turn(1) }, "Next ›");
    this.pager = el("div", { class: "pager" }, this.previous, this.status, this.next);
    const scroller = el("div", { class: "scroller" }, table);
    this.element = el("div", { class: "sorted" }, scroller, this.pager);
    this.rows = rows;
    if (sort) this.sort(...sort);
    else this.show();
  }

  head(column, i) {
    const button = el("button", { type: "button", click: () => this.sort(i) }, column.title);
    const cell = el("th", { scope: "col", role: "columnheader", class: this.classes(column), "aria-sort": "none" });
    cell.append(column.value ? button : column.title);
    return cell;
  }

  classes(column) {
    return ["numeric", "wide", "extra"].filter((name) => column[name]).join(" ");
  }

  // Sorts by a column; again by the same one turns the order. Numbers begin with the largest.
  sort(i, descending = i === this.column ? !this.descending : Boolean(this.columns[i].numeric)) {
    Object.assign(this, { column: i, descending, page: 0 });
    this.heads.forEach((head, j) =>
      head.setAttribute("aria-sort", j !== i ? "none" : descending ? "descending" : "ascending"),
    );
    this.setRows(this.rows);
  }

  setRows(rows) {
    const value = this.column === null ? null : this.columns[this.column].value;
    this.rows = value ? [...rows].sort((a, b) => compareValues(value(a), value(b), this.descending)) : rows;
    this.page = 0;
    this.show();
  }

  turn(pages) {
    this.page += pages;
    this.show();
    this.element.scrollIntoView({ block: "start" });
  }

  show() {
    const start = this.page * this.size;
    const shown = this.rows.slice(start, start + this.size);
    this.body.replaceChildren(...shown.map((row) => this.row(row)));
    this.status.textContent = this.rows.length
      ? `${count(start + 1)}–${count(start + shown.length)} of ${count(this.rows.length)}`
      : "none";
    this.previous.disabled = start === 0;
    this.next.disabled = start + shown.length >= this.rows.length;
    this.pager.classList.toggle("single", this.rows.length <= this.size);
  }

  row(row) {
    const cells = this.columns.map((column) =>
      el(
        column.header ? "th" : "td",
        {
          scope: column.header ? "row" : null,
          role: column.header ? "rowheader" : "cell",
          class: this.classes(column),
          "data-title": column.title,
        },
        column.cell(row),
      ),
    );
    return el("tr", { role: "row" }, cells);
  }
}
