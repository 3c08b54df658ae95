// Making and changing elements. Texts from the mesh go in as text only, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** An HTML element. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets a text only where it differs, so that selections and screen readers are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for an attribute; `null` removes it. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    element.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/**
 * Has a parent's children be one for each item, in order. Children stay the same element as long
 * as their key is there, so that focus stays where it is.
 */
export function keyed(parent, items, key, make, update) {
  const old = new Map();
  for (const child of parent.children) old.set(child.dataset.key, child);
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = old.get(name);
    if (child) {
      old.delete(name);
    } else {
      child = make(item);
      child.dataset.key = name;
    }
    update?.(child, item);
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  for (const child of old.values()) child.remove();
}

/** A table whose rows are kept by key. Columns: {title, number, cell(item) → text or element}. */
export class Table {
  constructor(caption, columns, key, attributes = {}) {
    this.columns = columns;
    this.key = key;
    this.body = el("tbody");
    const heads = columns.map((it) =>
      el("th", { scope: "col", class: it.number && "number", title: it.help }, it.title));
    this.empty = el("p", { class: "quiet", hidden: true });
    this.table = el("table", attributes,
      el("caption", {}, caption), el("thead", {}, el("tr", {}, heads)), this.body);
    this.element = el("div", { class: "scroll" }, this.table, this.empty);
  }

  /** Shows these items. `mark(item)` gives a row's data attributes. */
  show(items, empty = "None.", mark = () => ({})) {
    this.table.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    setText(this.empty, empty);
    keyed(this.body, items, this.key,
      () => el("tr", {}, this.columns.map((it, at) =>
        el(at === 0 ? "th" : "td", { scope: at === 0 && "row", class: it.number && "number" }))),
      (row, item) => {
        for (const [name, value] of Object.entries(mark(item))) setAttribute(row, name, value);
        this.columns.forEach((column, at) => put(row.children[at], column.cell(item)));
      });
  }
}

/** Puts a text, or what `[text, href, class]` says, into a cell, where it is not there yet. */
function put(cell, value) {
  const [text, href, kind] = Array.isArray(value) ? value : [String(value ?? "")];
  let holder = cell;
  if (href || kind) {
    const tag = href ? "A" : "SPAN";
    holder = cell.firstElementChild;
    if (holder?.tagName !== tag) {
      holder = el(tag.toLowerCase());
      cell.replaceChildren(holder);
    }
    if (href) setAttribute(holder, "href", href);
    setAttribute(holder, "class", kind ?? null);
  }
  setText(holder, text);
}
