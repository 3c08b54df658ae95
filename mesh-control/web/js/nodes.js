// `#/nodes`, `#/nodes/NAME` and `#/sync`.

import { el, keyed, setAttribute, setText, Table } from "./dom.js";
import { byName, count, duration } from "./format.js";
import { client, sum, target } from "./model.js";
import { Detail, endpointTable, guardTable, Numbers, TRAFFIC } from "./service.js";
import { store } from "./store.js";

const STATES = {
  live: ["●", "ok", "live"],
  behind: ["◐", "degraded", "behind"],
  rejects: ["✕", "bad", "rejects"],
  away: ["∅", "bad", "away"],
  unknown: ["?", "unknown", "reports only"],
};

const state = (node) => {
  const [sign, kind, text] = STATES[node.state] ?? STATES.unknown;
  return [`${sign} ${text}`, null, `sign ${kind}`];
};
const link = (node) => [node.name, `#/nodes/${encodeURIComponent(node.name)}`];
const ago = (seconds) => (seconds ? duration(Math.max(0, store.summary.time_ms / 1000 - seconds)) : "–");
const why = (node) => node.rejections.map((it) => `revision ${it.revision}: ${it.message}`).join("; ");

function report({ report: it }) {
  if (!it) return ["none", null, "quiet"];
  return it.late ? [`✕ late, ${duration(it.age_s)} ago`, null, "sign bad"] : `${duration(it.age_s)} ago`;
}

export class NodesPage {
  title = "Nodes";

  constructor() {
    this.table = new Table("Nodes whose agents have connected, or report what they count.", [
      { title: "Node", cell: link },
      { title: "State", cell: state },
      { title: "Revision", number: true, cell: (it) => (it.live ? count(it.live) : "none") },
      { title: "Last report", cell: report },
      { title: "Omitted edges", number: true, cell: (it) => count(it.report?.omitted) },
      { title: "Run", cell: (it) => it.report?.run ?? "–" },
      { title: "Agent", cell: (it) => it.version || "–" },
      { title: "Connected", cell: (it) => (it.since_s ? `${it.connected ? "for" : "gone for"} ${ago(it.since_s)}` : "–") },
    ], (it) => it.name, { id: "nodes" });
    this.element = el("div", {}, el("h1", {}, "Nodes"), this.table.element);
  }

  update() {
    const nodes = [...store.nodes.values()].sort((a, b) => byName(a.name, b.name));
    this.table.show(nodes, store.summary ? "No node has connected yet." : "Waiting …",
      (it) => ({ "data-node": it.name, "data-state": it.state }));
  }
}

export class SyncPage {
  title = "Configuration sync";

  constructor() {
    this.says = el("p", { id: "sync-says", role: "status" });
    this.table = new Table("What nodes should serve, and what their kernels do.", [
      { title: "Node", cell: link },
      { title: "State", cell: state },
      { title: "Wanted", number: true, cell: () => count(store.summary.revision) },
      { title: "Sent", number: true, cell: (it) => (it.sent ? count(it.sent) : "none") },
      { title: "Live in the kernel", number: true, cell: (it) => (it.live ? count(it.live) : "none") },
      { title: "Since", number: true, cell: (it) => ago(it.live_at_s) },
      { title: "Rejected, and why", cell: why },
    ], (it) => it.name, { id: "sync" });
    this.element = el("div", {}, el("h1", {}, "Configuration sync"), this.says, this.table.element);
  }

  update() {
    if (!store.summary) return;
    const { revision, endpoints, service_configs: configs } = store.summary;
    const nodes = [...store.nodes.values()].filter((it) => it.state !== "unknown");
    const live = nodes.filter((it) => it.state === "live").length;
    const rank = { rejects: 0, behind: 1, away: 2, live: 3 };
    nodes.sort((a, b) => rank[a.state] - rank[b.state] || byName(a.name, b.name));
    setText(this.says, `Revision ${count(revision)}: ${count(store.services.size)} services, `
      + `${count(endpoints)} endpoints, ${count(configs)} service configs. `
      + `${live} of ${nodes.length} nodes serve it.`);
    this.table.show(nodes, "No node has connected yet.", (it) => ({
      "data-node": it.name, "data-state": it.state, "data-wanted": revision, "data-live": it.live,
    }));
  }
}

