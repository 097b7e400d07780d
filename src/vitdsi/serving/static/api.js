// Requests to the server. Every failure is an ApiError, whose message is one sentence for whoever looks at the page.

import { h } from "./dom.js";

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const TRIES = 5;

/** The JSON that the server answers with. Waits and tries again while the server is busy, and asks for the token. */
export async function api(path, { method = "GET", query = {}, body, type, signal, onBusy } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) url.searchParams.set(name, value);
  }
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(url, { method, body, signal, headers: type ? { "Content-Type": type } : {} });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer. Is it still running?", 0);
    }
    if (response.status === 401) {
      await login();
      continue;
    }
    if (response.status === 429 && attempt < TRIES) {
      onBusy?.();
      await pause(1000 * Math.min(30, Number(response.headers.get("Retry-After")) || attempt), signal);
      continue;
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && (answer !== null || response.status === 204)) return answer;
    throw new ApiError(sentence(answer?.error) || `The server answered with status ${response.status}.`, response.status);
  }
}

/** The path of an image in the interface. An image_id may contain slashes. */
export const imagePath = (imageId) => `v1/images/${imageId.split("/").map(encodeURIComponent).join("/")}`;

/** The address of a thumbnail of at least `size` device pixels. */
export function thumb(item, size) {
  const url = new URL(item.thumb.replace(/^\/+/, ""), document.baseURI);
  url.searchParams.set("size", [192, 320, 640].find((step) => step >= size) ?? 1024);
  return url.href;
}

/** The address of the photo itself. */
export const photo = (item) => new URL(`photo/${item.id}`, document.baseURI).href;

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}

function sentence(text) {
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
}

let asking = null;

/** Ask for the token until the server accepts it. */
function login() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true });
    const problem = h("p", { class: "problem", role: "alert" });
    const send = async (event) => {
      event.preventDefault();
      const response = await fetch(new URL("v1/login", document.baseURI), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token: token.value }),
      }).catch(() => null);
      if (response?.ok) {
        dialog.close();
        asking = null;
        resolve();
      } else {
        problem.textContent = response ? "That is not the token." : "The server does not answer. Is it still running?";
        token.select();
      }
    };
    dialog.replaceChildren(
      h("form", { onsubmit: send },
        h("h2", { id: "login-title" }, "This collection is private"),
        h("p", {}, "Enter the token that the server was started with."),
        h("label", {}, "Token", token),
        problem,
        h("button", { class: "button primary" }, "Open"),
      ),
    );
    dialog.oncancel = (event) => event.preventDefault();
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}
