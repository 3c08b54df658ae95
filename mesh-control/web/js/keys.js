// What keys do on every page.

const PAGES = { g: "#/", s: "#/services", n: "#/nodes", c: "#/sync" };

/** `page()` is the page that is shown. */
export function listen(page) {
  const dialog = document.getElementById("keys");
  const help = () => (dialog.open ? dialog.close() : dialog.showModal());
  document.getElementById("help").addEventListener("click", help);
  let going = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const { key, target } = event;
    if (target.matches("input, select, textarea")) {
      if (key === "Escape" && target.type === "search") {
        target.value = "";
        target.dispatchEvent(new Event("input"));
        target.blur();
      }
      return;
    }
    const went = going;
    going = false;
    if (dialog.open) {
      if (key !== "?") return;
      help();
    } else if (went && PAGES[key]) location.hash = PAGES[key];
    else if (key === "g") going = true;
    else if (key === "/") {
      const filter = document.getElementById("filter");
      if (!filter) return;
      filter.focus();
      filter.select();
    } else if (key === "?") help();
    else if (key === "t") document.getElementById("theme").click();
    else if ((key === "ArrowDown" || key === "ArrowUp") && next(target, key === "ArrowDown")) {
      // Went to the next row.
    } else if (!page()?.press?.(key)) return;
    event.preventDefault();
  });
}

/** From the link of a row to that of the next one. */
function next(target, down) {
  const row = target.closest("li, tbody tr");
  if (!row || !target.matches("a")) return false;
  const other = down ? row.nextElementSibling : row.previousElementSibling;
  const link = other?.querySelector("a");
  link?.focus();
  return Boolean(link);
}
