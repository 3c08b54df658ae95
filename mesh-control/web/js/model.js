// What the numbers come to: rates, health and who calls whom. Pure.

/** Numbers that add up. */
const SUMS = ["attempts", "opened", "closed", "failed", "bytes_sent", "bytes_received",
  "retransmits", "rtt_us", "duration_us", "refused", "passed"];

/** Totals, rates, and failures and refusals by cause, of some rows. */
export function sum(rows) {
  const total = Object.fromEntries(SUMS.map((name) => [name, 0]));
  const window = { ...total };
  const [causes, refusals] = [new Map(), new Map()];
  let [open, seconds] = [0, 0];
  const rates = Object.fromEntries(SUMS.map((name) => [name, 0]));
  for (const row of rows) {
    open += row.open;
    const length = row.window_ms / 1000;
    seconds = Math.max(seconds, length);
    for (const name of SUMS) {
      total[name] += row.total[name] ?? 0;
      const grown = row.window?.[name] ?? 0;
      window[name] += grown;
      if (length > 0) rates[name] += grown / length;
    }
    addCauses(causes, row.total.failures, row.window?.failures, length);
    addCauses(refusals, row.total.refusals, row.window?.refusals, length);
  }
  const [failed, refused] = [causes, refusals].map((it) => [...it.values()]);
  return { total, window, rates, causes: failed, refusals: refused, open, known: seconds > 0 };
}

function addCauses(sums, total = [], window = [], seconds) {
  for (const { name, count } of total) {
    const cause = sums.get(name) ?? { name, total: 0, rate: 0 };
    cause.total += count;
    sums.set(name, cause);
  }
  for (const { name, count } of window) {
    const cause = sums.get(name);
    if (cause && seconds > 0) cause.rate += count / seconds;
  }
}

/** How the connections of the last seconds went: `idle`, `ok`, `warn` or `bad`; and the parts. */
export function verdict(sums) {
  const failed = sums.window.failed + sums.window.refused;
  const tried = sums.window.opened + failed;
  let state = "ok";
  if (tried === 0) state = sums.open > 0 ? "ok" : "idle";
  else if (failed / tried >= 0.05) state = "bad";
  else if (failed > 0) state = "warn";
  return { state, failed, tried };
}

/** Health of a service's endpoints: `ok`, `degraded`, `bad`, `unknown`, `unchecked` or `empty`. */
export function health(service) {
  const { endpoints, healthy, unhealthy, unknown, breakers, ejections } = service;
  const checked = healthy + unhealthy + unknown;
  const out = Math.max(unhealthy, Math.min(ejections, endpoints));
  if (endpoints === 0) return { state: "empty", sign: "∅", text: "no endpoints" };
  const all = `${endpoints - out}/${endpoints}`;
  const also = [];
  if (breakers > 0) also.push(`${breakers} breaker${breakers === 1 ? "" : "s"} open`);
  if (ejections > 0) also.push(`${ejections} ejected`);
  const extra = also.length ? `, ${also.join(", ")}` : "";
  if (out >= endpoints) return { state: "bad", sign: "✕", text: `${all} healthy${extra}` };
  if (out > 0 || breakers > 0) {
    return { state: "degraded", sign: "◐", text: `${all} healthy${extra}` };
  }
  if (checked === 0) return { state: "unchecked", sign: "○", text: `${endpoints}, not checked` };
  if (unknown > 0) {
    return { state: "unknown", sign: "?", text: `${healthy}/${endpoints} healthy, ${unknown} unknown` };
  }
  return { state: "ok", sign: "●", text: `${healthy}/${checked} healthy` };
}

/** Name of the service of an edge, or of all that there was no room for. */
export const target = (edge) => `${edge.namespace ?? ""}/${edge.service ?? ""}`;

/** Whether two lists have the same objects. */
export const same = (a, b) => a.length === b.length && a.every((it, at) => it === b[at]);

/** What stands for several clients or services, and for one of which nothing is known. */
const OTHER = "other";
const UNKNOWN = "unknown";

/** Who connects, as people read it; `workload` is there where it is one. */
export function client(row) {
  const name = row.source_workload || UNKNOWN;
  if (name === UNKNOWN) return { label: "unknown clients", sub: "not known who" };
  if (name === OTHER) return { label: "other clients", sub: "counted together" };
  return { label: name, sub: "workload", workload: name };
}

/** Workload → service, where only one service's endpoints have that workload. */
function owners(services) {
  const owners = new Map();
  for (const [name, service] of services) {
    for (const workload of service.workloads) {
      owners.set(workload, owners.has(workload) ? null : name);
    }
  }
  return owners;
}

/**
 * The graph: nodes {id, kind: "service" | "client" | "other", service?, label, sub} and edges
 * {id, from, to, rows}. A client that is an endpoint of one service is that service. Edges that
 * have not changed are the same objects as `before`.
 */
export function graph(services, rows, before) {
  const nodes = new Map();
  for (const [name, service] of services) {
    nodes.set(name, { id: name, kind: "service", service, label: service.name, sub: service.namespace });
  }
  const owner = owners(services);
  const edges = new Map();
  for (const row of rows.values()) {
    const to = target(row);
    if (!nodes.has(to)) {
      const label = row.service || "unknown";
      const sub = row.namespace || (row.service === OTHER ? "counted together" : "not known");
      nodes.set(to, { id: to, kind: "other", label, sub });
    }
    const who = client(row);
    let from = who.workload && owner.get(who.workload);
    if (!from) {
      from = `client ${who.workload ?? who.label}`;
      if (!nodes.has(from)) nodes.set(from, { id: from, kind: "client", label: who.label, sub: who.sub });
    }
    const id = `${from} → ${to}`;
    const edge = edges.get(id);
    if (edge) edge.rows.push(row);
    else edges.set(id, { id, from, to, rows: [row] });
  }
  for (const [id, edge] of edges) {
    const old = before?.edges.get(id);
    if (old && same(old.rows, edge.rows)) {
      edges.set(id, old);
      continue;
    }
    edge.sums = sum(edge.rows);
    edge.verdict = verdict(edge.sums);
  }
  return { nodes, edges };
}
