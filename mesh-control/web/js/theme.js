// Light or dark, before anything is drawn: no module, so that it runs first.
"use strict";
(() => {
  const KEY = "mesh-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // Storage is switched off.
    }
  };
  const apply = () => {
    const theme = kept() ?? (system.matches ? "dark" : "light");
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      const other = theme === "dark" ? "light" : "dark";
      button.textContent = theme === "dark" ? "☾" : "☀";
      button.setAttribute("aria-label", `Colours are ${theme}: change to ${other}`);
      button.dataset.theme = theme;
    }
    dispatchEvent(new Event("themechange"));
  };
  const toggle = () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, next);
      apply();
    } catch {
      root.dataset.theme = next;
      dispatchEvent(new Event("themechange"));
    }
  };
  system.addEventListener("change", apply);
  apply();
  addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", toggle);
  });
})();
