// Before the first paint: the chosen theme. A sandboxed frame may have no storage.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("recsys-ae-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch (error) {}
