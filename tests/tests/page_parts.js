// The body of a function that runs in the page: checks the modules that decide and draw nothing.
// Returns how many checks there were, and what those that failed say.
return (async () => {
  const { layout, NODE } = await import("/web/js/layout.js");
  const model = await import("/web/js/model.js");
  const format = await import("/web/js/format.js");
  const failed = [];
  let checks = 0;
  const check = (what, good) => {
    checks += 1;
    if (!good) failed.push(what);
  };
  const equal = (what, is, expected) =>
    check(`${what}: ${JSON.stringify(is)}, not ${JSON.stringify(expected)}`,
      JSON.stringify(is) === JSON.stringify(expected));

  // Graphs by chance, the same each time.
  let seed = 1;
  const random = (below) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const made = (size, count, cycles) => {
    const nodes = Array.from({ length: size }, (_, at) => ({ id: `n${at}`, group: `g${at % 7}` }));
    const edges = new Map();
    for (let at = 0; at < count; at += 1) {
      let [from, to] = [random(size), random(size)];
      if (from === to) continue;
      if (!cycles && from > to) [from, to] = [to, from];
      edges.set(`${from} ${to}`, { id: `${from} ${to}`, from: `n${from}`, to: `n${to}` });
    }
    return [nodes, [...edges.values()]];
  };
  const apart = (a, b) => a.x + NODE.width <= b.x || b.x + NODE.width <= a.x
    || a.y + NODE.height <= b.y || b.y + NODE.height <= a.y;
  const layered = (what, nodes, edges, placed) => {
    const overtaken = edges.filter(({ from, to }) => placed.places.get(from).x >= placed.places.get(to).x);
    check(`${what}: ${overtaken.length} edges lead back`, overtaken.length === 0);
    const hit = edges.filter(({ id }) => (placed.lanes.get(id) ?? []).some((lane) =>
      nodes.some((node) => {
        const place = placed.places.get(node.id);
        return place.x === lane.x && place.y < lane.y && lane.y < place.y + NODE.height;
      })));
    check(`${what}: ${hit.length} edges go through nodes`, hit.length === 0);
  };
  for (const [size, count] of [[1, 0], [2, 1], [5, 7], [12, 30], [40, 80], [120, 240], [121, 10], [500, 1000]]) {
    for (const cycles of [false, true]) {
      const what = `${size} nodes, ${count} edges${cycles ? " with cycles" : ""}`;
      const [nodes, edges] = made(size, count, cycles);
      const placed = layout(nodes, edges);
      equal(`${what}: the same again`, [...layout(nodes, edges).places], [...placed.places]);
      const places = nodes.map(({ id }) => placed.places.get(id));
      check(`${what}: out of the picture`, places.every(({ x, y }) => x >= 0 && y >= -0.01
        && x + NODE.width <= placed.width + 0.01 && y + NODE.height <= placed.height + 0.01));
      const over = places.filter((a, at) => places.slice(at + 1).some((b) => !apart(a, b)));
      check(`${what}: ${over.length} nodes lie on others`, over.length === 0);
      // Too many for a layer are several columns, which edges may cross.
      if (!cycles && size <= 40) layered(what, nodes, edges, placed);
    }
  }

  // Sums: totals are of all rows, rates of those of which time is known.
  const row = (opened, failures, window, about = {}) => ({
    ...about, open: opened, window_ms: window ? 10_000 : 0,
    total: { opened, failed: failures, failures: failures ? [{ name: "refused", count: failures }] : undefined,
      refusals: failures ? [{ name: "breaker_open", count: 2 * failures }] : undefined },
    ...(window && { window: { opened, failed: failures, failures: failures ? [{ name: "refused", count: failures }] : undefined } }),
  });
  const sums = model.sum([row(100, 10, true), row(50, 0, false)]);
  equal("opened", [sums.total.opened, sums.open, sums.rates.opened, sums.known], [150, 150, 10, true]);
  equal("causes", sums.causes, [{ name: "refused", total: 10, rate: 1 }]);
  equal("refusals", sums.refusals, [{ name: "breaker_open", total: 20, rate: 0 }]);
  equal("nothing is known of no rows", model.sum([]).known, false);
  for (const [opened, failures, state] of [[0, 0, "idle"], [99, 0, "ok"], [96, 4, "warn"], [95, 5, "bad"], [0, 1, "bad"]]) {
    equal(`${failures} of ${opened + failures} failed`,
      model.verdict({ ...model.sum([row(opened, failures, true)]), open: 0 }).state, state);
  }

  const service = (it) => ({ namespace: "shop", name: "web", endpoints: 0, healthy: 0, unhealthy: 0,
    unknown: 0, breakers: 0, ejections: 0, workloads: [], ...it });
  for (const [it, state] of [
    [{}, "empty"],
    [{ endpoints: 3 }, "unchecked"],
    [{ endpoints: 3, healthy: 3 }, "ok"],
    [{ endpoints: 3, healthy: 2, unhealthy: 1 }, "degraded"],
    [{ endpoints: 3, unhealthy: 3 }, "bad"],
    [{ endpoints: 3, healthy: 2, unknown: 1 }, "unknown"],
    [{ endpoints: 3, healthy: 3, breakers: 1 }, "degraded"],
    [{ endpoints: 3, ejections: 1 }, "degraded"],
  ]) {
    equal(`health of ${JSON.stringify(it)}`, model.health(service(it)).state, state);
  }

  // Who is an endpoint of one service is that service; who is one of two is neither.
  const services = new Map([
    ["shop/web", service({ workloads: ["web.service", "both.service"] })],
    ["shop/db", service({ name: "db", workloads: ["both.service"] })],
  ]);
  const to = { namespace: "shop", service: "db" };
  const rows = new Map(["web.service", "both.service", undefined, "unknown", "other"].map((source_workload, at) =>
    [String(at), row(1, 0, true, { ...to, source_workload })]));
  rows.set("gone", row(1, 0, true, { namespace: "shop", service: "gone", source_workload: "web.service" }));
  const { nodes, edges } = model.graph(services, rows);
  equal("edges", [...edges.keys()].sort(), ["client both.service → shop/db",
    "client other clients → shop/db", "client unknown clients → shop/db",
    "shop/web → shop/db", "shop/web → shop/gone"]);
  equal("clients of whom nothing is known are one", edges.get("client unknown clients → shop/db").rows.length, 2);
  equal("a service that is gone", nodes.get("shop/gone").kind, "other");
  const again = model.graph(services, rows, { nodes, edges }).edges;
  check("edges without a change are the same", [...again].every(([id, edge]) => edges.get(id) === edge));
  rows.set("0", row(2, 0, true, { ...to, source_workload: "web.service" }));
  const changed = model.graph(services, rows, { nodes, edges }).edges;
  equal("those that have changed", [...changed].filter(([id, it]) => edges.get(id) !== it).map(([id]) => id),
    ["shop/web → shop/db"]);

  for (const [is, expected] of [
    [format.percent(0, 10), "0 %"], [format.percent(1, 100_000), "<0.1 %"],
    [format.percent(99_999, 100_000), ">99.9 %"], [format.percent(10, 10), "100 %"],
    [format.percent(0, 0), "–"], [format.percent(1, 30), "3.3 %"],
    [format.rate(0), "0"], [format.rate(0.001), "<0.01"], [format.rate(0.25), "0.25"],
    [format.rate(9.96), "10"], [format.rate(1234), "1,234"], [format.rate(999_999), "1.0M"],
    [format.rate(12_345), "12.3k"], [format.rate(undefined), "–"],
    [format.bytes(0), "0 B"], [format.bytes(1023), "1023 B"], [format.bytes(1024), "1.0 KiB"],
    [format.bytes(1_048_575), "1.0 MiB"], [format.bytes(5 * 2 ** 40), "5.0 TiB"],
    [format.micros(999.6), "1.0 ms"], [format.micros(150), "150 µs"], [format.micros(2.5e6), "2.5 s"],
    [format.duration(0), "0 s"], [format.duration(119), "119 s"], [format.duration(3600), "60 min"],
    [format.count(1_234_567), "1,234,567"], [format.plural(1, "edge"), "1 edge"],
    [["b-10", "a", "b-2"].sort(format.byName), ["a", "b-2", "b-10"]],
  ]) {
    equal("formatted", is, expected);
  }
  return { checks, failed };
})();
