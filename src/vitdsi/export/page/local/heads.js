// The heads: from what the decoder gives to the scores of tokens; the same as vitdsi/exported/heads.py.

import { NONE } from "./trie.js";

/** A table of float vectors (n, E). */
export class FloatRows {
  constructor({ values, shape: [, width] }) {
    Object.assign(this, { values, width });
  }

  take(row) {
    return this.values.subarray(row * this.width, (row + 1) * this.width);
  }

  /** A function that gives the inner product of a query (E,) with the vector of a row. */
  products(query) {
    const { values, width } = this;
    return (row) => {
      let sum = 0;
      for (let at = 0; at < width; at += 1) sum += query[at] * values[row * width + at];
      return sum;
    };
  }
}

/** A table of codes (n, B) of a product quantizer. Part b of a vector has its numbers b, b + B, b + 2 B, ... */
export class CodedRows {
  constructor({ values: codes }, { values: centres, shape: [parts, count, each] }) {
    Object.assign(this, { codes, centres, parts, count, each });
  }

  take(row) {
    const { codes, centres, parts, count, each } = this;
    const vector = new Float32Array(parts * each);
    for (let part = 0; part < parts; part += 1) {
      const centre = (part * count + codes[row * parts + part]) * each;
      for (let at = 0; at < each; at += 1) vector[at * parts + part] = centres[centre + at];
    }
    return vector;
  }

  products(query) {
    const { codes, centres, parts, count, each } = this;
    const table = new Float32Array(parts * count);
    for (let entry = 0; entry < table.length; entry += 1) {
      const part = Math.floor(entry / count);
      let sum = 0;
      for (let at = 0; at < each; at += 1) sum += query[at * parts + part] * centres[entry * each + at];
      table[entry] = sum;
    }
    return (row) => {
      let sum = 0;
      for (let part = 0; part < parts; part += 1) sum += table[part * count + codes[row * parts + part]];
      return sum;
    };
  }
}

/** The decoder gives the scores themselves. */
export class DigitHead {
  scores(given) {
    return given;
  }
}

/** Scores of the branches of a node, for the query that the decoder gives there. */
export class TrieHead {
  constructor(trie, leaves, leafBias, branches, branchBias) {
    Object.assign(this, { trie, leaves, branches, leafBias: leafBias.values, branchBias: branchBias.values });
    this.mixed = branchBias.shape[1]; // rows of each branch to a node
  }

  /** The scores (V,) of all tokens in a node, -Infinity where there is no branch. */
  scores(query, node) {
    const { child, tokens } = this.trie;
    const ofLeaf = this.leaves.products(query);
    const ofBranch = this.trie.inner[node] ? this.branches.products(query) : null;
    const scores = new Float32Array(tokens).fill(-Infinity);
    for (let token = 0; token < tokens; token += 1) {
      const below = child[node * tokens + token];
      if (below < NONE) scores[token] = ofLeaf(-2 - below) + this.leafBias[-2 - below];
      else if (below >= 0) scores[token] = this.#mixture(ofBranch, below);
    }
    return scores;
  }

  #mixture(product, node) {
    const values = Array.from({ length: this.mixed }, (_, at) => product(node * this.mixed + at) + this.branchBias[node * this.mixed + at]);
    const most = Math.max(...values);
    return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
  }
}
