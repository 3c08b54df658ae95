// Time series, drawn by uPlot. What a plot shows is also a table below it.

/* global uPlot */
import { el, setText, Table } from "./dom.js";
import { bytes, micros, rate } from "./format.js";

/** What is plotted, of points {opened, failed, …} over `step` seconds; `null`: not known. */
const PLOTS = [
  { title: "Connections per second", format: rate, lines: [
    { name: "opened", color: "--line-1", of: (it, step) => (it.opened ?? 0) / step },
    { name: "failed", color: "--line-bad", dash: [6, 4], of: (it, step) => (it.failed ?? 0) / step },
    { name: "refused", color: "--line-2", dash: [2, 3], of: (it, step) => (it.refused ?? 0) / step },
  ] },
  { title: "Bytes per second, of ended connections", format: bytes, lines: [
    { name: "sent", color: "--line-1", of: (it, step) => (it.bytes_sent ?? 0) / step },
    { name: "received", color: "--line-3", dash: [6, 4], of: (it, step) => (it.bytes_received ?? 0) / step },
  ] },
  { title: "Round-trip time, mean", format: micros, lines: [
    { name: "smoothed RTT", color: "--line-1", of: (it) => (it.closed ? (it.rtt_us ?? 0) / it.closed : null) },
  ] },
];
const HEIGHT = 170;
/** Steps of an axis of bytes. */
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const clock = (time, apart) => new Date(time * 1000).toLocaleTimeString([],
  { hour: "2-digit", minute: "2-digit", second: apart < 60 ? "2-digit" : undefined, hour12: false });

export class Plots {
  constructor() {
    this.says = el("p", { class: "quiet" }, "Waiting for the series …");
    this.boxes = PLOTS.map((plot) => new Box(plot));
    this.element = el("div", { class: "plots" }, this.boxes.map((box) => box.element), this.says);
    this.recolour = () => this.boxes.forEach((box) => box.again());
    addEventListener("themechange", this.recolour);
  }

  /** `series`: {step_ms, end_ms, rows: [{points: [{ago, …}]}]} with one row at most. */
  show(series, seconds) {
    const points = series.rows[0]?.points ?? [];
    const step = series.step_ms / 1000;
    const last = series.end_ms / 1000;
    const oldest = Math.max(points[0]?.ago ?? 0, Math.round(seconds / step) - 1);
    const times = Array.from({ length: oldest + 1 }, (_, at) => last - (oldest - at) * step);
    const known = new Array(oldest + 1).fill(null);
    for (const point of points) known[oldest - point.ago] = point;
    const partial = points.filter((it) => it.partial).length;
    setText(this.says, points.length === 0 ? "Nothing has been counted yet."
      : `A point is ${step} s. Gaps: nothing is known.${partial
        ? ` Of ${partial} points some node's part is not known.` : ""}`);
    for (const box of this.boxes) box.show(points.length ? times : [], known, step);
  }

  leave() {
    removeEventListener("themechange", this.recolour);
    for (const box of this.boxes) box.leave();
  }
}

class Box {
  constructor(plot) {
    this.plot = plot;
    this.canvas = el("div", { class: "plot", role: "img", "aria-label": plot.title });
    this.table = new Table(plot.title, [
      { title: "Time", cell: (it) => new Date(it.time * 1000).toLocaleTimeString() },
      ...plot.lines.map((line, at) => ({ title: line.name, number: true,
        cell: (it) => (it.values[at] === null ? "not known" : plot.format(it.values[at])) })),
    ], (it) => String(it.time));
    this.details = el("details", { ontoggle: () => this.list() },
      el("summary", {}, "as a table"), this.table.element);
    this.element = el("figure", {}, el("figcaption", {}, plot.title), this.canvas, this.details);
    this.resized = new ResizeObserver(() => this.size());
    this.resized.observe(this.canvas);
    this.data = null;
  }

  show(times, known, step) {
    const { lines, format, title } = this.plot;
    this.data = [times, ...lines.map((line) => known.map((it) => (it ? line.of(it, step) : null)))];
    // What is drawn, for tests and the curious.
    this.canvas.data = this.data;
    const says = lines.map((line, at) => {
      const values = this.data[at + 1].filter((value) => value !== null);
      if (values.length === 0) return `${line.name}: nothing known`;
      const most = values.reduce((a, b) => Math.max(a, b), 0);
      return `${line.name}: now ${format(values.at(-1))}, at most ${format(most)}`;
    });
    this.canvas.setAttribute("aria-label", `${title}. ${says.join("; ")}`);
    if (this.chart) this.chart.setData(this.data);
    else this.again();
    this.list();
  }

  list() {
    if (!this.details.open || !this.data) return;
    const [times, ...values] = this.data;
    const items = times.map((time, at) => ({ time, values: values.map((line) => line[at]) }));
    this.table.show(items.reverse().slice(0, 60), "Nothing yet.");
  }

  /** Draws anew: the colours are others. */
  again() {
    this.chart?.destroy();
    this.chart = null;
    if (!this.data || !this.canvas.clientWidth) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--quiet"), grid: { stroke: color("--grid"), width: 1 },
      ticks: { stroke: color("--grid"), width: 1 }, font: "11px system-ui, sans-serif" };
    const { lines, format } = this.plot;
    const binary = format === bytes ? POWERS : undefined;
    this.chart = new uPlot({
      width: this.canvas.clientWidth,
      height: HEIGHT,
      cursor: { y: false, points: { show: false } },
      scales: { y: { range: (_, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [{ ...axis, values: (_, ticks, _axis, _space, apart) => ticks.map((it) => clock(it, apart)) }, { ...axis, size: 66, incrs: binary, values: (_, ticks) => ticks.map((it) => format(it)) }],
      series: [{ value: (_, time) => (time ? new Date(time * 1000).toLocaleTimeString() : "–") },
        ...lines.map((line) => ({ label: line.name, stroke: color(line.color), width: 2,
          dash: line.dash, points: { show: false },
          value: (_, value) => (value === null || value === undefined ? "–" : format(value)) }))],
    }, this.data, this.canvas);
  }

  size() {
    if (this.chart) this.chart.setSize({ width: this.canvas.clientWidth, height: HEIGHT });
    else this.again();
  }

  leave() {
    this.resized.disconnect();
    this.chart?.destroy();
  }
}
