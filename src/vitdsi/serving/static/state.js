// What the page shows, kept in its address, so that going back works and a search can be linked.

const FACET = "f.";

/** The state that an address stands for. */
function parse(search) {
  const given = new URLSearchParams(search);
  const facets = {};
  for (const [name, value] of given) {
    if (name.startsWith(FACET)) (facets[name.slice(FACET.length)] ??= []).push(value);
  }
  const region = (given.get("region") ?? "").split(",").map(Number);
  return {
    view: given.get("view") === "duplicates" ? "duplicates" : "photos",
    like: given.get("like"), // the image_id of the query
    upload: given.get("upload"), // the key of a photo in this tab
    region: region.length === 4 && region.every(Number.isFinite) ? region : null,
    where: given.get("where") ?? "",
    facets,
    likely: given.has("likely"),
    distinct: given.has("distinct"),
    turned: given.has("turned"),
    k: Math.min(500, Math.max(1, Number(given.get("k")) || 40)),
    photo: given.get("photo"), // the image_id that is open
  };
}

/** The address of a state. */
function address(state) {
  const query = new URLSearchParams();
  if (state.view !== "photos") query.set("view", state.view);
  if (state.like) query.set("like", state.like);
  if (state.upload) query.set("upload", state.upload);
  if (state.region) query.set("region", state.region.map((number) => number.toFixed(3)).join(","));
  if (state.where) query.set("where", state.where);
  for (const [field, values] of Object.entries(state.facets)) {
    for (const value of values) query.append(FACET + field, value);
  }
  if (state.likely) query.set("likely", "");
  if (state.distinct) query.set("distinct", "");
  if (state.turned) query.set("turned", "");
  if (state.k !== 40) query.set("k", state.k);
  if (state.photo) query.set("photo", state.photo);
  return query.size ? `?${query}` : location.pathname;
}

let current = parse(location.search);
const listeners = [];

export const state = () => current;

/** The address of the present state with some changes, for links. */
export const linkTo = (changes) => address({ ...current, ...changes });

/** Call `listener(state, previous)` after each change. */
export const onState = (listener) => listeners.push(listener);

/** Change the state. Adds a step to go back to, unless `replace`. */
export function go(changes, { replace = false } = {}) {
  const next = { ...current, ...changes };
  const target = address(next);
  if (target === address(current)) return;
  if (replace) history.replaceState(history.state, "", target);
  else {
    history.replaceState({ ...history.state, scroll: scrollY }, "");
    history.pushState({ depth: (history.state?.depth ?? 0) + 1 }, "", target);
  }
  update(next);
}

/** Undo the last step if it was made here, or else make `changes`: closing what a link may have opened. */
export function back(changes) {
  if (history.state?.depth) history.back();
  else go(changes, { replace: true });
}

/** Forget the search, keep the filters. */
export const NO_QUERY = { like: null, upload: null, region: null, k: 40, likely: false, distinct: false, turned: false };

function update(next, scroll = null) {
  const previous = current;
  current = next;
  for (const listener of listeners) listener(current, previous, scroll);
}

history.scrollRestoration = "manual";
addEventListener("popstate", () => update(parse(location.search), history.state?.scroll ?? 0));
