// The photo that is searched for: its preview, a part of it, what a result matched, and the options of the search.

import { api, imagePath, photo, thumb } from "./api.js";
import { basename, h, icon, notify, overlay } from "./dom.js";
import { Region } from "./region.js";
import { go, NO_QUERY } from "./state.js";

const uploads = new Map(); // key -> file
const OLDEST = 20; // uploads that are kept to go back to

/** Keep a photo in this tab. Its key stands in the address. */
export function keep(file) {
  const key = `${Date.now().toString(36)}`;
  uploads.set(key, file);
  if (uploads.size > OLDEST) uploads.delete(uploads.keys().next().value);
  return key;
}

const LIKELY = 0.5; // the score is the probability that a result is right

export const isLikely = (result) => result.certain || result.score >= LIKELY;
export const uploaded = (key) => uploads.get(key);

export class Query {
  #shown = null; // key or image_id of the photo in the preview
  #address = null;

  constructor(root, info) {
    this.root = root;
    this.info = info;
    this.image = h("img", { alt: "The photo that is searched for" });
    this.frame = h("div", { class: "frame" }, this.image);
    this.region = new Region(this.frame, (region) => go({ region, photo: null }, { replace: true }));
    this.proof = h("p", { class: "why", "aria-hidden": "true" });
    this.title = h("h2", { id: "query-title" });
    this.part = h("button", { type: "button", class: "button small", onclick: () => this.#togglePart() }, icon("crop"), h("span", {}));
    this.add = h("button", { type: "button", class: "button small", hidden: true, onclick: () => this.#add() }, icon("plus"), "Add to collection");
    this.likely = option("likely", "Only likely ones");
    this.distinct = option("distinct", "Without copies", "server-only");
    this.turned = option("turned", "Turned ones as well", "server-only");
    this.image.addEventListener("error", () => root.classList.add("unseen-file"));
    this.image.addEventListener("load", () => root.classList.remove("unseen-file"));
    root.append(
      h("div", { class: "query-head" },
        this.title,
        h("button", { type: "button", class: "button bare round", "aria-label": "End the search", onclick: () => go(NO_QUERY) }, icon("close")),
      ),
      h("div", { class: "query-body" },
        h("div", { class: "preview" }, this.frame, this.proof,
          h("p", { class: "cannot" }, icon("image"), "This browser cannot show this kind of file. The search works all the same.")),
        h("div", { class: "controls" }, h("div", { class: "buttons" }, this.part, this.add), this.likely.label, this.distinct.label, this.turned.label),
      ),
    );
  }

  /** Show the query of a state. */
  async update(state) {
    const key = state.upload ?? state.like;
    this.root.hidden = !key;
    document.getElementById("photos").classList.toggle("searching", Boolean(key));
    this.look(null);
    if (!key) return;
    this.likely.box.checked = state.likely;
    this.distinct.box.checked = state.distinct;
    this.turned.box.checked = state.turned;
    this.turned.label.hidden = !state.upload; // the index keeps its own photos upright
    this.region.value = state.region;
    this.part.lastChild.textContent = state.region ? "Search with all of it" : "Search with a part";
    if (key === this.#shown) return;
    this.#shown = key;
    const file = uploads.get(state.upload);
    this.title.textContent = state.like ? basename(state.like) : "Your photo";
    this.title.title = state.like ?? file?.name ?? "";
    this.add.hidden = !(file && this.info.writable);
    URL.revokeObjectURL(this.#address);
    this.image.removeAttribute("src");
    this.root.classList.remove("unseen-file");
    if (file) this.image.src = this.#address = URL.createObjectURL(file);
    else if (state.like) {
      const item = await api(imagePath(state.like)).catch(() => null);
      if (item && this.#shown === key) this.image.src = thumb(item, 640);
    }
  }

  /** Draw on the photo what a result matched. */
  look(result) {
    this.frame.querySelector(".overlay")?.remove();
    this.proof.textContent = "";
    if (!result || (!result.outline && !result.region)) return;
    this.frame.insertBefore(overlay(result), this.region.box);
    this.proof.textContent = result.certain ? `Found here: ${result.inliers ?? "all"} points agree` : "This part of it matches";
  }

  /** The address of the preview, for the dialog of a result. */
  get preview() {
    return this.image.src;
  }

  #togglePart() {
    if (this.region.value) go({ region: null }, { replace: true });
    else {
      this.region.begin();
      this.part.lastChild.textContent = "Search with all of it";
      go({ region: this.region.value }, { replace: true });
    }
  }

  async #add() {
    const file = uploads.get(this.#shown);
    this.add.disabled = true;
    try {
      await api("v1/images", { method: "POST", query: { image_id: file.name }, body: file, type: typeOf(file) });
      notify(`${file.name} was added.`);
      dispatchEvent(new Event("collection-changed"));
    } catch (error) {
      notify(error.message);
    } finally {
      this.add.disabled = false;
    }
  }
}

/** The results of the query of a state. */
export async function search(state, { where, signal, onBusy }) {
  const query = { k: state.k, where, collapse: state.distinct, min_score: state.likely && LIKELY };
  if (state.like && !state.region) return api("v1/search", { query: { ...query, id: state.like }, signal, onBusy });
  let file = uploads.get(state.upload);
  if (state.like) {
    const item = await api(imagePath(state.like), { signal });
    let response = await fetch(photo(item), { signal });
    if (!response.ok) response = await fetch(thumb(item, 1024), { signal });
    file = await response.blob();
  }
  const region = state.region?.map((number) => number.toFixed(4)).join(",");
  const answer = await api("v1/search", { method: "POST", query: { ...query, region, any_rotation: Boolean(state.upload) && state.turned }, body: file, type: typeOf(file), signal, onBusy });
  // Of a photo that is read in several regions, only those that are a part of it say something.
  for (const result of answer.results) if (region || !isPart(result.region)) result.region = null;
  return answer;
}

/** Whether a region leaves out a good deal of the photo, or is at one of its ends: not its largest square. */
function isPart(region) {
  if (!region) return false;
  const [x, y, width, height] = region;
  return (width < 0.99 && height < 0.99) || Math.abs(x + width / 2 - 0.5) > 0.05 || Math.abs(y + height / 2 - 0.5) > 0.05;
}

const typeOf = (file) => file.type || (/\.hei[cf]$/i.test(file.name) ? "image/heic" : "application/octet-stream");

function option(name, text, kind = "") {
  const box = h("input", { type: "checkbox", onchange: () => go({ [name]: box.checked, photo: null }, { replace: true }) });
  return { box, label: h("label", { class: `option ${kind}` }, box, text) };
}
