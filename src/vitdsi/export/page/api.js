// What the page asks for, answered without a server: a worker searches the exported index in this browser. It stands in
// the place of the module of this name that asks a server.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// A worker that starts from a blob is under the policy of the page: the browser refuses whatever it would send elsewhere.
const start = new Blob([`import ${JSON.stringify(new URL("./local/worker.js", import.meta.url).href)};`], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(start), { type: "module" });
const waiting = new Map(); // number of the request -> its promise
let last = 0;
let broken = null; // why the worker cannot run

worker.addEventListener("message", ({ data: { number, answer, problem } }) => {
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  if (problem) reject(new ApiError(problem.message, problem.status));
  else resolve(answer);
});
worker.addEventListener("error", (event) => {
  broken = new ApiError(`The search cannot run in this browser: ${event.message || "its files cannot be loaded"}.`, 0);
  for (const { reject } of waiting.values()) reject(broken);
  waiting.clear();
});

/** The answer of the worker. Nothing is sent anywhere: a photo is handed to the worker, which runs in this browser. */
export function api(path, { query = {}, body, signal } = {}) {
  return new Promise((resolve, reject) => {
    if (broken) throw broken;
    const number = (last += 1);
    waiting.set(number, { resolve, reject });
    signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    worker.postMessage({ number, path, query, body });
  });
}

export const imagePath = (imageId) => `v1/images/${imageId}`;

/** The address of the picture of an image, or a tile with its name where the export has none. */
export const thumb = (item) => (item.thumb ? new URL(item.thumb, document.baseURI).href : tile(item.image_id));

/** The address of the largest picture that there is. */
export const photo = thumb;

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

function tile(name) {
  const lines = name.split("/").at(-1).match(/.{1,16}/gu).slice(0, 6).map((line) => line.replace(/[&<>]/g, (sign) => ENTITIES[sign]));
  const text = lines.map((line, row) => `<text x="100" y="${104 + 22 * (row - (lines.length - 1) / 2)}">${line}</text>`);
  const style = 'font-family="sans-serif" font-size="18" text-anchor="middle" fill="#777"';
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200" width="200" height="200" ${style}>${text.join("")}</svg>`)}`;
}
