// Tables: a click on a heading sorts by it, a third one restores the order; one family of systems at a time.
for (const table of document.querySelectorAll("table.sortable")) {
  const bodies = [...table.tBodies], rows = [...table.querySelectorAll("tbody tr:not(.group)")];
  const heads = [...table.querySelectorAll("thead th")];
  const home = new Map(rows.map(row => [row, row.parentElement]));
  const valueOf = (row, column) => parseFloat(row.cells[column].textContent.replace(/[,−]/g, mark => (mark === "−" ? "-" : "")));
  function sort(column, direction) {
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === column && direction ? direction : "none"));
    table.classList.toggle("sorted", Boolean(direction));
    if (!direction) rows.forEach(row => home.get(row).append(row));
    else {
      const sign = direction === "ascending" ? 1 : -1;
      const key = row => (column ? valueOf(row, column) : row.cells[0].textContent.trim());
      const known = rows.filter(row => !column || !Number.isNaN(key(row)));
      known.sort((a, b) => sign * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
      bodies[0].append(...known, ...rows.filter(row => !known.includes(row)));  // what has no number comes last
    }
  }
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = {none: "ascending", ascending: "descending", descending: ""};
      sort(column, next[head.getAttribute("aria-sort")]);
    });
  });
  const groups = [...new Set(rows.map(row => row.dataset.group))];
  const label = document.createElement("label"), select = document.createElement("select");
  label.className = "filter";
  select.append(new Option("all", ""), ...groups.map(group => new Option(group)));
  select.addEventListener("change", () => {
    rows.forEach(row => { row.hidden = Boolean(select.value) && row.dataset.group !== select.value; });
    table.querySelectorAll("tr.group").forEach(row => { row.hidden = Boolean(select.value) && row.dataset.group !== select.value; });
  });
  label.append("Show ", select);
  table.parentElement.before(label);
}