export class NodePage {
  constructor(name) {
    this.name = name;
    this.title = `Node ${name}`;
    this.missing = el("p", { class: "notice", hidden: true, id: "missing" },
      "No agent of this name has connected or reports.");
    this.facts = el("dl", { class: "facts", id: "node-sync" });
    this.nack = el("pre", { class: "notice", id: "nack", hidden: true });
    this.numbers = new Numbers();
    this.edges = new Table("What its clients connect to", [
      { title: "Client", cell: (it) => it.client },
      { title: "Service", cell: (it) => [it.service, `#/services/${it.service}`] }, ...TRAFFIC,
    ], (it) => it.key, { id: "edges" });
    this.endpoints = endpointTable(true);
    this.guards = guardTable();
    this.detail = new Detail({ node: name }, (detail) => this.take(detail));
    this.more = el("p", { class: "quiet" });
    this.element = el("article", { "aria-labelledby": "node-title" },
      el("h1", { id: "node-title" }, `Node ${name}`), this.missing, this.facts, this.nack,
      this.detail.says, el("h2", {}, "Connections of its clients"), this.numbers.element,
      el("div", { class: "tools" }, el("h2", {}, "Over time"), this.detail.range), this.detail.plots.element,
      el("h2", {}, "Traffic"), this.edges.element, this.guards.element,
      el("h2", {}, "Endpoints"), this.endpoints.element, this.more);
  }

  leave() {
    this.detail.leave();
  }

  update() {
    if (!store.summary) return;
    const node = store.nodes.get(this.name);
    this.missing.hidden = Boolean(node);
    this.detail.want(node);
    this.nack.hidden = !node?.rejections.length;
    setText(this.nack, node?.rejections.map((it) => `✕ rejects revision ${it.revision}: ${it.message}`).join("\n") ?? "");
    const [sync, , kind] = node ? state(node) : [];
    const [last, , lastKind] = node ? [report(node)].flat() : [];
    const facts = node ? [
      ["Configuration", sync, kind],
      ["Revision wanted", count(store.summary.revision)],
      ["Revision sent", node.sent ? count(node.sent) : "none"],
      ["Live in the kernel", node.live ? `${count(node.live)}, for ${ago(node.live_at_s)}` : "none"],
      ["Last report of traffic", last, lastKind],
      ["Edges omitted", count(node.report?.omitted)],
      ["Agent", `${node.version || "not connected"}${node.report ? `, run ${node.report.run}` : ""}`],
      ["Connected", node.since_s ? `${node.connected ? "for" : "gone for"} ${ago(node.since_s)}` : "no"],
    ] : [];
    keyed(this.facts, facts, ([name]) => name,
      ([name]) => el("div", {}, el("dt", {}, name), el("dd", {})),
      (row, [, text, cls]) => {
        setText(row.lastElementChild, text);
        setAttribute(row.lastElementChild, "class", cls);
      });
  }

  take(detail) {
    const items = detail.edges.map((row) => ({
      client: client(row).label, service: target(row), sums: sum([row]),
      key: `${target(row)} ${row.source_workload ?? ""}`,
    }));
    items.sort((a, b) => b.sums.rates.opened - a.sums.rates.opened || byName(a.key, b.key));
    this.numbers.show(sum(detail.edges));
    this.edges.show(items, "Nothing has been counted.");
    this.endpoints.show(detail.endpoints, "No endpoint names this node.", (it) => ({ "data-health": it.health }));
    setText(this.more, detail.endpoints_omitted ? `${count(detail.endpoints_omitted)} more: meshctl get endpoints` : "");
    this.guards.show(detail.guards, "No breaker is open, and no endpoint is ejected.");
  }
}
