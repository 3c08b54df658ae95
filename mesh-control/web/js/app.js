// Which page is shown, and what stands above all of them.

import { el, keyed, setAttribute, setText } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { GraphPage } from "./graph.js";
import { listen } from "./keys.js";
import { NodePage, NodesPage, SyncPage } from "./nodes.js";
import { ServicePage } from "./service.js";
import { ServicesPage } from "./services.js";
import { store } from "./store.js";

const main = document.getElementById("main");
const live = document.getElementById("live");
const notices = document.getElementById("notices");
/** An event comes every second. */
const OLD = 3;
let page = null;
/** For tests and the curious. */
globalThis.mesh = { store };

function make(path, query) {
  const [name = "", ...rest] = path.map(decode);
  if (name === "") return new GraphPage(query);
  if (name === "services" && rest.length === 0) return new ServicesPage(query);
  if (name === "services" && rest.length === 2) return new ServicePage(rest.join("/"));
  if (name === "nodes" && rest.length === 0) return new NodesPage();
  if (name === "nodes" && rest.length === 1) return new NodePage(rest[0]);
  if (name === "sync" && rest.length === 0) return new SyncPage();
  return { title: "Not found", update() {}, element: el("div", {}, el("h1", {}, "There is no such page"),
    el("p", {}, el("a", { href: "#/" }, "To the graph"))) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route(first) {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  // The link to skip what stands above.
  if (path === "main") return;
  page?.leave?.();
  const parts = path.split("/").filter(Boolean);
  page = make(parts, new URLSearchParams(query));
  main.replaceChildren(page.element);
  document.title = `${page.title} – Mesh`;
  const names = { "": "graph" };
  const current = parts.length ? (names[parts[0]] ?? parts[0]) : "graph";
  for (const link of document.querySelectorAll("#nav a")) {
    setAttribute(link, "aria-current", link.dataset.page === current ? (parts.length > 1 ? "true" : "page") : null);
  }
  page.update();
  if (first !== true) {
    const heading = main.querySelector("h1:not(.hidden)");
    heading?.setAttribute("tabindex", "-1");
    (heading ?? main).focus({ preventScroll: true });
    main.scrollTo(0, 0);
  }
}

function status() {
  const { state } = store;
  const age = store.age();
  const old = age !== null && age > OLD;
  const shown = state === "live" && old ? "reconnecting" : state;
  setAttribute(live, "data-state", shown);
  const lost = shown === "reconnecting";
  let text = "● live";
  if (shown === "connecting") text = "connecting …";
  else if (lost) text = "✕ connection lost, trying again …";
  // The age is not for screen readers: it changes every second.
  setText(live.firstElementChild, text);
  setText(live.lastElementChild, lost && age !== null ? ` (data is ${duration(Math.round(age))} old)` : "");
  document.body.classList.toggle("old", lost && age !== null);
}

/** What the numbers leave out. */
function truth() {
  const { revision, stale_nodes: stale, series_omitted: omitted, trouble, version } = store.summary;
  const away = [...store.nodes.values()].filter((it) => it.state === "away");
  const rejecting = [...store.nodes.values()].filter((it) => it.state === "rejects");
  const some = (names) => (names.length > 5 ? `${names.slice(0, 5).join(", ")} and ${names.length - 5} more` : names.join(", "));
  const list = [];
  if (trouble) list.push(["trouble", trouble]);
  if (stale.length) list.push(["stale", `Stale: ${some(stale)} ${stale.length === 1 ? "does" : "do"} not report in time; what was counted there since is missing.`]);
  if (omitted) list.push(["omitted", `${plural(omitted, "edge")} had no room and ${omitted === 1 ? "is" : "are"} part of “other” or missing.`]);
  if (rejecting.length) list.push(["rejects", `${some(rejecting.map((it) => it.name))} ${rejecting.length === 1 ? "rejects" : "reject"} configuration: see Configuration sync.`]);
  if (away.length) list.push(["away", `Away: ${some(away.map((it) => it.name))}.`]);
  keyed(notices, list, ([key]) => key, ([key]) => el("p", { class: "notice", "data-notice": key }),
    (row, [, text]) => setText(row, text));
  setText(document.getElementById("revision"), `revision ${count(revision)} · ${version}`);
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
store.addEventListener("change", () => {
  status();
  truth();
  page.update();
});
store.addEventListener("tick", status);
listen(() => page);
route(true);
store.start();
