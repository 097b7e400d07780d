// A grid of photos of which only those in view are elements, however many there are. One tile can be reached with Tab;
// the arrow keys move from there (a roving tabindex).

import { thumb } from "./api.js";
import { basename, h, icon, overlay, percent } from "./dom.js";
import { isLikely } from "./query.js";
import { linkTo, NO_QUERY } from "./state.js";

const GAP = 12; // pixels between tiles
const SPARE = 2; // rows of elements above and below the view
const FAST = 0.7; // parts of the view in one frame, from which on a scroll is too fast to look at photos
const SETTLE = 90; // milliseconds without a scroll, after which photos are loaded
const CAPTION = 34; // pixels of the line under each result

export class Grid {
  #source = null;
  #tiles = []; // elements of the images #from, #from + 1, ...
  #from = 0;
  #columns = 1;
  #rowHeight = 1;
  #side = 1;
  #current = 0; // the image that Tab reaches
  #lastTop = 0;
  #timer = 0;

  /** `onOpen(index)` and `onLike(item)` are called for clicks, `onLook(item or null)` when a tile is looked at. */
  constructor(root, { onOpen, onLike, onLook, onError }) {
    this.root = root;
    this.list = h("ol", { class: "tiles", tabindex: "-1" });
    root.append(this.list);
    this.on = { onOpen, onLike, onLook, onError };
    this.list.addEventListener("click", (event) => this.#click(event));
    this.list.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focusin", "pointerover"]) {
      this.list.addEventListener(name, (event) => this.#look(event.target.closest(".tile")));
    }
    this.list.addEventListener("pointerleave", () => this.#look(document.activeElement.closest(".tile")));
    this.list.addEventListener("focusout", () => this.#look(null));
    let asked = 0;
    addEventListener("scroll", () => (asked ||= requestAnimationFrame(() => ((asked = 0), this.#draw()))), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(root);
  }

  /** Show images. Results have a caption and what they matched; photos of the collection have neither. */
  show(source, { results = false } = {}) {
    this.#source = source;
    this.results = results;
    this.#current = 0;
    this.root.classList.toggle("results", results);
    this.#discard();
    this.#measure();
  }

  item(index) {
    return this.#source?.at(index);
  }

  get total() {
    return this.#source?.total ?? 0;
  }

  /** The position of an image among those that are loaded, or -1. */
  find(imageId) {
    for (let index = 0; index < this.total; index += 1) if (this.item(index)?.image_id === imageId) return index;
    return -1;
  }

  /** Bring an image into view and move the focus to it. */
  focus(index = this.#current) {
    if (!this.total) return;
    this.#current = Math.max(0, Math.min(this.total - 1, index));
    const top = this.root.getBoundingClientRect().top + Math.floor(this.#current / this.#columns) * this.#rowHeight;
    const above = document.querySelector("header").offsetHeight + 64;
    if (top < above) scrollBy({ top: top - above, behavior: "instant" });
    else if (top + this.#rowHeight > innerHeight) scrollBy({ top: top + this.#rowHeight - innerHeight + GAP, behavior: "instant" });
    this.#draw();
    this.#tiles[this.#current - this.#from]?.querySelector(".open").focus({ preventScroll: true });
  }

  #measure() {
    const width = this.root.clientWidth;
    if (!width || !this.#source) return;
    const wanted = this.results ? 190 : width < 500 ? 110 : 170;
    this.#columns = Math.max(width < 500 && !this.results ? 3 : 2, Math.floor((width + GAP) / (wanted + GAP)));
    this.#side = (width - GAP * (this.#columns - 1)) / this.#columns;
    this.#rowHeight = this.#side + GAP + (this.results ? CAPTION : 0);
    const rows = Math.ceil(this.total / this.#columns);
    this.root.style.height = `${Math.max(0, rows * this.#rowHeight - GAP)}px`;
    this.list.style.gridTemplateColumns = `repeat(${this.#columns}, 1fr)`;
    this.#draw({ again: true });
  }

  #discard() {
    for (const tile of this.#tiles) tile.remove();
    this.#tiles = [];
    this.#from = 0;
  }

  /** Give the images in view an element each: those that went out of view hand theirs over. */
  #draw({ again = false } = {}) {
    if (!this.#source) return;
    const top = -this.root.getBoundingClientRect().top;
    const fast = Math.abs(top - this.#lastTop) > FAST * innerHeight;
    this.#lastTop = top;
    const firstRow = Math.max(0, Math.floor(top / this.#rowHeight) - SPARE);
    const lastRow = Math.max(0, Math.ceil((top + innerHeight) / this.#rowHeight) + SPARE);
    const from = Math.min(firstRow * this.#columns, Math.max(0, this.total - 1));
    const to = Math.min(this.total, lastRow * this.#columns);
    if (again || from !== this.#from || to !== this.#from + this.#tiles.length) this.#move(from, to, again, fast);
    if (fast) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#fillAll(), SETTLE);
    }
  }

  #move(from, to, again, fast) {
    const old = new Map(this.#tiles.map((tile, offset) => [this.#from + offset, tile]));
    const spare = [...old].filter(([index]) => index < from || index >= to).map(([, tile]) => tile);
    if (spare.includes(document.activeElement.closest(".tile"))) this.list.focus({ preventScroll: true });
    for (const tile of spare) tile.remove(); // so that those that stay need not move
    const tiles = [];
    for (let index = from; index < to; index += 1) {
      const kept = old.get(index);
      const tile = kept ?? spare.pop() ?? this.#make();
      if (!kept || again) this.#fill(tile, index, fast);
      tiles.push(tile);
    }
    // Elements stand in the order of the images, for the order of Tab and for screen readers.
    let place = this.list.firstChild;
    for (const tile of tiles) {
      if (tile === place) place = place.nextSibling;
      else this.list.insertBefore(tile, place);
    }
    this.#from = from;
    this.#tiles = tiles;
    this.list.style.transform = `translateY(${Math.floor(from / this.#columns) * this.#rowHeight}px)`;
    if (!fast) this.#load();
  }

  #fillAll() {
    this.#tiles.forEach((tile, offset) => this.#fill(tile, this.#from + offset, false));
    this.#load();
  }

  async #load() {
    const source = this.#source;
    const missing = source.want(this.#from, this.#from + this.#tiles.length);
    if (!missing) return;
    try {
      await missing;
      if (source === this.#source) this.#tiles.forEach((tile, offset) => this.#fill(tile, this.#from + offset, false));
    } catch (error) {
      if (source === this.#source) this.on.onError(error);
    }
  }

  #make() {
    const image = h("img", { alt: "", decoding: "async", draggable: "false" });
    const tile = h("li", { class: "tile" },
      h("a", { class: "open" }, image),
      h("p", { class: "caption", "aria-hidden": "true" }, h("span", { class: "score" }), h("span", { class: "name" })),
      h("a", { class: "like" }, icon("like"), h("span", {}, "More like this")),
    );
    tile.parts = { open: tile.children[0], like: tile.children[2], image };
    image.addEventListener("load", () => tile.classList.add("loaded"));
    image.addEventListener("error", () => image.hasAttribute("src") && tile.classList.add("broken"));
    return tile;
  }

  #fill(tile, index, fast) {
    const item = this.item(index);
    const { open, like, image } = tile.parts;
    open.tabIndex = like.tabIndex = index === this.#current ? 0 : -1;
    if (tile.dataset.index === String(index) && tile.item === item && (fast || image.hasAttribute("src"))) return;
    tile.dataset.index = index;
    tile.item = item;
    tile.setAttribute("aria-setsize", this.total);
    tile.setAttribute("aria-posinset", index + 1);
    tile.classList.remove("loaded", "broken");
    image.removeAttribute("src");
    while (open.lastChild !== image) open.lastChild.remove(); // the marks of a result
    if (!item) {
      open.removeAttribute("href");
      open.setAttribute("aria-label", "Loading");
      return;
    }
    open.href = linkTo({ photo: item.image_id });
    open.setAttribute("aria-label", describe(item));
    open.title = item.image_id;
    like.href = linkTo({ ...NO_QUERY, like: item.image_id });
    like.setAttribute("aria-label", `More like ${item.image_id}`);
    if (this.results) this.#caption(tile, open, item);
    if (!fast) image.src = thumb(item, this.#side * devicePixelRatio);
  }

  #caption(tile, open, item) {
    tile.querySelector(".score").textContent = percent(item.score);
    tile.querySelector(".name").textContent = basename(item.image_id);
    tile.classList.toggle("unlikely", !isLikely(item));
    if (item.certain) open.append(h("span", { class: "badge" }, icon("check"), "Certain"));
    if (item.outline || item.region) open.append(h("span", { class: "map" }, overlay(item)));
  }

  #index(event) {
    const tile = event.target.closest(".tile");
    return tile ? Number(tile.dataset.index) : -1;
  }

  #click(event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return; // a new tab or window
    const link = event.target.closest("a");
    const index = this.#index(event);
    if (!link || index < 0) return;
    event.preventDefault();
    if (!this.item(index)) return;
    this.#setCurrent(index);
    if (link.className === "like") this.on.onLike(this.item(index));
    else this.on.onOpen(index);
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.total - 1;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns };
    let target = this.#current;
    if (event.key in moves) target += moves[event.key];
    else if (event.key === "Home") target = 0;
    else if (event.key === "End") target = last;
    else return;
    event.preventDefault();
    if (target < 0 || target > last) target = event.key === "ArrowDown" ? last : this.#current;
    this.#setCurrent(target);
    this.focus(target);
  }

  #setCurrent(index) {
    const set = (value) => {
      const tile = this.#tiles[this.#current - this.#from];
      for (const link of tile?.querySelectorAll("a") ?? []) link.tabIndex = value;
    };
    set(-1);
    this.#current = index;
    set(0);
  }

  #look(tile) {
    this.on.onLook(tile ? (this.item(Number(tile.dataset.index)) ?? null) : null);
  }
}

function describe(item) {
  if (item.score === undefined) return item.image_id;
  const proof = item.certain ? `, certain${item.inliers ? `: ${item.inliers} points agree` : ""}` : "";
  const part = !proof && item.region ? ", matches a part of the photo" : "";
  return `${item.image_id}, ${percent(item.score)}${proof}${part}`;
}
