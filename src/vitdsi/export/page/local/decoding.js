// Decoding an id for one query: the log-probabilities of the branches of nodes, each computed once; the same as
// vitdsi/exported/decoding.py.

import { NONE } from "./trie.js";

export class Decoding {
  #logProbs = new Map(); // node -> (V,)
  #pasts = new Map(); // node with inner children -> (2 D, H, t, W)

  /** `step` is that of `Graphs`, `read` what it read of the query, and `bos` the first input of the decoder. */
  constructor(step, head, trie, read, bos) {
    Object.assign(this, { step, head, trie, read, bos });
  }

  /** The log-probabilities (V,) of the tokens in each of some nodes of one depth, whose parents were asked for. */
  async branches(nodes) {
    const missing = nodes.filter((node) => !this.#logProbs.has(node));
    if (missing.length) await this.#compute(missing);
    return nodes.map((node) => this.#logProbs.get(node));
  }

  async #compute(nodes) {
    const { trie } = this;
    const depth = trie.depth[nodes[0]];
    const [layers, , heads, , width] = this.read.memory.dims;
    const tokens = nodes.map((node) => (depth ? trie.token[node] : this.bos));
    const past = new Float32Array(layers * nodes.length * heads * depth * width);
    if (depth) joined(nodes.map((node) => this.#pasts.get(trie.parent[node])), layers, past);
    const { given, present } = await this.step(this.read, tokens, depth, past, [layers, 1, nodes.length, heads, depth, width]);
    const each = given.length / nodes.length;
    nodes.forEach((node, row) => {
      const scores = this.head.scores(given.subarray(row * each, (row + 1) * each), node);
      this.#logProbs.set(node, this.#normalised(scores, node));
      if (trie.inner[node]) this.#pasts.set(node, part(present, row, nodes.length, layers));
    });
  }

  /** Log-probabilities over all branches of a node; -Infinity where there is none. */
  #normalised(scores, node) {
    const { child, tokens } = this.trie;
    const found = scores.map((score, token) => (child[node * tokens + token] === NONE ? -Infinity : score));
    const most = found.reduce((one, other) => Math.max(one, other), -Infinity);
    const total = most + Math.log(found.reduce((sum, score) => sum + Math.exp(score - most), 0));
    return found.map((score) => score - total);
  }
}

/** Write parts (L, ...) to `target` (L, P, ...). */
function joined(parts, layers, target) {
  const each = parts[0].length / layers;
  for (let layer = 0; layer < layers; layer += 1) {
    parts.forEach((values, row) => target.set(values.subarray(layer * each, (layer + 1) * each), (layer * parts.length + row) * each));
  }
}

/** Part `row` (L, ...) of values (L, P, ...). */
function part(values, row, rows, layers) {
  const each = values.length / layers / rows;
  const found = new Float32Array(layers * each);
  for (let layer = 0; layer < layers; layer += 1) {
    const start = (layer * rows + row) * each;
    found.set(values.subarray(start, start + each), layer * each);
  }
  return found;
}
