"use strict";
// Sorting: numbers by value, texts by name; the order of the first look is worst first.
const number = (text) => Number(text.replace("\u2212", "-").replace(/[^-+.\d]/g, "")) ;
const value = (row, index) => {
  const text = row.cells[index].textContent.trim();
  const parsed = /^[-+]?\d/.test(text) ? number(text) : NaN;
  return Number.isNaN(parsed) ? text : parsed;
};
const compare = (first, second) => (typeof first === "number" && typeof second === "number"
  ? first - second : String(first).localeCompare(String(second)));
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => direction * compare(value(a, index), value(b, index)));
    body.append(...rows);
  }));
}
// Paper cannot be opened: everything but the viewers is.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not(.viewer)")];
  opened.forEach((part) => { part.open = true; });
});
window.addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
