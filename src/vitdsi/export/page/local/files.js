// The files of an export: the manifest, flat arrays and others. Only files beside the page are ever asked for.

const KINDS = { "|u1": Uint8Array, "<i4": Int32Array, "<u4": Uint32Array, "<f4": Float32Array };

export class Files {
  /** Read the manifest of the export at the address `base`. */
  static async open(base) {
    const response = await fetch(new URL("manifest.json", base), { cache: "no-cache" });
    if (!response.ok) throw new Error(`manifest.json cannot be loaded (status ${response.status})`);
    return new Files(base, await response.json());
  }

  constructor(base, manifest) {
    this.base = base;
    this.manifest = manifest;
  }

  has(name) {
    return name in this.manifest.files;
  }

  /** The content of a file as an ArrayBuffer. Its address changes with its content, so that no old one is kept. */
  async bytes(name) {
    const about = this.manifest.files[name];
    const response = await fetch(new URL(`${name}?${about.sha256.slice(0, 16)}`, this.base));
    if (!response.ok) throw new Error(`${name} cannot be loaded (status ${response.status})`);
    const content = await response.arrayBuffer();
    if (content.byteLength !== about.bytes) throw new Error(`${name} is not complete`);
    return content;
  }

  /** An array: its `values`, row by row, and its `shape`. */
  async array(name) {
    const { dtype, shape } = this.manifest.files[`${name}.bin`];
    return { values: new KINDS[dtype](await this.bytes(`${name}.bin`)), shape };
  }
}
