// The exported index: its images, and searches among them.

import { BEAM_SIZE, bestFirstSearch } from "./best_first.js";
import { Decoding } from "./decoding.js";
import { Files } from "./files.js";
import { Graphs } from "./graphs.js";
import { CodedRows, DigitHead, FloatRows, TrieHead } from "./heads.js";
import { pixelsOf, reduced, squareOf } from "./photo.js";
import { rank } from "./rank.js";
import { Trie } from "./trie.js";

const PICTURES_IN_FOLDER = 1000;

/** What went wrong, in a sentence for whoever looks at the page. */
export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export class Collection {
  static async open(base) {
    const files = await Files.open(base);
    const [child, live, names, ends, head] = await Promise.all([
      ...["child", "live", "names", "name_ends"].map((name) => files.array(name)),
      Promise.all(files.manifest.head === "trie" ? ["leaves", "leaf_bias", "branches", "branch_bias"].map((name) => files.array(name)) : []),
    ]);
    const centres = files.has("centres.bin") ? await files.array("centres") : null;
    return new Collection(files, new Trie(child, live.values), namesOf(names.values, ends.values), head, centres);
  }

  #graphs = null;
  #numbers = null; // image_id -> id

  constructor(files, trie, names, [leaves, leafBias, branches, branchBias], centres) {
    Object.assign(this, { files, trie, names, manifest: files.manifest });
    const rows = (array) => (array.values instanceof Uint8Array ? new CodedRows(array, centres) : new FloatRows(array));
    this.leaves = leaves ? rows(leaves) : null;
    this.head = leaves ? new TrieHead(trie, this.leaves, leafBias, rows(branches), branchBias) : new DigitHead();
    this.graphs().catch(() => {}); // loaded before the first search, which says what went wrong
  }

  graphs() {
    return (this.#graphs ??= Graphs.open(this.files));
  }

  info() {
    const { images, page } = this.manifest;
    return { images, name: page.name, labels: page.labels, fields: {}, writable: false, offline: true, likes: page.pictures === "photos" };
  }

  /** A page of the images whose names contain all words of `where`. */
  list({ where, offset = 0, limit = 100 }) {
    const numbers = this.#matching(where);
    return { total: numbers.length, images: numbers.slice(offset, offset + limit).map((number) => this.item(number)), facets: {} };
  }

  item(number) {
    const folder = Math.floor(number / PICTURES_IN_FOLDER);
    return { image_id: this.names[number], id: number, thumb: this.manifest.page.pictures ? `pictures/${folder}/${number}.webp` : "" };
  }

  numberOf(imageId) {
    this.#numbers ??= new Map(this.#matching("").map((number) => [this.names[number], number]));
    const number = this.#numbers.get(imageId);
    if (number === undefined) throw new Problem(`There is no image ${imageId} in this collection.`, 404);
    return number;
  }

  /** The results for a photo, or for the picture of an image of the collection, which is then left out of them. */
  async search({ k, where, min_score: minScore = 0, region, id: like }, body) {
    const began = performance.now();
    const own = like ? this.numberOf(like) : null;
    const size = this.manifest.image_size;
    // A part is read from a photo of twice the size, as in Python.
    const whole = await decoded(like ? await this.#picture(own) : body, region ? 2 * size : size);
    const [photo, square] = reduced(whole, squareOf(whole, region?.split(",").map(Number)), size);
    const live = new Uint8Array(this.trie.live.length);
    for (const number of this.#matching(where)) live[number] = number === own ? 0 : 1;
    const results = await this.#ranked(photo, square, live, k);
    return {
      results: results
        .filter(({ score }) => score >= minScore)
        .map(({ id, score, logProb }, place) => ({ ...this.item(id), rank: place + 1, score, log_prob: logProb, region: null })),
      seconds: (performance.now() - began) / 1000,
    };
  }

  async #ranked(photo, square, live, k) {
    const { reranks, reranked, scoring, bos } = this.manifest;
    const graphs = await this.graphs();
    const read = await graphs.read(photo, square);
    const decoding = new Decoding(graphs.step, this.head, this.trie, read, bos);
    const { found } = await bestFirstSearch(decoding, this.trie, live, reranks ? Math.max(reranked, k) : k, Math.max(BEAM_SIZE, k));
    return rank(found, read.embedding.data, reranks ? this.leaves : null, scoring, reranks).slice(0, k);
  }

  async #picture(number) {
    const known = this.manifest.page.pictures === "photos";
    const response = known && (await fetch(new URL(this.item(number).thumb, this.files.base)));
    if (!response?.ok) throw new Problem("This export has no picture of this image that is large enough to search with.", 404);
    return response.blob();
  }

  /** The ids of live images whose names contain all words. */
  #matching(words) {
    const wanted = (words ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const numbers = [];
    this.names.forEach((name, number) => {
      if (!this.trie.live[number]) return;
      const lower = wanted.length ? name.toLowerCase() : "";
      if (wanted.every((word) => lower.includes(word))) numbers.push(number);
    });
    return numbers;
  }
}

async function decoded(file, size) {
  try {
    return await pixelsOf(file, size);
  } catch {
    throw new Problem("This browser cannot read this file as a photo. Save it as JPEG or PNG first.", 415);
  }
}

function namesOf(bytes, ends) {
  const decoder = new TextDecoder();
  return Array.from(ends, (end, number) => decoder.decode(bytes.subarray(number ? ends[number - 1] : 0, end)));
}
