// Groups of photos that show the same picture: which copy to keep, and why.

import { api, imagePath, thumb } from "./api.js";
import { basename, bytes, count, h, icon, notify } from "./dom.js";
import { message } from "./message.js";
import { go, linkTo } from "./state.js";

const MANY = 50; // groups that are shown at once

export class Duplicates {
  #groups = null;
  #shown = MANY;

  constructor(root, info) {
    this.root = root;
    this.info = info;
    this.status = h("p", { role: "status" });
    this.list = h("div", { class: "groups" });
    this.more = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.#draw((this.#shown += MANY)) }, "Show more groups");
    root.append(
      h("div", { class: "found-head" }, h("h2", { id: "duplicates-title" }, "Near-identical photos"), this.status),
      h("p", { class: "lead" }, "Photos that show the same picture. The copy that is worth keeping is marked. ",
        info.writable ? "Your decisions are remembered." : "Start the server with --writable to decide about them here."),
      this.list,
      h("p", { class: "more" }, this.more),
    );
    addEventListener("collection-changed", () => (this.#groups = null));
  }

  /** Load the groups, unless they are here. */
  async open() {
    if (this.#groups) return;
    this.status.textContent = "Looking for copies …";
    this.list.replaceChildren(h("div", { class: "skeleton group" }), h("div", { class: "skeleton group" }));
    try {
      this.#groups = (await this.#load()).groups;
      this.#shown = MANY;
      this.#draw();
    } catch (error) {
      this.status.textContent = "";
      this.list.replaceChildren(message({ symbol: "broken", title: "No copies can be shown", text: error.message, action: "Try again", onAction: () => this.open() }));
    }
  }

  /** The groups, for which the server may need longer than one request may take. */
  async #load() {
    for (;;) {
      try {
        return await api("v1/duplicates", { onBusy: () => (this.status.textContent = "The server is busy, one moment …") });
      } catch (error) {
        if (error.status !== 504 || this.root.hidden) throw error;
        this.status.textContent = "Still looking for copies; this takes minutes in a large collection …";
      }
    }
  }

  #draw() {
    const copies = this.#groups.reduce((sum, group) => sum + group.images.length - 1, 0);
    this.status.textContent = copies ? `${count(this.#groups.length, "group")}, ${count(copies, "copy", "copies")} to spare` : "";
    this.list.replaceChildren(...this.#groups.slice(0, this.#shown).map((group, number) => this.#group(group, number)));
    if (!copies) this.list.append(message({ symbol: "check", title: "Nothing to tidy up", text: "No two photos of the collection show the same picture, or you decided about all of them." }));
    this.more.hidden = this.#groups.length <= this.#shown;
  }

  #group(group, number) {
    const title = `group-${number}`;
    const boxes = new Map();
    const actions = h("div", { class: "buttons" });
    const card = h("article", { class: "group", "aria-labelledby": title });
    const change = () => {
      const kept = [...boxes].filter(([, box]) => box.checked).map(([imageId]) => imageId);
      const others = group.images.length - kept.length;
      if (!this.info.writable) return;
      const both = group.images.length === 2 ? "Keep both" : `Keep all ${group.images.length}`;
      const text = others ? `Remove ${count(others, "copy", "copies")}` : "Remove copies";
      actions.replaceChildren(
        h("button", { type: "button", class: "button primary", disabled: !others || !kept.length, onclick: () => this.#confirm(group, kept, actions, change) }, text),
        h("button", { type: "button", class: "button", onclick: () => this.#keep(group, card) }, both),
      );
    };
    const best = group.images.filter((image) => image.image_id === group.keep);
    const copies = [...best, ...group.images.filter((image) => !best.includes(image))].map((image) => {
      const keep = image.image_id === group.keep;
      const box = h("input", { type: "checkbox", onchange: change, "aria-label": `Keep ${image.image_id}` });
      box.checked = keep;
      boxes.set(image.image_id, box);
      return h("li", { class: keep ? "copy best" : "copy" },
        h("a", { href: linkTo({ view: "photos", photo: image.image_id }), "aria-label": `Open ${image.image_id}`, onclick: (event) => open(event, image) },
          h("img", { src: thumb(image, 320), alt: "", loading: "lazy" }), keep && h("span", { class: "badge" }, icon("check"), "Keep")),
        h("label", {}, this.info.writable && box, h("span", { class: "name", title: image.image_id }, basename(image.image_id))),
        h("p", { class: "size" }, facts(image)), image.time && h("p", { class: "size" }, day(image.time)),
      );
    });
    change();
    card.append(
      h("div", { class: "group-head" }, h("h3", { id: title }, `${group.images.length} copies`), h("p", {}, group.reason && `Keep ${basename(group.keep)}: ${group.reason}`)),
      h("ul", { class: "copies" }, copies), actions);
    return card;
  }

  #confirm(group, kept, actions, cancel) {
    const gone = group.images.map((image) => image.image_id).filter((imageId) => !kept.includes(imageId));
    const sure = h("button", { type: "button", class: "button danger", onclick: () => this.#remove(group, gone, kept, actions.closest(".group")) }, `Remove ${count(gone.length, "copy", "copies")}`);
    actions.replaceChildren(h("p", {}, "Remove from the collection? The files stay where they are."), sure, h("button", { type: "button", class: "button", onclick: cancel }, "Cancel"));
    sure.focus();
  }

  async #keep(group, card) {
    const images = group.images.map((image) => image.image_id);
    await this.#decide(group, card, () => keepTogether(images), `All ${images.length} are kept. They will not be shown as copies again.`);
  }

  async #remove(group, gone, kept, card) {
    await this.#decide(group, card, async () => {
      for (const imageId of gone) await api(imagePath(imageId), { method: "DELETE" });
      if (kept.length > 1) await keepTogether(kept);
      const groups = this.#groups;
      dispatchEvent(new Event("collection-changed"));
      this.#groups = groups;
    }, `${count(gone.length, "copy", "copies")} removed from the collection.`);
  }

  async #decide(group, card, act, done) {
    card.inert = true;
    try {
      await act();
      const position = this.#groups.indexOf(group);
      this.#groups.splice(position, 1);
      this.#draw();
      notify(done);
      const next = this.list.querySelectorAll(".group")[Math.min(position, this.#groups.length - 1)];
      (next?.querySelector("button") ?? document.getElementById("main")).focus();
    } catch (error) {
      card.inert = false;
      notify(error.message);
    }
  }
}

const keepTogether = (images) =>
  api("v1/duplicates/keep", { method: "POST", body: JSON.stringify({ images }), type: "application/json" });

function open(event, image) {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go({ photo: image.image_id });
}

function facts(image) {
  const parts = [image.width && `${image.width} × ${image.height}`, image.bytes && bytes(image.bytes)];
  return parts.filter(Boolean).join(" · ");
}

function day(time) {
  const date = new Date(typeof time === "number" ? 1000 * time : time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toLocaleDateString("en", { dateStyle: "medium" });
}
