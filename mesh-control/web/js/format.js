// Numbers, times and words as people read them.

/** Orders names as people do: web-2 is before web-10. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1,234,567 */
export const count = (number) => Math.round(number ?? 0).toLocaleString("en");

/** A rate with no more digits than it can bear. */
export function rate(number) {
  if (number === undefined || number === null) return "–";
  if (number === 0) return "0";
  if (number < 0.01) return "<0.01";
  // Bounds are where rounding would give another digit.
  if (number < 9.95) return number.toFixed(number < 0.995 ? 2 : 1);
  if (number < 9_999.5) return Math.round(number).toLocaleString("en");
  if (number < 999_950) return `${(number / 1e3).toFixed(1)}k`;
  return `${(number / 1e6).toFixed(1)}M`;
}

/** Bytes in binary units. */
export function bytes(number) {
  if (number === undefined || number === null) return "–";
  let at = 0;
  let value = number;
  while ((at === 0 ? value : Math.round(value)) >= 1024 && at < UNITS.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${UNITS[at]}`;
}

/** A part of a whole, rounded so that neither "0 %" nor "100 %" stands for something else. */
export function percent(part, whole) {
  if (!whole) return "–";
  const value = (100 * part) / whole;
  if (value > 0 && value < 0.1) return "<0.1 %";
  if (value < 100 && value > 99.9) return ">99.9 %";
  return `${value < 10 && value > 0 ? value.toFixed(1) : Math.round(value)} %`;
}

/** Microseconds. */
export function micros(number) {
  if (number === undefined || number === null || Number.isNaN(number)) return "–";
  if (number < 999.5) return `${Math.round(number)} µs`;
  if (number < 999_500) return `${(number / 1e3).toFixed(number < 9_950 ? 1 : 0)} ms`;
  return duration(number / 1e6);
}

/** Seconds. */
export function duration(seconds) {
  if (seconds === undefined || seconds === null) return "–";
  if (seconds < 10 && seconds % 1) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** "1 endpoint", "2 endpoints". */
export const plural = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
