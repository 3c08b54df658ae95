// `#/services/NAMESPACE/NAME`: one service.

import { el, keyed, setAttribute, setText, Table } from "./dom.js";
import { byName, bytes, count, duration, micros, percent, rate } from "./format.js";
import { graph, health, sum, target, verdict } from "./model.js";
import { Plots } from "./plot.js";
import { store, Stream } from "./store.js";

const RANGES = {
  "5m": { text: "5 minutes", seconds: 300 },
  "15m": { text: "15 minutes", seconds: 900 },
  "1h": { text: "1 hour", seconds: 3_600 },
  "6h": { text: "6 hours", seconds: 21_600 },
  "24h": { text: "24 hours", seconds: 86_400 },
};

/** What has been counted since the nodes began to: exact. */
const METRICS = [
  ["opened", "Opened", count, (it) => `${rate(it.rates.opened)}/s`],
  ["closed", "Closed", count, (it) => `${rate(it.rates.closed)}/s`],
  ["failed", "Failed", count, (it) => `${rate(it.rates.failed)}/s`],
  ["refused", "Refused", count, (it) => `${rate(it.rates.refused)}/s`],
  ["bytes_sent", "Sent by clients", bytes, (it) => `${bytes(it.rates.bytes_sent)}/s`],
  ["bytes_received", "Received by clients", bytes, (it) => `${bytes(it.rates.bytes_received)}/s`],
];

/** Numbers as tiles, each with its exact value as `data-value`. */
export class Numbers {
  constructor() {
    this.tiles = new Map();
    this.element = el("dl", { class: "numbers", id: "numbers" });
    this.tile("open", "Open now");
    for (const [name, title] of METRICS) this.tile(name, title);
    this.tile("rtt", "Round-trip time, mean");
    this.tile("retransmits", "Segments retransmitted");
    this.causes = el("dd", { class: "quiet", id: "causes" });
    this.tiles.get("failed").box.append(this.causes);
    this.refusals = el("dd", { class: "quiet", id: "refusals" });
    this.tiles.get("refused").box.append(this.refusals);
  }

  tile(name, title) {
    const value = el("dd", { class: "value", "data-metric": name });
    const also = el("dd", { class: "quiet" });
    const box = el("div", { class: "tile" }, el("dt", {}, title), value, also);
    this.tiles.set(name, { value, also, box });
    this.element.append(box);
  }

  set(name, exact, text, also) {
    const tile = this.tiles.get(name);
    setAttribute(tile.value, "data-value", exact);
    setText(tile.value, text);
    setText(tile.also, also);
  }

  show(sums) {
    const { total, window } = sums;
    this.set("open", sums.open, count(sums.open), "");
    for (const [name, , format, also] of METRICS) {
      this.set(name, total[name], format(total[name]), sums.known ? also(sums) : "rate not known");
    }
    const rtt = (of) => (of.closed ? of.rtt_us / of.closed : undefined);
    this.set("rtt", rtt(total) ?? "", micros(rtt(window) ?? rtt(total)), window.closed ? "last 10 s" : "since the beginning");
    this.set("retransmits", total.retransmits, count(total.retransmits), "");
    const { failed, tried, state } = verdict(sums);
    setAttribute(this.tiles.get("failed").box, "class", `tile ${failed ? state : ""}`);
    const spelt = (causes) => causes.map((it) => `${it.name.replaceAll("_", " ")} ${count(it.total)}`);
    const now = failed ? [`${percent(failed, tried)} of the last 10 s`] : [];
    setText(this.causes, [...now, ...spelt(sums.causes)].join(" · "));
    setText(this.refusals, spelt(sums.refusals).join(" · "));
  }
}

/** Columns of rows of traffic, after the first. */
export const TRAFFIC = [
  { title: "Open", number: true, cell: (it) => count(it.sums.open) },
  { title: "Opened", number: true, cell: (it) => count(it.sums.total.opened) },
  { title: "Opened/s", number: true, cell: (it) => rate(it.sums.rates.opened) },
  { title: "Failed", number: true, cell: ({ sums }) => count(sums.total.failed + sums.total.refused) },
  { title: "Failing", number: true, help: "Of the connections tried within the last 10 seconds", cell: ({ sums }) => {
    const { state, failed, tried } = verdict(sums);
    return [failed ? `✕ ${percent(failed, tried)}` : tried ? "0 %" : "–", null, `rate ${state}`];
  } },
  { title: "Sent", number: true, cell: ({ sums }) => bytes(sums.total.bytes_sent) },
  { title: "Received", number: true, cell: ({ sums }) => bytes(sums.total.bytes_received) },
  { title: "RTT", number: true, cell: ({ sums: { total } }) =>
    micros(total.closed ? total.rtt_us / total.closed : undefined) },
];

