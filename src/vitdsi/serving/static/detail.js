// One photo, large, with what is known about it and what can be done with it.

import { api, imagePath, photo, thumb } from "./api.js";
import { basename, bytes, h, icon, notify, overlay, percent } from "./dom.js";
import { back, go, NO_QUERY, state } from "./state.js";

const IN_SIZE = new Set(["width", "height", "format", "bytes"]); // written in one line

export class Detail {
  #shown = null;

  constructor(dialog, { grid, query, info }) {
    Object.assign(this, { dialog, grid, query, info });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      back({ photo: null });
    });
    dialog.addEventListener("click", (event) => event.target === dialog && back({ photo: null }));
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step && !event.altKey && !event.ctrlKey && !event.metaKey) this.#step(step);
    });
  }

  /** Open, change or close the dialog as the state says. */
  async update({ photo: imageId, view }) {
    if (imageId === this.#shown) return;
    this.#shown = imageId;
    if (!imageId) {
      if (!this.dialog.open) return;
      this.dialog.close(); // the focus goes back to where it was
      if (this.index >= 0) this.grid.focus(this.index);
      return;
    }
    this.index = view === "photos" ? this.grid.find(imageId) : -1;
    let item = this.grid.item(this.index);
    if (!item) {
      try {
        item = await api(imagePath(imageId));
      } catch (error) {
        notify(error.message);
        go({ photo: null }, { replace: true });
        return;
      }
      if (this.#shown !== imageId) return;
    }
    this.#draw(item);
    if (!this.dialog.open) this.dialog.showModal();
  }

  #draw(item) {
    const image = h("img", { src: photo(item), alt: item.image_id });
    image.addEventListener("error", () => (image.src = thumb(item, 1024)), { once: true });
    const step = (by, name, symbol) => {
      const off = this.index < 0 || !this.grid.item(this.index + by);
      return h("button", { type: "button", class: `button bare round step ${symbol}`, "aria-label": name, disabled: off, onclick: () => this.#step(by) }, icon(symbol));
    };
    const focused = this.dialog.open && document.activeElement?.getAttribute("aria-label");
    this.dialog.replaceChildren(
      h("div", { class: "stage" }, image, step(-1, "Previous photo", "left"), step(1, "Next photo", "right")),
      h("div", { class: "facts" },
        h("div", {}, h("h2", { id: "detail-title", title: item.image_id }, basename(item.image_id)), h("p", { class: "size" }, size(item.metadata ?? {}))),
        h("button", { type: "button", class: "button bare round close", "aria-label": "Close", autofocus: true, onclick: () => back({ photo: null }) }, icon("close")),
        this.#why(item),
        this.#metadata(item),
        this.#actions(item),
      ),
    );
    if (focused) (this.dialog.querySelector(`[aria-label="${focused}"]:enabled`) ?? this.dialog.querySelector(".close")).focus();
  }

  /** Why a result was found. */
  #why(item) {
    if (item.score === undefined) return null;
    const matched = item.region || item.outline;
    const picture = matched && this.query.preview && h("div", { class: "frame" }, h("img", { src: this.query.preview, alt: "The part of your photo that matches" }), overlay(item));
    if (item.certain) {
      const points = item.inliers ? `${item.inliers} points of the two photos agree in place.` : "The two photos agree in place.";
      return h("div", { class: "proof-card" }, picture, h("p", {}, h("strong", {}, "Certain. "), points));
    }
    const sentence = matched ? "The marked part of your photo is most like this one." : "";
    return h("div", { class: "proof-card" }, picture,
      h("p", {}, h("strong", {}, percent(item.score)), ` likely to show the same ${this.info.labels === "none" ? "picture" : "kind of thing"}. `, sentence));
  }

  #metadata(item) {
    const rows = Object.entries(item.metadata ?? {}).filter(([name, value]) => value !== null && value !== "" && !IN_SIZE.has(name));
    return h("dl", {}, item.image_id.includes("/") && h("div", {}, h("dt", {}, "name"), h("dd", {}, item.image_id)),
      rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, name === "taken" ? String(value).replace("T", " ") : String(value)))));
  }

  #actions(item) {
    const actions = h("div", { class: "buttons" },
      h("button", { type: "button", class: "button primary likes", onclick: () => go({ ...NO_QUERY, like: item.image_id, photo: null }) }, icon("like"), "More like this"),
      h("a", { class: "button server-only", href: photo(item), target: "_blank", rel: "noopener" }, icon("open"), "Open the file"),
    );
    if (!this.info.writable) return actions;
    const sure = h("div", { class: "sure", hidden: true }, h("p", {}, "Remove it from the collection? The file itself stays where it is."),
      h("div", { class: "buttons" },
        h("button", { type: "button", class: "button danger", onclick: () => this.#remove(item) }, "Remove"),
        h("button", { type: "button", class: "button", onclick: () => ask(false) }, "Keep it")));
    const remove = h("button", { type: "button", class: "button bare", onclick: () => ask(true) }, icon("trash"), "Remove…");
    const ask = (asking) => {
      sure.hidden = !asking;
      remove.hidden = asking;
      (asking ? sure.querySelector(".danger") : remove).focus();
    };
    actions.append(remove);
    return h("div", {}, actions, sure);
  }

  async #remove(item) {
    try {
      await api(imagePath(item.image_id), { method: "DELETE" });
    } catch (error) {
      notify(error.message);
      return;
    }
    notify(`${item.image_id} was removed from the collection.`);
    back({ photo: null });
    dispatchEvent(new Event("collection-changed"));
  }

  async #step(by) {
    const next = this.grid.item(this.index + by);
    if (next && state().photo) go({ photo: next.image_id }, { replace: true });
  }
}

function size({ width, height, format, bytes: length }) {
  return [width && `${width} × ${height}`, format, length && bytes(length)].filter(Boolean).join(" · ");
}
