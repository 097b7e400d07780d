// A rectangle that is drawn on a photo, with the pointer or with the keyboard. It is [x, y, width, height] from 0 to 1.

import { h } from "./dom.js";

const SMALLEST = 0.04; // of a side
const STEP = 0.02; // of an arrow key
const WAIT = 500; // milliseconds after the last key before the search

const within = (value, low, high) => Math.min(high, Math.max(low, value));

export class Region {
  #value = null;
  #drag = null;
  #timer = 0;

  /** `onChange(region or null)` is called when the rectangle is finished. */
  constructor(frame, onChange) {
    this.frame = frame;
    this.onChange = onChange;
    this.box = h("div", { class: "region", tabindex: "0", role: "application", hidden: true });
    for (const corner of ["nw", "ne", "sw", "se"]) this.box.append(h("i", { class: `handle ${corner}` }));
    frame.append(this.box);
    frame.addEventListener("pointerdown", (event) => this.#start(event));
    frame.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, (event) => this.#end(event));
    frame.addEventListener("dragstart", (event) => event.preventDefault());
    this.box.addEventListener("keydown", (event) => this.#key(event));
  }

  get value() {
    return this.#value;
  }

  set value(value) {
    this.#value = value;
    this.box.hidden = !value;
    this.frame.classList.toggle("marked", Boolean(value));
    if (!value) return;
    const [x, y, width, height] = value;
    Object.assign(this.box.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` });
    const whole = value.map((number) => Math.round(100 * number));
    this.box.setAttribute(
      "aria-label",
      `Part of the photo: from ${whole[0]} % left and ${whole[1]} % top, ${whole[2]} % wide, ${whole[3]} % high. ` +
        "Arrow keys move it, with Shift they resize it, Enter searches, Delete removes it.",
    );
  }

  /** Start with a rectangle in the middle, for the keyboard and for touch. */
  begin() {
    this.value ??= [0.25, 0.25, 0.5, 0.5];
    this.box.focus();
  }

  #point(event) {
    const frame = this.frame.getBoundingClientRect();
    return [
      within((event.clientX - frame.left) / frame.width, 0, 1),
      within((event.clientY - frame.top) / frame.height, 0, 1),
    ];
  }

  #start(event) {
    if (event.button || !event.isPrimary) return;
    const inside = this.box.contains(event.target);
    if (event.pointerType === "touch" && !inside) return; // a finger beside it scrolls the page
    event.preventDefault();
    this.frame.setPointerCapture(event.pointerId);
    const [px, py] = this.#point(event);
    const [x, y, width, height] = this.#value ?? [px, py, 0, 0];
    const corner = event.target.classList.contains("handle") ? event.target.classList[1] : null;
    if (corner) {
      // The opposite corner stays where it is.
      this.#drag = { anchor: [corner.includes("w") ? x + width : x, corner.includes("n") ? y + height : y] };
    } else if (inside) this.#drag = { grip: [px - x, py - y] };
    else this.#drag = { anchor: [px, py] };
    this.#drag.before = this.#value;
  }

  #move(event) {
    if (!this.#drag) return;
    const [px, py] = this.#point(event);
    if (this.#drag.grip) {
      const [, , width, height] = this.#value;
      const [gx, gy] = this.#drag.grip;
      this.value = [within(px - gx, 0, 1 - width), within(py - gy, 0, 1 - height), width, height];
    } else {
      const [ax, ay] = this.#drag.anchor;
      this.value = [Math.min(ax, px), Math.min(ay, py), Math.abs(ax - px), Math.abs(ay - py)];
    }
    this.#drag.moved = true;
  }

  #end(event) {
    if (!this.#drag) return;
    const { before, moved } = this.#drag;
    this.#drag = null;
    const small = this.#value && (this.#value[2] < SMALLEST || this.#value[3] < SMALLEST);
    if (event.type === "pointercancel" || !moved || small) this.value = before; // a click, or an accident
    else this.onChange(this.#value);
  }

  #key(event) {
    const arrows = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (event.key in arrows) {
      const [dx, dy] = arrows[event.key];
      let [x, y, width, height] = this.#value;
      if (event.shiftKey) {
        width = within(width + dx, SMALLEST, 1 - x);
        height = within(height + dy, SMALLEST, 1 - y);
      } else {
        x = within(x + dx, 0, 1 - width);
        y = within(y + dy, 0, 1 - height);
      }
      this.value = [x, y, width, height];
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.onChange(this.#value), WAIT);
    } else if (event.key === "Enter") {
      clearTimeout(this.#timer);
      this.onChange(this.#value);
    } else if (["Delete", "Backspace", "Escape"].includes(event.key)) {
      clearTimeout(this.#timer);
      this.value = null;
      this.onChange(null);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
