// Where a grid gets its images from: `total`, `at(index)`, and `want(from, to)`, which loads what is missing.

import { api } from "./api.js";

const BLOCK = 200; // images in one request

/** Results, which are all here already. */
export class Listed {
  constructor(items) {
    this.items = items;
    this.total = items.length;
  }
  at(index) {
    return this.items[index];
  }
  want() {
    return null;
  }
}

/** The collection under a filter, of which blocks are loaded when they come into view. */
export class Paged {
  constructor(where) {
    this.where = where;
    this.total = 0;
    this.blocks = new Map(); // number of the block -> images, or the promise of them
  }
  /** Load the first block, and with it the total. */
  async open(signal, onBusy) {
    await this.#load(0, { signal, onBusy });
    return this;
  }
  at(index) {
    const block = this.blocks.get(Math.floor(index / BLOCK));
    return Array.isArray(block) ? block[index % BLOCK] : undefined;
  }
  /** Load the images from..to-1. The promise of them, or null if they are all here. */
  want(from, to) {
    const pending = [];
    for (let number = Math.floor(from / BLOCK); number * BLOCK < to; number += 1) {
      const block = this.blocks.get(number);
      if (!Array.isArray(block)) pending.push(block ?? this.#load(number));
    }
    return pending.length ? Promise.all(pending) : null;
  }
  #load(number, options = {}) {
    const query = { offset: number * BLOCK, limit: BLOCK, where: this.where };
    const loading = api("v1/images", { query, ...options }).then(
      (page) => {
        this.total = page.total;
        this.blocks.set(number, page.images);
      },
      (error) => {
        this.blocks.delete(number);
        throw error;
      },
    );
    this.blocks.set(number, loading);
    return loading;
  }
}
