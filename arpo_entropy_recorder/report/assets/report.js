"use strict";
// Tables: a button in each heading sorts by its column. Without this script the page says the same, unsorted.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replace(/,/g, "").replace("\u2212", "-").replace("No. ", ""));
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b
      : typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? -1 : 1;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sign = descending ? -1 : 1;
      body.append(...[...body.rows].sort((a, b) => sign * compare(value(a, column), value(b, column))));
    });
  });
}

// Trajectories: sorted and filtered by what each article carries in its data attributes.
const controls = document.getElementById("controls");
if (controls) {
  controls.hidden = false;
  const [order, tool, words, shown, list] =
    ["order", "tool", "words", "shown", "list"].map((id) => document.getElementById(id));
  const articles = [...list.children];
  const key = (article, name) => parseFloat(article.dataset[name] ?? "-Infinity");
  const update = () => {
    const sign = order.value === "step" ? 1 : -1;
    list.append(...[...articles].sort((a, b) => sign * (key(a, order.value) - key(b, order.value) || 0)));
    const wanted = words.value.toLowerCase();
    let count = 0;
    for (const article of articles) {
      const fits = (!tool.value || article.dataset.tools.split(" ").includes(tool.value)) &&
        article.textContent.toLowerCase().includes(wanted);
      article.hidden = !fits;
      count += fits;
    }
    const all = articles.length === 1 ? "1 trajectory" : `${articles.length} trajectories`;
    shown.textContent = count === articles.length ? all : `${count} of ${all}`;
  };
  for (const control of [order, tool, words]) control.addEventListener("input", update);
}
