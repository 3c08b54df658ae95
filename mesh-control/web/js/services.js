// `#/services`: all services as a table.

import { el, setText, Table } from "./dom.js";
import { byName, bytes, count, micros, percent, plural, rate } from "./format.js";
import { health, sum, target, verdict } from "./model.js";
import { store } from "./store.js";

const ORDERS = {
  name: (a, b) => byName(a.id, b.id),
  rate: (a, b) => b.sums.rates.opened - a.sums.rates.opened || ORDERS.name(a, b),
  failing: (a, b) => ratio(b) - ratio(a) || ORDERS.rate(a, b),
  health: (a, b) => b.service.unhealthy - a.service.unhealthy
    || b.service.ejections - a.service.ejections || ORDERS.name(a, b),
  open: (a, b) => b.sums.open - a.sums.open || ORDERS.name(a, b),
};
const ratio = ({ verdict: { failed, tried } }) => (tried ? failed / tried : 0);

/** Rows by the service that they lead to. */
export function byService() {
  const rows = new Map();
  for (const row of store.edges.values()) {
    const name = target(row);
    if (rows.has(name)) rows.get(name).push(row);
    else rows.set(name, [row]);
  }
  return rows;
}

/** What the page's cells show. */
export function columns() {
  return [
    { title: "Service", cell: (it) => [it.id, `#/services/${it.id}`] },
    { title: "Health", cell: ({ well }) => [`${well.sign} ${well.text}`, null, `sign ${well.state}`] },
    { title: "Open", number: true, cell: (it) => count(it.sums.open) },
    { title: "Opened/s", number: true, cell: (it) => rate(it.sums.rates.opened) },
    { title: "Failed", number: true, help: "Of the connections tried within the last seconds",
      cell: ({ verdict: { state, failed, tried } }) =>
        [failed ? `✕ ${percent(failed, tried)}` : tried ? "0 %" : "–", null, `rate ${state}`] },
    { title: "Refused/s", number: true, help: "Connects that no endpoint could take",
      cell: (it) => rate(it.sums.rates.refused) },
    { title: "Sent/s", number: true, help: "Bytes by clients, of ended connections",
      cell: (it) => bytes(it.sums.rates.bytes_sent) },
    { title: "Received/s", number: true, help: "Bytes by clients, of ended connections",
      cell: (it) => bytes(it.sums.rates.bytes_received) },
    { title: "RTT", number: true, help: "Smoothed round-trip time at the end of connections, mean",
      cell: ({ sums: { window } }) => micros(window.closed ? window.rtt_us / window.closed : undefined) },
    { title: "Ports", cell: ({ service }) =>
      service.ports.map((port) => `${port.number}/${port.protocol}`).join(" ") },
  ];
}

export class ServicesPage {
  title = "Services";

  constructor(query) {
    this.filter = el("input", { type: "search", id: "filter", placeholder: "Filter  ( / )",
      "aria-label": "Filter by name", autocomplete: "off", spellcheck: "false",
      value: query.get("q") ?? "", oninput: () => this.update() });
    this.order = el("select", { id: "order", onchange: () => this.update() },
      Object.entries({ name: "name", rate: "connections", failing: "failures", health: "health", open: "open" })
        .map(([value, text]) => el("option", { value }, text)));
    this.says = el("span", { class: "quiet", role: "status" });
    this.table = new Table("All services. Rates are over the last 10 seconds.", columns(),
      (it) => it.id, { id: "services" });
    this.element = el("div", {}, el("h1", {}, "Services"),
      el("div", { class: "tools", role: "search" }, this.filter,
        el("label", {}, "order by ", this.order), this.says),
      this.table.element);
  }

  update() {
    const rows = byService();
    const text = this.filter.value.trim().toLowerCase();
    const items = [...store.services].filter(([id]) => id.includes(text)).map(([id, service]) => {
      const sums = sum(rows.get(id) ?? []);
      return { id, service, sums, verdict: verdict(sums), well: health(service) };
    });
    items.sort(ORDERS[this.order.value]);
    setText(this.says, `${items.length} of ${plural(store.services.size, "service")}`);
    this.table.show(items, store.summary ? "No service has this name." : "Waiting …",
      (it) => ({ "data-service": it.id }));
  }
}
