"use strict";
{
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // Theme: remembered where there is storage.
  const theme = byId("theme");
  theme.value = root.dataset.theme || "";
  theme.addEventListener("change", () => {
    if (theme.value) root.dataset.theme = theme.value; else delete root.dataset.theme;
    try {
      localStorage.setItem("recsys-ae-theme", theme.value);
    } catch (error) {}
  });

  // Sorting: the first click puts the largest number, or the first name, on top; missing values are always last.
  const key = (row, column) => {
    const sort = row.cells[column].dataset.sort;
    if (sort === undefined) return null;
    return column === 0 || Number.isNaN(Number(sort)) ? sort : Number(sort);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const up = before === "none" ? column === 0 || head.textContent.includes("lower is better") : before === "descending";
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [first, second] = [key(a, column), key(b, column)];
        if (first === null || second === null) return (first === null) - (second === null);
        const order = typeof first === "number" ? first - second : String(first).localeCompare(String(second), "en", {numeric: true});
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    }));
  }

  // A mark of a chart under the mouse says its values, which are in the table below it too.
  const tip = byId("tip");
  document.addEventListener("mousemove", (event) => {
    const mark = event.target.closest("figure > svg :not(g)[aria-label]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.getAttribute("aria-label");
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.max(event.clientY - 34, 4)}px`;
  });

  // Explorer.
  const data = byId("lists-data");
  if (data) {
    const {items, users, models, inTime} = JSON.parse(data.textContent);
    const [search, select, said, shown] = ["search", "user", "said", "shown"].map(byId);
    const make = (tag, text, name) => {
      const element = document.createElement(tag);
      if (text !== undefined) element.textContent = text;
      if (name) element.className = name;
      return element;
    };
    const nameOf = (item) => items[item][items[item].length - 1];
    const texts = users.map((user) => [user.id, ...user.history.map(([item]) => nameOf(item)), ...models.flatMap((model) => user.lists[model][0].map(nameOf))].join("\n").toLowerCase());

    const head = (title, note) => {
      const heading = make("h3");
      heading.append(make("strong", title), make("span", note));
      return heading;
    };
    const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(2)}`;
    const entry = (user, item, why, constant) => {
      const hit = user.relevant.includes(item);
      const line = make("li", undefined, hit ? "hit" : "");
      const label = make("span", nameOf(item));
      label.title = `id ${items[item][0]}`;
      if (hit) {
        label.prepend("✓ ");
        label.append(make("span", " (in the test part)", "hidden"));
      }
      if (!why || !why.length) {
        line.append(label);
        return line;
      }
      const details = make("details");
      const summary = make("summary");
      const reasons = make("ul", undefined, "why");
      summary.append(label);
      for (const [other, value] of why) reasons.append(make("li", `${nameOf(other)}: ${signed(value)}`));
      if (constant) reasons.append(make("li", `independent of the history: ${signed(constant)}`));
      details.append(summary, reasons);
      line.append(details);
      return line;
    };
    const list = (lines, start) => {
      const ordered = make("ol");
      if (start) ordered.start = start;
      ordered.append(...lines);
      return ordered;
    };
    const history = (user) => {
      const part = make("div");
      const lines = user.history.map(([item, rating]) => {
        const line = make("li", nameOf(item));
        if (rating !== undefined) {
          const stars = make("small", rating);
          stars.prepend(make("span", "rated ", "hidden"));
          line.prepend(stars);
        }
        return line;
      });
      part.append(head("History", `${user.known}${inTime ? ", latest first" : ""}`), list(lines.slice(0, 10)));
      if (lines.length > 10) {
        const more = make("details");
        more.append(make("summary", `${lines.length - 10} more${user.known > lines.length ? ` of ${user.known - 10}` : ""}`), list(lines.slice(10), 11));
        part.append(more);
      }
      return part;
    };
    const column = (user, model) => {
      const [listed, why, constants] = user.lists[model];
      const hits = listed.filter((item) => user.relevant.includes(item)).length;
      const part = make("div");
      part.append(head(model, `${hits} of ${listed.length}`));
      part.append(listed.length ? list(listed.map((item, place) => entry(user, item, why && why[place], constants && constants[place]))) : make("p", "no list"));
      return part;
    };
    const show = () => {
      const user = users[select.value];
      shown.replaceChildren();
      if (!user) return;
      said.textContent = `User ${user.id}: ${user.known} items before the test part, ${user.relevant.length} relevant in it.`;
      shown.append(history(user), ...models.map((model) => column(user, model)));
    };
    const fill = () => {
      const wanted = search.value.trim().toLowerCase();
      const before = select.value;
      const found = users.map((user, place) => place).filter((place) => texts[place].includes(wanted));
      select.replaceChildren(...found.map((place) => new Option(users[place].id, place)));
      if (found.includes(Number(before)) && before !== "") select.value = before;
      select.disabled = !found.length;
      if (found.length) show();
      else {
        said.textContent = `No user of the sample has “${search.value}”.`;
        shown.replaceChildren();
      }
    };
    const step = (by) => {
      const n = select.options.length;
      if (!n) return;
      select.selectedIndex = (select.selectedIndex + by + n) % n;
      show();
    };
    search.addEventListener("input", fill);
    select.addEventListener("change", show);
    byId("before").addEventListener("click", () => step(-1));
    byId("after").addEventListener("click", () => step(1));
    byId("explorer").hidden = false;
    fill();
  }
}