const SIGNS = { healthy: ["●", "ok"], unhealthy: ["✕", "bad"], unknown: ["?", "unknown"], unchecked: ["○", "unchecked"] };

/** A table of endpoints. */
export const endpointTable = (withService) => new Table("Where connections go; those that are not healthy come first.", [
  { title: "Endpoint", cell: (it) => it.name },
  ...(withService ? [{ title: "Service", cell: (it) => [`${it.namespace}/${it.service}`, `#/services/${it.namespace}/${it.service}`] }] : []),
  { title: "Health", cell: (it) => {
    const [sign, state] = SIGNS[it.health];
    return [`${sign} ${it.health}${it.draining ? ", draining" : ""}`, null, `sign ${state}`];
  } },
  { title: "Why", cell: (it) => it.reason },
  { title: "Since", number: true, cell: (it) => (it.since_ms ? duration(it.since_ms / 1000) : "–") },
  { title: "Checked by", cell: (it) => it.source || "–" },
  { title: "Version", cell: (it) => it.version || "–" },
  { title: "Address", cell: (it) => it.address },
  ...(withService ? [] : [{ title: "Node", cell: (it) => (it.node ? [it.node, `#/nodes/${encodeURIComponent(it.node)}`] : "–") }]),
  { title: "Workload", cell: (it) => it.workload || "–" },
  { title: "Weight", number: true, cell: (it) => count(it.weight) },
], (it) => `${it.namespace}/${it.name}`, { id: "endpoints" });

/** A table of breakers and ejections. */
export const guardTable = () => new Table("Open breakers and ejections", [
  { title: "Node", cell: (it) => [it.node, `#/nodes/${encodeURIComponent(it.node)}`] },
  { title: "Service", cell: (it) => [`${it.namespace}/${it.service}`, `#/services/${it.namespace}/${it.service}`] },
  { title: "Port", number: true, cell: (it) => it.port },
  { title: "Of", cell: (it) => it.endpoint || "the whole service" },
  { title: "State", cell: (it) => [`✕ ${it.state}`, null, "sign bad"] },
  { title: "Why", cell: (it) => it.cause },
  { title: "Since", number: true, cell: (it) => duration(it.since_ms / 1000) },
  { title: "For", number: true, cell: (it) => (it.remaining_ms ? duration(it.remaining_ms / 1000) : "next connect") },
], (it) => `${it.node} ${it.namespace}/${it.service} ${it.port} ${it.endpoint}`, { id: "guards" });

/** The stream about one service or node, and the choice of how far back plots go. */
export class Detail {
  constructor(query, take) {
    this.query = query;
    this.take = take;
    this.plots = new Plots();
    this.says = el("p", { class: "notice", hidden: true, role: "status" });
    this.range = el("select", { id: "range", "aria-label": "How far back", onchange: () => this.open() },
      Object.entries(RANGES).map(([value, { text }]) => el("option", { value, selected: value === "15m" }, text)));
  }

  /** Whether there is anything to ask for. */
  want(wanted) {
    if (wanted && !this.stream) this.open();
    if (!wanted && this.stream) this.close();
  }

  close() {
    this.stream?.close();
    this.stream = null;
    this.says.hidden = true;
  }

  open() {
    this.close();
    const url = `/api/v1/mesh/detail?${new URLSearchParams({ ...this.query, range: this.range.value })}`;
    this.stream = new Stream(url, {
      detail: (data) => {
        this.says.hidden = true;
        this.take(JSON.parse(data));
      },
      series: (data) => this.plots.show(JSON.parse(data), RANGES[this.range.value].seconds),
      trouble: (data) => this.trouble(data),
    }, (state) => {
      if (state === "reconnecting") this.trouble("The details below are old: connecting again …");
    });
  }

  trouble(text) {
    this.says.hidden = false;
    setText(this.says, text);
  }

  leave() {
    this.close();
    this.plots.leave();
  }
}

