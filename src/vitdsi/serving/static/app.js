// The page: what is shown follows from the state in the address.

import { api, ApiError } from "./api.js";
import { Detail } from "./detail.js";
import { count, notify, plain } from "./dom.js";
import { Duplicates } from "./duplicates.js";
import { condition, facets, Filters, isFiltered, sortingFields } from "./filters.js";
import { Grid } from "./grid.js";
import { message } from "./message.js";
import { listenForPhotos } from "./pick.js";
import { isLikely, keep, Query, search, uploaded } from "./query.js";
import { go, NO_QUERY, onState, state } from "./state.js";
import { Listed, Paged } from "./sources.js";

const REMEMBERED = 20; // sources that going back shows at once
const MOST = 200; // results of one search

const element = (id) => document.getElementById(id);
const status = (text) => (element("status").textContent = text);

class Page {
  #remembered = new Map(); // address of a list -> its source
  #key = null; // of the list that is shown
  #controller = null;

  constructor(info) {
    this.info = info;
    this.query = new Query(element("query"), info);
    this.filters = new Filters(element("filters"), info);
    this.duplicates = new Duplicates(element("duplicates"), info);
    this.grid = new Grid(element("grid"), {
      onOpen: (index) => go({ photo: this.grid.item(index).image_id }),
      onLike: (item) => this.#search({ like: item.image_id }),
      onLook: (item) => this.query.look(item),
      onError: (error) => notify(error.message),
    });
    this.detail = new Detail(element("detail"), { grid: this.grid, query: this.query, info });
    element("more").addEventListener("click", () => go({ k: Math.min(MOST, state().k + 40) }, { replace: true }));
    listenForPhotos((file) => this.#search({ upload: keep(file) }));
    addEventListener("collection-changed", () => this.#changed());
    onState((next, previous, scroll) => this.#update(next, scroll));
    element("collection").textContent = (info.name ?? "").replace(/\.dsi$/, "");
    this.#update(state(), 0);
  }

  #search(query) {
    go({ ...NO_QUERY, likely: state().likely, distinct: state().distinct, turned: state().turned, ...query, view: "photos", photo: null });
    scrollTo({ top: 0, behavior: "instant" });
  }

  async #update(next, scroll) {
    const duplicates = next.view === "duplicates";
    element("photos").hidden = duplicates;
    element("duplicates").hidden = !duplicates;
    for (const link of document.querySelectorAll("[data-view]")) {
      if (link.dataset.view === next.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    element("start").hidden = Boolean(next.like || next.upload);
    const title = duplicates ? "Duplicates" : next.like ? `Photos like ${next.like}` : next.upload ? "Search" : "Photos";
    element("title").textContent = title;
    document.title = `${title} · vitdsi`;
    this.query.update(next);
    if (duplicates) await this.duplicates.open();
    else await this.#list(next);
    if (next !== state()) return; // something else was asked for meanwhile
    if (scroll !== null) scrollTo({ top: scroll, behavior: "instant" });
    this.detail.update(next);
  }

  /** Show the list that a state asks for, if it is not shown already. */
  async #list(next) {
    const { photo, view, ...asked } = next;
    const key = JSON.stringify(asked);
    if (key === this.#key) return;
    this.#key = key;
    this.#controller?.abort();
    const { signal } = (this.#controller = new AbortController());
    const searching = Boolean(next.like || next.upload);
    element("found-title").textContent = searching ? "Found" : "All photos";
    element("more").hidden = true;
    try {
      const loading = this.#remembered.get(key) ?? (await this.#load(next, searching, signal));
      signal.throwIfAborted();
      this.#remember(key, loading);
      this.#show(loading, next, searching);
      facets(next, this.info, signal).then(({ values }) => (this.filters.counts = values), () => {});
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.#key = null;
      this.#fail(error, next);
    }
  }

  async #load(next, searching, signal) {
    status(searching ? "Searching …" : "Loading …");
    element("message").replaceChildren();
    element("grid").classList.add("waiting");
    const onBusy = () => status("The server is busy, one moment …");
    const where = condition(next, this.info.fields);
    if (!searching) return { source: await new Paged(where).open(signal, onBusy) };
    if (next.upload && !uploaded(next.upload)) throw new ApiError("", 410);
    const answer = await search(next, { where, signal, onBusy });
    return { source: new Listed(answer.results), seconds: answer.seconds };
  }

  #remember(key, loading) {
    this.#remembered.delete(key);
    this.#remembered.set(key, loading);
    if (this.#remembered.size > REMEMBERED) this.#remembered.delete(this.#remembered.keys().next().value);
  }

  #show({ source, seconds }, next, searching) {
    element("grid").classList.remove("waiting");
    element("message").replaceChildren();
    this.grid.show(source, { results: searching });
    const total = source.total;
    element("more").hidden = !searching || total < next.k || next.k >= MOST;
    if (!searching) {
      element("found-title").textContent = isFiltered(next) ? "Photos under this filter" : "All photos";
      status(isFiltered(next) ? `${count(total, "photo")} of ${plain(this.info.images)}` : count(total, "photo"));
    } else {
      const certain = source.items.filter((item) => item.certain).length;
      const likely = source.items.filter(isLikely).length;
      const parts = [count(total, "photo"), certain && `${certain} certain`, (!certain || likely > certain) && `${likely} likely`, `${seconds.toFixed(2)} s`];
      status(parts.filter(Boolean).join(" · "));
    }
    if (!total) element("message").replaceChildren(this.#nothing(next, searching));
  }

  #nothing(next, searching) {
    if (isFiltered(next)) {
      return message({ symbol: "filter", title: "No photo passes this filter", text: searching ? "The search looked only at photos that do." : "Try fewer conditions.", action: "Clear filters", onAction: () => go({ where: "", facets: {} }) });
    }
    if (next.likely) {
      return message({ symbol: "image", title: "Probably not in this collection", text: "No photo is likely to show the same.", action: "Show the most similar ones", onAction: () => go({ likely: false }) });
    }
    return message({ symbol: "image", title: "This collection is empty", text: "Add photos with vitdsi add, or start the server with --writable and add them here." });
  }

  #fail(error, next) {
    status("");
    element("grid").classList.remove("waiting");
    if (error.status === 422 || error.status === 400) {
      if (isFiltered(next)) {
        this.filters.fail(error.message);
        if (next.where && this.grid.total) return; // the photos of before stay in view
      }
    }
    this.grid.show(new Listed([]));
    const gone = error.status === 410;
    element("message").replaceChildren(
      gone
        ? message({ symbol: "image", title: "That photo is no longer in this tab", text: "Photos that you search with are not kept anywhere. Choose it again.", action: "Choose a photo", onAction: () => element("file").click() })
        : message({ symbol: "broken", title: "That did not work", text: error.message, action: "Try again", onAction: () => this.#list(state()) }),
    );
  }

  async #total() {
    const { total } = await api("v1/images", { query: { limit: 0 } }).catch(() => ({}));
    if (total !== undefined) this.info.images = total;
  }

  #changed() {
    this.#remembered.clear();
    this.#key = null;
    this.#total();
    this.#list(state());
  }
}

function listenForLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const view = link.dataset.view === "duplicates" ? "duplicates" : "photos";
    if (view === state().view && view === "photos") go({ ...NO_QUERY, photo: null, where: "", facets: {} });
    else go({ view, photo: null });
    scrollTo({ top: 0, behavior: "instant" });
  });
}

