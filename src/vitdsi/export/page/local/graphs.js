// The ONNX graphs of an export, run by ONNX Runtime in WebAssembly, in one thread: that needs no special headers.

import * as ort from "../onnxruntime/ort.js";

const FOLDER = new URL("../onnxruntime/", import.meta.url);

export class Graphs {
  static async open(files) {
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm.js", FOLDER).href };
    ort.env.wasm.wasmBinary = await files.bytes("static/onnxruntime/ort.wasm");
    const sessions = {};
    for (const name of ["photo", "read", "step"]) {
      sessions[name] = await ort.InferenceSession.create(new Uint8Array(await files.bytes(`${name}.onnx`)), { executionProviders: ["wasm"] });
    }
    return new Graphs(sessions);
  }

  constructor(sessions) {
    this.sessions = sessions;
    this.step = this.step.bind(this);
  }

  /** Read a square of a photo: the `memory` (2 D, 1, H, T, W) and the `embedding` (1, E), both tensors. */
  async read({ data, width, height }, square) {
    const { pixels } = await this.sessions.photo.run({
      photo: new ort.Tensor("uint8", new Uint8Array(data.buffer), [height, width, 4]),
      box: new ort.Tensor("float32", Float32Array.from(square), [4]),
    });
    return this.sessions.read.run({ pixels });
  }

  /** One step of the decoder for P nodes: what the head reads (P, ...), and the past with these tokens, both flat. */
  async step({ memory, embedding }, tokens, depth, past, shape) {
    const inputs = {
      tokens: integers(tokens, [1, tokens.length]),
      position: integers([depth], [1]),
      embedding,
      memory,
      past: new ort.Tensor("float32", past, shape),
    };
    const { step } = this.sessions;
    const { given, present } = await step.run(Object.fromEntries(step.inputNames.map((name) => [name, inputs[name]])));
    return { given: given.data, present: present.data };
  }
}

const integers = (values, shape) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