export class ServicePage {
  constructor(id) {
    this.id = id;
    this.title = id;
    this.facts = el("dl", { class: "facts" });
    this.missing = el("p", { class: "notice", hidden: true, id: "missing" });
    this.numbers = new Numbers();
    this.versions = new Table("Versions", [
      { title: "Version", cell: (it) => it.name || "none, or not known" },
      { title: "Share", cell: (it) => it.share }, ...TRAFFIC,
    ], (it) => it.name, { id: "versions" });
    this.callers = new Table("Callers", [
      { title: "Who connects", cell: (it) => [it.label, it.href] }, ...TRAFFIC,
    ], (it) => it.key, { id: "callers" });
    this.callees = new Table("Callees", [
      { title: "Connects to", cell: (it) => [it.label, it.href] }, ...TRAFFIC,
    ], (it) => it.key, { id: "callees" });
    this.workloads = new Table("By endpoint workload", [
      { title: "Workload", cell: (it) => it.name || "none, or not known" }, ...TRAFFIC,
    ], (it) => it.name, { id: "workloads" });
    this.endpoints = endpointTable(false);
    this.guards = guardTable();
    this.rules = [];
    this.detail = new Detail({ service: id }, (detail) => this.take(detail));
    this.more = el("p", { class: "quiet" });
    this.element = el("article", { "aria-labelledby": "service-title" },
      el("h1", { id: "service-title" }, id, " ", el("a", { class: "aside", href: `#/?near=${encodeURIComponent(id)}` }, "in the graph")),
      this.missing, this.facts, this.detail.says, this.numbers.element,
      el("div", { class: "tools" }, el("h2", {}, "Over time"), this.detail.range), this.detail.plots.element,
      el("h2", {}, "Endpoints"), this.endpoints.element, this.more, this.guards.element,
      el("h2", {}, "Traffic"), this.callers.element, this.callees.element,
      this.versions.element, this.workloads.element);
  }

  leave() {
    this.detail.leave();
  }

  update() {
    if (!store.summary) return;
    const service = store.services.get(this.id);
    const rows = [...store.edges.values()].filter((row) => target(row) === this.id);
    this.missing.hidden = Boolean(service);
    this.detail.want(service || rows.length > 0);
    setText(this.missing, rows.length
      ? "This service is not configured any more; nodes still report what was counted."
      : "There is no service of this name.");
    const well = service && health(service);
    const facts = service ? [
      ["Health", `${well.sign} ${well.text}`, `sign ${well.state}`],
      ["Addresses", service.vips.join(", ")],
      ["Ports", service.ports.map((port) =>
        `${port.name} ${port.number} → ${port.target} ${port.protocol}`).join(", ")],
      ["Endpoints", `${service.endpoints}${service.draining ? `, ${service.draining} draining` : ""}`],
      ["Traffic rules", this.rules.length ? this.rules.map((rule) =>
        `${rule.service}${rule.version ? ` ${rule.version}` : ""}: ${rule.weight}`).join(", ") : "none"],
    ] : [];
    keyed(this.facts, facts, ([name]) => name,
      ([name]) => el("div", {}, el("dt", {}, name), el("dd", {})),
      (row, [, text, kind]) => {
        setText(row.lastElementChild, text);
        setAttribute(row.lastElementChild, "class", kind);
      });
    this.numbers.show(sum(rows));
    this.neighbours();
  }

  neighbours() {
    const { nodes, edges } = graph(store.services, store.edges);
    const show = (table, list, other, empty) => {
      const items = list.map((edge) => {
        const node = nodes.get(edge[other]);
        const href = node.kind === "client" ? undefined : `#/services/${node.id}`;
        return { key: node.id, label: node.kind === "client" ? node.label : node.id, href, sums: edge.sums };
      });
      items.sort((a, b) => b.sums.rates.opened - a.sums.rates.opened || byName(a.key, b.key));
      table.show(items, empty);
    };
    const says = ({ sums: { open, total } }) =>
      open || total.opened || total.failed || total.refused || total.passed;
    const all = [...edges.values()].filter(says);
    show(this.callers, all.filter((edge) => edge.to === this.id), "from", "Nobody has connected to it.");
    show(this.callees, all.filter((edge) => edge.from === this.id), "to",
      "None of its endpoints' workloads is known to have connected to a service.");
  }

  take(detail) {
    this.rules = detail.rules;
    const named = (rows, name) => rows.map((row) => ({ name: row[name] ?? "", sums: sum([row]) }));
    const weight = detail.rules.reduce((all, rule) => all + rule.weight, 0);
    const share = (version) => {
      const own = detail.rules.filter((rule) => rule.service === this.id && (rule.version ?? "") === version);
      return own.length ? percent(own.reduce((all, rule) => all + rule.weight, 0), weight) : "–";
    };
    this.versions.show(named(detail.versions, "version").map((it) => ({ ...it, share: share(it.name) })),
      "Nothing has been counted.");
    this.workloads.show(named(detail.workloads, "workload"), "Nothing has been counted.");
    this.endpoints.show(detail.endpoints, "It has no endpoints.", (it) => ({ "data-health": it.health }));
    setText(this.more, detail.endpoints_omitted ? `${count(detail.endpoints_omitted)} more: meshctl get endpoints` : "");
    this.guards.show(detail.guards, "No breaker is open, and no endpoint is ejected.");
  }
}