function listenForKeys(page) {
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), textarea");
    if (event.defaultPrevented || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !typing) {
      event.preventDefault();
      if (state().view !== "photos") go({ view: "photos" });
      element("where").focus();
      element("where").select();
    } else if (event.key === "Escape" && typing?.id === "where") {
      event.preventDefault(); // the browser would empty the field
      typing.value = state().where;
      typing.blur();
      page.grid.focus();
    } else if (event.key === "Escape" && !document.querySelector(":popover-open") && (state().like || state().upload)) go(NO_QUERY);
    else if (event.key.startsWith("Arrow") && (event.target === document.body || event.target.id === "main")) {
      if (state().view === "photos" && event.key !== "ArrowUp") {
        event.preventDefault();
        page.grid.focus();
      }
    }
  });
}

function theme() {
  const names = { auto: "as the system", light: "light", dark: "dark" };
  const button = element("theme");
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    button.querySelector("use").setAttribute("href", `#i-${name}`);
    button.setAttribute("aria-label", `Colours: ${names[name]}. Change`);
    button.title = `Colours: ${names[name]}`;
  };
  set(document.documentElement.dataset.theme);
  button.addEventListener("click", () => {
    const order = Object.keys(names);
    const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
    set(next);
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Storage is blocked: the choice lasts as long as the page.
    }
  });
}

async function start() {
  theme();
  listenForLinks();
  try {
    const info = await api("v1/info");
    info.facets = await sortingFields(info);
    document.body.classList.toggle("without-likes", info.likes === false);
    listenForKeys(new Page(info));
  } catch (error) {
    status("");
    element("message").replaceChildren(message({ symbol: "broken", title: "The collection cannot be shown", text: error.message, action: "Try again", onAction: () => location.reload() }));
  }
}

start();
