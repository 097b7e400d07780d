// Best-first search for one query; the same as vitdsi/exported/best_first.py.

import { NONE } from "./trie.js";

export const BEAM_SIZE = 10;
const MAX_EXPANSIONS = 4096;
const FIRST_ROUND = 16; // nodes that are expanded together; each round doubles them
const LARGEST_ROUND = 256;

/**
 * The k most probable of the ids that are marked in `live` (N,), or all of them if these are fewer: `found`, a list of
 * [id, log-probability], best first, and whether no other id is more probable.
 */
export async function bestFirstSearch(decoding, trie, live, k, beamSize) {
  const search = new Search(decoding, trie, live, k);
  await search.followBeam(beamSize);
  await search.followBest();
  return search.result();
}

class Search {
  #expansions = 0;

  constructor(decoding, trie, live, k) {
    Object.assign(this, { decoding, trie, allowed: trie.allowed(live) });
    this.k = Math.min(k, live.reduce((sum, one) => sum + one, 0));
    this.pending = new Map(); // node that was reached and not expanded -> log-probability
    this.found = []; // the best [id, log-probability], best first
  }

  /** The log-probability of the k-th best id, -Infinity if there are fewer yet. */
  get #worst() {
    return this.found.length === this.k ? this.found[this.k - 1][1] : -Infinity;
  }

  result() {
    const proven = !this.k || [...this.pending.values()].every((logProb) => logProb <= this.#worst);
    return { found: this.found, proven };
  }

  /** Search with a beam, of which finished ids are a part. What it does not keep remains pending. */
  async followBeam(size) {
    let beam = this.k ? [[0, 0]] : [];
    while (beam.some(([place]) => place >= 0)) {
      const finished = beam.filter(([place]) => place < NONE);
      const children = await this.#expand(beam.filter(([place]) => place >= 0));
      beam = largest([...finished, ...children], size);
    }
  }

  /** Expand the most probable pending nodes, as long as one is more probable than the k-th best id. */
  async followBest() {
    for (let width = FIRST_ROUND; this.k; width = Math.min(2 * width, LARGEST_ROUND)) {
      const most = Math.min(width, Math.max(0, MAX_EXPANSIONS - this.#expansions));
      const worst = this.#worst;
      const nodes = largest([...this.pending], most).filter(([, logProb]) => logProb > worst);
      if (!nodes.length) return;
      const depths = [...new Set(nodes.map(([node]) => this.trie.depth[node]))].sort((one, other) => one - other);
      for (const depth of depths) await this.#expand(nodes.filter(([node]) => this.trie.depth[node] === depth));
    }
  }

  /** Expand nodes of one depth; return their allowed children. Both are lists of [place, log-probability]. */
  async #expand(nodes) {
    const { child, tokens } = this.trie;
    this.#expansions += nodes.length;
    for (const [node] of nodes) this.pending.delete(node);
    const branches = await this.decoding.branches(nodes.map(([node]) => node));
    const children = [];
    nodes.forEach(([node, logProb], row) => {
      for (let token = 0; token < tokens; token += 1) {
        if (this.allowed[node * tokens + token]) children.push([child[node * tokens + token], Math.fround(logProb + branches[row][token])]);
      }
    });
    const ids = [];
    for (const [place, logProb] of children) {
      if (place >= 0) this.pending.set(place, logProb);
      else ids.push([-2 - place, logProb]);
    }
    this.found = largest([...this.found, ...ids], this.k);
    return children;
  }
}

/** The `count` entries of largest log-probability above -Infinity, largest first. */
function largest(entries, count) {
  return entries.filter(([, logProb]) => logProb > -Infinity).sort((one, other) => other[1] - one[1]).slice(0, count);
}
