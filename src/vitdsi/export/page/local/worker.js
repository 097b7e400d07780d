// The worker: it answers what the page asks for, one request after the other, from the files beside it.

import { Collection, Problem } from "./collection.js";

const opening = Collection.open(new URL("../../", import.meta.url));
opening.catch(() => {}); // each request says what went wrong
let before = Promise.resolve();

addEventListener("message", ({ data }) => {
  before = before.then(() => answer(data));
});

async function answer({ number, path, query, body }) {
  try {
    postMessage({ number, answer: await find(await opening, path, query, body) });
  } catch (error) {
    if (!(error instanceof Problem)) console.error(error);
    const message = error instanceof Problem ? error.message : `The search failed: ${error.message}`;
    postMessage({ number, problem: { message, status: error.status ?? 500 } });
  }
}

function find(collection, path, query, body) {
  if (path === "v1/info") return collection.info();
  if (path === "v1/images") return collection.list(query);
  if (path.startsWith("v1/images/")) return collection.item(collection.numberOf(path.slice("v1/images/".length)));
  if (path === "v1/search") return collection.search(query, body);
  throw new Problem("This works only with vitdsi serve.", 404);
}
