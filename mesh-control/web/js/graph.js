// `#/`: the graph, and beside it the same as a list.

import { el, keyed, setAttribute, setText, svg } from "./dom.js";
import { byName, percent, plural, rate } from "./format.js";
import { layout, NODE } from "./layout.js";
import { graph, health, same, sum, target, verdict } from "./model.js";
import { store } from "./store.js";

const MARGIN = 28;
/** With more edges, only those of the node at hand and those that fail have labels. */
const LABELLED = 90;
const ZOOM = { least: 0.12, most: 2, step: 1.25 };

export class GraphPage {
  title = "Graph";

  constructor(query) {
    this.filter = el("input", {
      type: "search", id: "filter", placeholder: "Filter  ( / )", "aria-label": "Filter by name",
      autocomplete: "off", spellcheck: "false", value: query.get("q") ?? "",
      oninput: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.change(), 120);
      },
    });
    this.namespace = el("select", { id: "namespace", "aria-label": "Namespace",
      onchange: () => this.change() }, el("option", { value: "" }, "all namespaces"));
    this.wanted = query.get("ns") ?? "";
    this.active = el("input", { type: "checkbox", id: "active", onchange: () => this.change() });
    this.active.checked = query.get("active") === "1";
    this.near = query.get("near") ?? "";
    this.nearButton = el("button", { type: "button", id: "near", hidden: true,
      onclick: () => this.around("") });
    const zoom = (text, name, by) =>
      el("button", { type: "button", "aria-label": name, title: name, onclick: () => this.zoom(by) }, text);
    this.says = el("p", { class: "quiet", id: "graph-says", role: "status" });

    this.blockLayer = svg("g", { class: "blocks", "aria-hidden": "true" });
    this.edgeLayer = svg("g", { class: "edges" });
    this.labelLayer = svg("g", { class: "labels" });
    this.nodeLayer = svg("g", { class: "nodes" });
    this.picture = svg("svg", { id: "graph", role: "group",
      "aria-label": "Service graph. Arrow keys go from node to node. The list beside it says the same." },
      svg("defs", {}, ["idle", "ok", "warn", "bad"].map((state) =>
        svg("marker", { id: `tip-${state}`, class: `tip ${state}`, viewBox: "0 0 8 8", refX: 7,
          refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
          svg("path", { d: "M0 0 8 4 0 8z" })))),
      this.blockLayer, this.edgeLayer, this.labelLayer, this.nodeLayer);
    this.nothing = el("p", { class: "quiet", id: "nothing", hidden: true });
    this.frame = el("div", { class: "frame" }, this.picture, this.nothing);
    this.list = el("ul", { id: "service-list", "aria-label": "Services" });
    this.element = el("div", { class: "graph-page" },
      el("h1", { class: "hidden" }, "Service graph"),
      el("div", { class: "tools", role: "search" }, this.filter, this.namespace,
        el("label", {}, this.active, " only with traffic"), this.nearButton,
        el("span", { class: "space" }),
        zoom("−", "Smaller", 1 / ZOOM.step), zoom("+", "Larger", ZOOM.step), zoom("⤢", "All of it", 0)),
      el("div", { class: "split" }, this.frame,
        el("aside", { "aria-label": "Services" }, this.says, this.list)),
      legend());

    this.scale = null;
    this.chosen = "";
    this.shape = "";
    this.picture.addEventListener("keydown", (event) => this.key(event));
    this.picture.addEventListener("focusin", (event) => this.choose(event.target.dataset?.id));
    this.picture.addEventListener("pointerover", (event) =>
      this.point(event.target.closest?.(".node")?.dataset.id ?? ""));
    this.drag();
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.frame);
    globalThis.mesh = { ...globalThis.mesh, positionOf: (id) => this.positionOf(id) };
  }

  leave() {
    clearTimeout(this.typing);
    this.resized.disconnect();
  }

  /** Keys of this page: returns whether it took one. */
  press(key) {
    if (key === "+" || key === "=") this.zoom(ZOOM.step);
    else if (key === "-") this.zoom(1 / ZOOM.step);
    else if (key === "0") this.zoom(0);
    else if (key === "n" && (this.near || this.chosen)) this.around(this.near ? "" : this.chosen);
    else return false;
    return true;
  }

  /** The controls say something else: shows it, and keeps it in the address. */
  change() {
    this.wanted = this.namespace.value;
    const query = new URLSearchParams();
    if (this.filter.value) query.set("q", this.filter.value);
    if (this.wanted) query.set("ns", this.wanted);
    if (this.active.checked) query.set("active", "1");
    if (this.near) query.set("near", this.near);
    const text = query.toString();
    history.replaceState(null, "", text ? `#/?${text}` : "#/");
    this.scale = null;
    this.update();
  }

  around(id) {
    this.near = id;
    this.change();
    this.nodeLayer.querySelector(`[data-id="${CSS.escape(id || this.chosen)}"]`)?.focus();
  }

  update() {
    if (!store.summary) {
      setText(this.says, "Waiting for the control plane …");
      return;
    }
    this.namespaces();
    const all = graph(store.services, used(store.edges), this.all);
    this.all = all;
    const shown = this.select(all);
    const ids = [...shown.nodes.keys()].sort(byName);
    const edges = [...shown.edges.values()].filter((it) => it.from !== it.to);
    const shape = JSON.stringify([ids, edges.map((edge) => edge.id).sort()]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.placed = layout(ids.map((id) => grouped(shown.nodes.get(id))), edges);
      this.picture.setAttribute("viewBox", [-MARGIN, -MARGIN,
        this.placed.width + 2 * MARGIN, this.placed.height + 2 * MARGIN].join(" "));
      this.fit();
    }
    this.shown = shown;
    setAttribute(this.picture, "hidden", ids.length === 0);
    this.nothing.hidden = ids.length > 0;
    setText(this.nothing, store.services.size ? "Nothing fits the filter."
      : "There are no services yet: meshctl apply -f FILE makes some.");
    this.draw(ids.map((id) => shown.nodes.get(id)), edges);
    this.tell(shown, all);
  }

  namespaces() {
    const names = [...new Set([...store.services.values()].map((it) => it.namespace))].sort();
    keyed(this.namespace, ["", ...names], (name) => `ns ${name}`,
      (name) => el("option", { value: name }, name || "all namespaces"));
    if (this.wanted && !names.includes(this.wanted)) return;
    this.namespace.value = this.wanted;
  }

  /** What of the graph is asked for. */
  select({ nodes, edges }) {
    const text = this.filter.value.trim().toLowerCase();
    const busy = new Map();
    for (const edge of edges.values()) {
      if (edge.verdict.tried > 0 || edge.sums.open > 0) {
        busy.set(edge.from, true);
        busy.set(edge.to, true);
      }
    }
    const keep = new Set();
    const direct = new Set();
    const fits = (node) => {
      if (this.wanted && node.sub !== this.wanted) return false;
      if (this.active.checked && !busy.has(node.id)) return false;
      return !text || node.id.toLowerCase().includes(text);
    };
    const narrowed = this.wanted || text;
    for (const node of nodes.values()) {
      if (this.near ? node.id === this.near : fits(node)) direct.add(node.id);
    }
    for (const id of direct) keep.add(id);
    // With whom they have to do.
    if (narrowed || this.near) {
      for (const { from, to } of edges.values()) {
        if (direct.has(from)) keep.add(to);
        if (direct.has(to)) keep.add(from);
      }
    }
    const quiet = (edge) => this.active.checked && edge.verdict.tried === 0 && edge.sums.open === 0;
    const both = [...edges].filter(([, edge]) => keep.has(edge.from) && keep.has(edge.to)
      && (!(narrowed || this.near) || direct.has(edge.from) || direct.has(edge.to)) && !quiet(edge));
    return {
      nodes: new Map([...nodes].filter(([id]) => keep.has(id))),
      edges: new Map(both),
      direct,
    };
  }

  draw(nodes, edges) {
    const { places, lanes, blocks } = this.placed;
    const labelled = edges.length <= LABELLED && blocks.length === 0;
    const routes = this.placed.routes ??= blocks.length
      ? new Map(edges.map((edge) => [edge.id, line(places.get(edge.from), places.get(edge.to))]))
      : routed(edges, places, lanes);
    keyed(this.blockLayer, blocks, (block) => block.name,
      (block) => svg("g", {}, svg("rect", { rx: 10 }), svg("text", {}, block.name)),
      (element, { x, y, width, height }) => {
        const [rect, text] = element.children;
        for (const [name, value] of Object.entries({ x, y, width, height })) setAttribute(rect, name, value);
        setAttribute(text, "x", x + 16);
        setAttribute(text, "y", y + 29);
      });
    this.picture.classList.toggle("many", !labelled);
    this.picture.classList.toggle("map", blocks.length > 0);
    keyed(this.edgeLayer, edges, (edge) => edge.id,
      (edge) => svg("path", { "data-from": edge.from, "data-to": edge.to }),
      (path, edge) => {
        const lit = this.lit(edge);
        if (unchanged(path, [edge, routes, lit])) return;
        const { state } = edge.verdict;
        setAttribute(path, "d", routes.get(edge.id).d);
        setAttribute(path, "class", `edge ${state} w${thickness(edge.sums.rates.opened)}${lit}`);
        setAttribute(path, "marker-end", blocks.length ? null : `url(#tip-${state})`);
      });
    const texts = edges.filter((edge) => edge.verdict.state !== "idle"
      && (labelled || this.lit(edge) || (edge.verdict.state === "bad" && blocks.length === 0)));
    keyed(this.labelLayer, texts, (edge) => edge.id,
      () => svg("text", { "text-anchor": "middle" }),
      (text, edge) => {
        const { x, y } = routes.get(edge.id).label;
        setAttribute(text, "x", x);
        setAttribute(text, "y", y - 5);
        setAttribute(text, "class", `label ${edge.verdict.state}${this.lit(edge)}`);
        setText(text, edgeText(edge));
      });
    const into = new Map();
    // All of them, also those that are not shown.
    for (const edge of this.all.edges.values()) {
      if (into.has(edge.to)) into.get(edge.to).push(edge);
      else into.set(edge.to, [edge]);
    }
    const first = nodes.some((node) => node.id === this.chosen) ? this.chosen : nodes[0]?.id;
    keyed(this.nodeLayer, nodes, (node) => node.id, makeNode, (element, node) => {
      setAttribute(element, "tabindex", node.id === first ? 0 : -1);
      const edges = into.get(node.id) ?? [];
      if (unchanged(element, [node.service, places, ...edges])) return;
      const { x, y } = places.get(node.id);
      setAttribute(element, "transform", `translate(${x} ${y})`);
      drawNode(element, node, edges.flatMap((edge) => edge.rows), blocks.length > 0);
    });
  }

  tell({ nodes, direct, edges }, all) {
    const rows = new Map();
    for (const row of store.edges.values()) {
      const to = target(row);
      if (rows.has(to)) rows.get(to).push(row);
      else rows.set(to, [row]);
    }
    const services = [...nodes.values()].filter((it) => it.kind === "service"
      && (this.near || direct.has(it.id)));
    services.sort((a, b) => byName(a.id, b.id));
    const total = store.services.size;
    const what = services.length === total ? plural(total, "service")
      : `${services.length} of ${plural(total, "service")}`;
    setText(this.says, `${what}, ${plural(edges.size, "edge")} of ${all.edges.size}`);
    this.nearButton.hidden = !this.near;
    setText(this.nearButton, `around ${this.near} ✕`);
    keyed(this.list, services, (it) => it.id,
      (it) => el("li", {}, el("a", { href: `#/services/${it.id}`, "data-service": it.id },
        el("span", { class: "sign" }), el("span", { class: "name" },
          el("span", { class: "ns" }, `${it.sub}/`), it.label),
        el("span", { class: "rate" }))),
      (li, it) => {
        if (unchanged(li, [it.service, ...(rows.get(it.id) ?? [])])) return;
        const link = li.firstElementChild;
        const [sign, , number] = link.children;
        const sums = sum(rows.get(it.id) ?? []);
        const { state, failed, tried } = verdict(sums);
        const well = health(it.service);
        setAttribute(sign, "class", `sign ${well.state}`);
        setText(sign, well.sign);
        const failing = failed > 0 ? ` ✕ ${percent(failed, tried)}` : "";
        setAttribute(number, "class", `rate ${state}`);
        setText(number, `${rate(sums.rates.opened)}/s${failing}`);
        setAttribute(link, "aria-label", `${it.id}: ${well.text}, ${rate(sums.rates.opened)} connections per second, `
          + (failed > 0 ? `${percent(failed, tried)} failed` : "none failed"));
      });
  }

  lit(edge) {
    const at = this.pointed || this.chosen;
    return at && (edge.from === at || edge.to === at) ? " lit" : "";
  }

  choose(id) {
    if (!id || id === this.chosen) return;
    this.chosen = id;
    for (const node of this.nodeLayer.children) {
      setAttribute(node, "tabindex", node.dataset.id === id ? 0 : -1);
    }
    this.redraw();
  }

  point(id) {
    if (id === this.pointed) return;
    this.pointed = id;
    this.redraw();
  }

  /** The same with another node at hand. */
  redraw() {
    const edges = [...this.shown.edges.values()].filter((it) => it.from !== it.to);
    this.draw([...this.shown.nodes.keys()].sort(byName).map((id) => this.shown.nodes.get(id)), edges);
  }

  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const node = event.target.closest?.(".node");
    if (!way || !node || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const id = nearest(this.placed.places, node.dataset.id, way);
    if (id) this.nodeLayer.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus();
  }

  /** 0: all of it. */
  zoom(by) {
    if (by === 0) this.scale = null;
    else this.scale = Math.min(ZOOM.most, Math.max(ZOOM.least, this.shownScale * by));
    this.fit();
  }

  fit() {
    if (!this.placed) return;
    const [width, height] = [this.placed.width + 2 * MARGIN, this.placed.height + 2 * MARGIN];
    const { clientWidth, clientHeight } = this.frame;
    const whole = Math.min(clientWidth / width, clientHeight / height, 1.15);
    const scale = this.scale ?? Math.max(ZOOM.least, whole);
    this.shownScale = scale;
    this.picture.setAttribute("width", Math.floor(width * scale));
    this.picture.setAttribute("height", Math.floor(height * scale));
    this.picture.classList.toggle("far", scale < 0.5);
  }

  /** Moves the picture with the pointer, and zooms with the wheel and Ctrl. */
  drag() {
    let from = null;
    this.frame.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest(".node")) return;
      from = { x: event.clientX + this.frame.scrollLeft, y: event.clientY + this.frame.scrollTop };
      this.frame.setPointerCapture(event.pointerId);
    });
    this.frame.addEventListener("pointermove", (event) => {
      if (from) this.frame.scrollTo(from.x - event.clientX, from.y - event.clientY);
    });
    const end = () => { from = null; };
    this.frame.addEventListener("pointerup", end);
    this.frame.addEventListener("pointercancel", end);
    this.frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? ZOOM.step : 1 / ZOOM.step);
    }, { passive: false });
  }

  /** The middle of a node in the window's coordinates, scrolled into view. */
  positionOf(id) {
    const node = this.nodeLayer.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (!node) return null;
    node.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    const { left, top, width, height } = node.getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };
  }
}

