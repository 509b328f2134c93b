"use strict";

// Cells without a value come last, whichever way one sorts.
function compare(one, other, direction) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const words = Number.isNaN(Number(one)) || Number.isNaN(Number(other));
  return direction * (words ? one.localeCompare(other, undefined, { numeric: true }) : one - other);
}

document.querySelectorAll(".sortable thead th").forEach((heading, column, headings) => {
  const body = heading.closest("table").tBodies[0];
  heading.querySelector("button").addEventListener("click", () => {
    const direction = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    body.append(...[...body.rows].sort((one, other) => compare(value(one), value(other), direction)));
  });
});
