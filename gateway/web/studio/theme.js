// Light or dark: a classic script in the head, so that the page is painted once and right.
//
// The system's preference rules until the reader presses the button; a choice equal to the system's
// is forgotten again. Colours live in studio.css, which follows `color-scheme` by light-dark().
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = (() => {
    try {
      return localStorage.getItem("framewire.theme");
    } catch {
      return null; // Storage may be forbidden; the system's preference is good enough.
    }
  })();
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const current = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
    const describe = () => {
      const other = current() === "dark" ? "light" : "dark";
      button.setAttribute("aria-label", `Switch to the ${other} theme`);
      button.title = `Switch to the ${other} theme`;
    };
    button.addEventListener("click", () => {
      const chosen = current() === "dark" ? "light" : "dark";
      const follows = chosen === (system.matches ? "dark" : "light");
      if (follows) delete root.dataset.theme;
      else root.dataset.theme = chosen;
      try {
        if (follows) localStorage.removeItem("framewire.theme");
        else localStorage.setItem("framewire.theme", chosen);
      } catch {
        // The choice lasts as long as the page.
      }
      describe();
    });
    system.addEventListener("change", describe);
    describe();
  });
})();