/** What elements were drawn from; they are left alone as long as that is the same. */
const drawn = new WeakMap();

function unchanged(element, from) {
  const before = drawn.get(element);
  drawn.set(element, from);
  return before !== undefined && same(before, from);
}

/** Rows that say of a connection that it was made, or could not be. */
function used(edges) {
  const says = ({ total, open }) => open || total.opened || total.failed || total.refused || total.passed;
  return new Map([...edges].filter(([, row]) => says(row)));
}

function makeNode(node) {
  const attributes = { class: "node", "data-id": node.id };
  if (node.kind === "service") {
    attributes["data-service"] = node.id;
    attributes.href = `#/services/${node.id}`;
  } else {
    attributes.role = "img";
  }
  return svg(node.kind === "service" ? "a" : "g", attributes,
    svg("title"),
    svg("rect", { width: NODE.width, height: NODE.height, rx: node.kind === "client" ? 23 : 7 }),
    svg("text", { class: "name", x: 14, y: 19 }),
    svg("text", { class: "sub", x: 14, y: 36 }),
    svg("text", { class: "sign", x: NODE.width - 12, y: 19, "text-anchor": "end" }),
    svg("text", { class: "count", x: NODE.width - 12, y: 36, "text-anchor": "end" }));
}

function drawNode(element, node, rows, small) {
  const [title, , name, sub, sign, number] = element.children;
  setText(name, cut(node.label, small ? 11 : 20));
  const well = node.kind === "service" ? health(node.service) : null;
  setAttribute(element, "class", `node ${node.kind} ${well?.state ?? ""}`);
  setText(sub, cut(node.sub, 16));
  const sums = sum(rows);
  const { failed, tried } = verdict(sums);
  const rates = `${rate(sums.rates.opened)}/s`;
  setText(sign, well?.sign ?? "");
  setText(number, well ? rates : "");
  const says = well
    ? `${node.id}: ${well.text}; ${rates} connections, ${failed ? `${percent(failed, tried)} failed` : "none failed"}`
    : `${node.kind === "client" ? "client" : "service"} ${node.label}`;
  setText(title, says);
  setAttribute(element, "aria-label", says);
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function edgeText(edge) {
  const { failed, tried } = edge.verdict;
  const text = `${rate(edge.sums.rates.opened)}/s`;
  return failed > 0 ? `${text} ✕ ${percent(failed, tried)}` : text;
}

/** 0 to 4 by the power of ten. */
const thickness = (perSecond) => Math.max(0, Math.min(4, Math.ceil(Math.log10(perSecond + 1))));

/** A node for the layout; all that are no services are one group. */
const grouped = ({ id, kind, sub }) => ({ id, group: kind === "service" ? sub : "clients" });

/** The ways of all edges. They leave and reach a node side by side, in the order of their other ends. */
function routed(edges, places, lanes) {
  const ends = edges.map((edge) => {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    const lane = lanes.get(edge.id) ?? [];
    return { edge, from, to, lane, out: lane[0]?.y ?? to.y, in: lane.at(-1)?.y ?? from.y };
  });
  const leave = beside(ends, (it) => it.edge.from, (it) => it.out);
  const reach = beside(ends, (it) => it.edge.to, (it) => it.in);
  return new Map(ends.map((it) => {
    const start = { x: it.from.x + NODE.width, y: it.from.y + leave.get(it).y };
    const end = { x: it.to.x, y: it.to.y + reach.get(it).y };
    return [it.edge.id, route(start, it.lane, end, leave.get(it).of > reach.get(it).of)];
  }));
}

function beside(ends, key, order) {
  const groups = new Map();
  for (const it of ends) {
    if (groups.has(key(it))) groups.get(key(it)).push(it);
    else groups.set(key(it), [it]);
  }
  const places = new Map();
  for (const group of groups.values()) {
    group.sort((a, b) => order(a) - order(b));
    const step = Math.min(11, (NODE.height - 12) / group.length);
    group.forEach((it, at) => places.set(it,
      { y: NODE.height / 2 + (at - (group.length - 1) / 2) * step, of: group.length }));
  }
  return places;
}

/**
 * Straight past columns between, and where the label goes: near the target where edges fan out,
 * near the source where they come together.
 */
function route(start, lanes, end, fans) {
  const path = [`M${round(start)}`];
  const bends = [];
  let at = start;
  for (const lane of lanes) {
    bends.push(bend(at, lane));
    at = { x: lane.x + NODE.width, y: lane.y };
    path.push(bends.at(-1).d, `L${round(at)}`);
  }
  bends.push(bend(at, end));
  path.push(bends.at(-1).d);
  return { d: path.join(""), label: fans ? bends.at(-1).point(0.6) : bends[0].point(0.4) };
}

/** From middle to middle, below the nodes. */
function line(from, to) {
  const [dx, dy] = [NODE.width / 2, NODE.height / 2];
  const [a, b] = [{ x: from.x + dx, y: from.y + dy }, { x: to.x + dx, y: to.y + dy }];
  return { d: `M${round(a)}L${round(b)}`, label: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 } };
}

