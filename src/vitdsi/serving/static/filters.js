// Filters: a condition in words, and values of fields with how many photos have them under the other filters.

import { api } from "./api.js";
import { count, h, icon, plain } from "./dom.js";
import { go, onState, state as currentState } from "./state.js";

const SHOWN = 40; // values of one field
const FIELDS = 6; // with a menu
// Numbers that measure rather than sort: a condition in words is better for them.
const MEASURES = new Set(["width", "height", "bytes", "iso", "exposure", "f_number", "focal_length", "latitude", "longitude", "taken"]);
const KEYWORDS = new Set(["and", "or", "not", "in", "between", "like", "is", "null", "true", "false"]);

const title = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
const column = (name) =>
  /^[\p{L}_][\p{L}\p{N}_]*$/u.test(name) && !KEYWORDS.has(name.toLowerCase()) ? name : `\`${name.replaceAll("`", "``")}\``;
const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

/** The condition of all filters of a state; `except` leaves out the values of one field. */
export function condition(state, fields, except = null) {
  const parts = state.where.trim() ? [state.where.trim()] : [];
  for (const [field, values] of Object.entries(state.facets)) {
    if (field === except || !values.length) continue;
    const literals = values.map((value) => (fields[field] === "text" ? quoted(value) : value));
    parts.push(literals.length === 1 ? `${column(field)} = ${literals[0]}` : `${column(field)} in (${literals.join(", ")})`);
  }
  return parts.length > 1 ? parts.map((part) => `(${part})`).join(" and ") : (parts[0] ?? "");
}

/** The fields whose values sort the collection: more than one value, most of them shared by several photos. */
export async function sortingFields(info) {
  const names = Object.keys(info.fields).filter((name) => info.fields[name] !== "real" && !MEASURES.has(name)).slice(0, 20);
  if (!names.length) return [];
  const { facets } = await api("v1/images", { query: { limit: 0, facets: names.join(",") } });
  const sorts = (values) => values.length > 1 && values.length < values.reduce((sum, { count }) => sum + count, 0) / 2;
  return names.filter((name) => sorts(facets[name])).slice(0, FIELDS);
}

/** The total under the filters of a state, and the values of each field with their counts. */
export async function facets(state, info, signal) {
  const names = info.facets;
  const load = (where, wanted) =>
    api("v1/images", { query: { limit: 0, where, facets: wanted.join(",") }, signal });
  // The counts of a field that is filtered are those without its own filter: what choosing another value would give.
  const own = names.filter((name) => state.facets[name]?.length);
  const [all, ...others] = await Promise.all([
    load(condition(state, info.fields), names.filter((name) => !own.includes(name))),
    ...own.map((name) => load(condition(state, info.fields, name), [name])),
  ]);
  return { total: all.total, values: Object.assign({}, all.facets, ...others.map((other) => other.facets)) };
}

export const isFiltered = (state) => Boolean(state.where.trim()) || Object.values(state.facets).some((values) => values.length);

export class Filters {
  #counts = {};

