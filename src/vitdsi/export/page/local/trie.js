// The trie of the ids, made from its table of children; the same as vitdsi/exported/trie.py.

export const NONE = -1;

export class Trie {
  /** `child` (M, V): what each token leads to in each node: NONE, an inner node (>= 0), or -2 - id. `live` (N,): 0 or 1. */
  constructor({ values: child, shape: [nodes, tokens] }, live) {
    Object.assign(this, { child, nodes, tokens, live });
    this.parent = new Int32Array(nodes).fill(NONE);
    this.token = new Int32Array(nodes);
    this.depth = new Int32Array(nodes);
    this.inner = new Uint8Array(nodes); // whether a node has inner children
    this.order = [0]; // nodes, each after its parent
    for (const node of this.order) {
      for (let token = 0; token < tokens; token += 1) {
        const below = child[node * tokens + token];
        if (below < 0) continue;
        this.parent[below] = node;
        this.token[below] = token;
        this.depth[below] = this.depth[node] + 1;
        this.inner[node] = 1;
        this.order.push(below);
      }
    }
  }

  /** The branches (M, V) below which at least one of the ids lies that are marked in `live` (N,). */
  allowed(live) {
    const { child, tokens } = this;
    const allowed = new Uint8Array(child.length);
    for (let position = this.order.length - 1; position >= 0; position -= 1) {
      const node = this.order[position];
      let any = 0;
      for (let branch = node * tokens; branch < (node + 1) * tokens; branch += 1) {
        if (child[branch] < NONE) allowed[branch] = live[-2 - child[branch]];
        any |= allowed[branch];
      }
      if (node) allowed[this.parent[node] * tokens + this.token[node]] = any;
    }
    return allowed;
  }
}