const round = ({ x, y }) => `${Math.round(x)} ${Math.round(y)}`;

function bend(a, b) {
  const ahead = b.x > a.x;
  const reach = ahead ? Math.max(30, (b.x - a.x) / 2) : 90;
  // Back to the left it makes a loop.
  const drop = ahead ? 0 : NODE.height * 1.4 * (b.y >= a.y ? 1 : -1);
  const [c, e] = [{ x: a.x + reach, y: a.y + drop }, { x: b.x - reach, y: b.y + drop }];
  const mix = (t, name) => (1 - t) ** 3 * a[name] + 3 * (1 - t) ** 2 * t * c[name]
    + 3 * (1 - t) * t * t * e[name] + t ** 3 * b[name];
  return {
    d: `C${round(c)} ${round(e)} ${round(b)}`,
    point: (t) => ({ x: Math.round(mix(t, "x")), y: Math.round(mix(t, "y")) }),
  };
}

/** The node that lies in a direction, the nearest by way and angle. */
function nearest(places, id, [dx, dy]) {
  const from = places.get(id);
  let best = null;
  for (const [other, { x, y }] of places) {
    const along = (x - from.x) * dx + (y - from.y) * dy;
    const aside = Math.abs((x - from.x) * dy) + Math.abs((y - from.y) * dx);
    if (other === id || along <= 0) continue;
    const way = along + 2 * aside;
    if (!best || way < best.way) best = { way, other };
  }
  return best?.other;
}

function legend() {
  const line = (state, text) => el("li", {},
    svg("svg", { width: 34, height: 10, "aria-hidden": "true" },
      svg("path", { class: `edge ${state} w2`, d: "M1 5H33" })), ` ${text}`);
  const sign = (state, mark, text) => el("li", {}, el("span", { class: `sign ${state}` }, mark), ` ${text}`);
  return el("ul", { class: "legend", "aria-label": "Legend" },
    line("ok", "connections per second"), line("warn", "some fail"),
    line("bad", "5 % or more fail"), line("idle", "none within 10 s"),
    sign("ok", "●", "healthy"), sign("degraded", "◐", "partly"), sign("bad", "✕", "not at all"),
    sign("unchecked", "○", "not checked"), sign("unknown", "?", "not known"));
}
