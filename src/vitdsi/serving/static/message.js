// What stands in the place of photos when there are none: nothing found, an error, or a photo that is gone.

import { h, icon } from "./dom.js";

/** A symbol, a title, a sentence and what to do next. */
export function message({ symbol, title, text, action, onAction }) {
  return h("div", { class: "message" }, icon(symbol), h("h3", {}, title), h("p", {}, text),
    action && h("button", { type: "button", class: "button", onclick: onAction }, action));
}
