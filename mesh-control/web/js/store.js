// What the control plane has told: services, nodes and edges, kept up by server-sent events.

const RETRY = [1_000, 2_000, 5_000, 10_000];

/**
 * One stream that is opened again when it breaks. It rests while nobody looks at the page: browsers
 * open only six connections to a server, for all pages together.
 */
export class Stream {
  /** `heard` maps names of events to functions of their data; `state` is told how it goes. */
  constructor(url, heard, state = () => {}) {
    this.url = url;
    this.heard = heard;
    this.state = state;
    this.failures = 0;
    this.listening = new AbortController();
    const { signal } = this.listening;
    document.addEventListener("visibilitychange", () => this.follow(), { signal });
    addEventListener("pagehide", () => this.rest(), { signal });
    addEventListener("pageshow", () => this.follow(), { signal });
    this.follow();
  }

  follow() {
    if (document.hidden) this.rest();
    else if (!this.source) this.open();
  }

  rest() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  open() {
    clearTimeout(this.timer);
    const source = new EventSource(this.url);
    this.source = source;
    this.openedAt = performance.now();
    for (const [name, take] of Object.entries(this.heard)) {
      source.addEventListener(name, (event) => {
        if (this.source !== source) return;
        this.failures = 0;
        this.state("live");
        take(event.data);
      });
    }
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      source.close();
      this.again();
    });
  }

  again() {
    this.rest();
    this.state("reconnecting");
    const wait = RETRY[Math.min(this.failures, RETRY.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.open(), wait);
  }

  close() {
    this.listening.abort();
    this.rest();
  }
}

/** Nothing has been heard for so long: the line is broken, whatever the browser thinks. */
const SILENCE = 5_000;

class Store extends EventTarget {
  constructor() {
    super();
    this.services = new Map();
    this.nodes = new Map();
    this.edges = new Map();
    this.summary = null;
    this.state = "connecting";
    this.heardAt = null;
    /** Moves when a service, node or edge comes or goes. */
    this.shape = 0;
  }

  start() {
    this.stream = new Stream("/api/v1/mesh/stream",
      { mesh: (data) => this.take(JSON.parse(data)) }, (state) => this.is(state));
    setInterval(() => {
      const silent = performance.now() - Math.max(this.heardAt, this.stream.openedAt);
      if (this.state === "live" && !document.hidden && silent > SILENCE) this.stream.again();
      this.dispatchEvent(new Event("tick"));
    }, 1_000);
  }

  is(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("tick"));
  }

  take(event) {
    const { full, services, nodes, edges, ...summary } = event;
    this.heardAt = performance.now();
    for (const [map, change] of [
      [this.services, services], [this.nodes, nodes], [this.edges, edges],
    ]) {
      if (full) {
        map.clear();
        this.shape += 1;
      }
      for (const name of change.gone ?? []) {
        map.delete(name);
        this.shape += 1;
      }
      for (const [name, row] of Object.entries(change.put)) {
        if (!map.has(name)) this.shape += 1;
        map.set(name, row);
      }
    }
    this.summary = summary;
    this.dispatchEvent(new Event("change"));
  }

  /** Seconds since the last event. */
  age() {
    return this.heardAt === null ? null : (performance.now() - this.heardAt) / 1000;
  }
}

export const store = new Store();