  constructor(root, info) {
    this.info = info;
    this.text = h("input", { type: "search", id: "where", placeholder: info.offline ? "Filter by words of the name" : "Filter, such as year = 2019", autocomplete: "off", spellcheck: "false", autocapitalize: "off", "aria-describedby": "where-error", "aria-keyshortcuts": "/" });
    this.problem = h("p", { class: "problem", id: "where-error", role: "alert" });
    this.menus = h("div", { class: "menus" });
    this.clear = h("button", { type: "button", class: "button bare small", onclick: () => go({ where: "", facets: {}, photo: null }) }, "Clear filters");
    const apply = () => go({ where: this.text.value.trim(), photo: null });
    this.text.addEventListener("change", apply);
    this.text.addEventListener("search", () => this.text.value || apply());
    const help = this.#help();
    root.append(
      h("form", { class: "where", onsubmit: (event) => (event.preventDefault(), apply()) },
        h("label", { for: "where", class: "unseen" }, "Condition"), icon("filter"), this.text, h("kbd", { "aria-hidden": "true" }, "/"),
        opener(h("button", { type: "button", class: "button bare round server-only", "aria-label": "How to write a condition" }, icon("help")), help)),
      help, this.menus, this.clear, this.problem,
    );
    for (const name of info.facets) this.menus.append(...this.#menu(name));
    onState((next) => this.update(next));
    this.update(currentState());
  }

  update(state) {
    if (document.activeElement !== this.text) this.text.value = state.where;
    this.clear.hidden = !isFiltered(state);
    this.problem.textContent = "";
    this.#draw(state);
  }

  fail(message) {
    this.problem.textContent = message;
  }

  set counts(values) {
    this.#counts = values;
    this.#draw(currentState());
  }

  #menu(name) {
    const button = h("button", { type: "button", class: "button small pill", "data-field": name }, h("span", {}, title(name)), icon("down"));
    const panel = h("div", { class: "panel", popover: "", id: `values-${name}`, role: "group", "aria-label": title(name) });
    return [opener(button, panel), panel];
  }

  #draw(state) {
    for (const name of this.info.facets) {
      const chosen = state.facets[name] ?? [];
      const button = this.menus.querySelector(`[data-field="${CSS.escape(name)}"]`);
      const panel = button.nextElementSibling;
      const values = this.#counts[name] ?? [];
      button.hidden = !values.length && !chosen.length;
      button.classList.toggle("on", chosen.length > 0);
      button.firstChild.textContent = chosen.length ? `${title(name)}: ${chosen.join(", ")}` : title(name);
      const focused = panel.contains(document.activeElement) && document.activeElement.value;
      const known = new Set(values.map(({ value }) => String(value)));
      const gone = chosen.filter((value) => !known.has(value)).map((value) => ({ value, count: 0 }));
      panel.replaceChildren(
        h("h3", {}, title(name)),
        h("div", { class: "chips" }, [...gone, ...values.filter(({ value }) => value !== null).slice(0, SHOWN)].map((entry) => this.#chip(name, entry, chosen))),
        ...(values.length > SHOWN ? [h("p", {}, `and ${count(values.length - SHOWN, "more value")}: write ${column(name)} = … in the filter`)] : []),
      );
      if (focused) [...panel.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
    }
  }

  #chip(name, entry, chosen) {
    const value = String(entry.value);
    const toggle = () => {
      const now = currentState().facets[name] ?? [];
      const values = now.includes(value) ? now.filter((other) => other !== value) : [...now, value];
      go({ facets: { ...currentState().facets, [name]: values }, photo: null });
    };
    const box = h("input", { type: "checkbox", value, onchange: toggle });
    box.checked = chosen.includes(value);
    return h("label", { class: "chip" }, box, h("span", {}, value), h("small", {}, plain(entry.count)));
  }

  #help() {
    const names = Object.entries(this.info.fields).map(([name, kind]) => h("li", {}, h("code", {}, column(name)), ` ${kind === "text" ? "text" : "number"}`));
    return h("div", { class: "panel help", popover: "", id: "where-help" },
      h("h3", {}, "Conditions"),
      h("ul", { class: "examples" },
        ["width > 800", 'album = "holidays" and stars >= 4', "year in (2018, 2019)", 'camera like "canon%"', "latitude is not null"].map((line) => h("li", {}, h("code", {}, line)))),
      names.length ? [h("h3", {}, "Fields of this collection"), h("ul", { class: "names" }, names)] : h("p", {}, "Nothing is known about these photos that could be filtered."),
    );
  }
}

/** Make a button open a popover under itself. The browser closes it on Escape and on clicks elsewhere. */
function opener(button, panel) {
  button.setAttribute("popovertarget", panel.id);
  button.setAttribute("aria-haspopup", "true");
  panel.addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    const place = button.getBoundingClientRect();
    panel.style.top = `${place.bottom + 8}px`;
    panel.style.left = `${Math.max(8, Math.min(place.left, innerWidth - panel.offsetWidth - 8))}px`;
  });
  return button;
}
