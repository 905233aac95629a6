// The exported network: drawings to embeddings, embeddings to logits. docs/export.md has the steps.

import * as ort from "./onnxruntime/ort.wasm.bundle.min.mjs";

const wasm = new URL("./onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url);
ort.env.wasm.wasmPaths = { wasm: wasm.href };
ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send

// Return the one channel of a gray drawing, from 0 to 255: (1, 1, height, width).
export function samplesOf({ data, width, height }) {
  const gray = new Float32Array(width * height);
  for (let i = 0; i < gray.length; i++) gray[i] = data[4 * i];
  return new ort.Tensor("float32", gray, [1, 1, height, width]);
}

export class Network {
  #last = Promise.resolve(); // runs come one after another

  // The folder is one that `export_onnx` wrote.
  static async load(folder) {
    const response = await fetch(new URL("model.json", folder));
    const about = await response.json();
    const network = new Network();
    network.about = about;
    for (const name of ["embed", "compare", "cells"]) {
      const file = new URL(about[name].file, folder);
      network[`${name}Graph`] = await ort.InferenceSession.create(file.href);
    }
    return network;
  }

  #run(graph, feeds) {
    const result = this.#last.then(() => graph.run(feeds));
    this.#last = result.catch(() => {});
    return result;
  }

  // Return the embedding of a drawing, its level, and the box that the network sees of it.
  async embed(pixels) {
    const feeds = { samples: samplesOf(pixels) };
    const { embeddings, levels, boxes } = await this.#run(this.embedGraph, feeds);
    return { row: embeddings.data, level: levels.data[0], box: [...boxes.data] };
  }

  // Return the calibrated logits of an embedding with several others.
  async compare(row, others) {
    const { slope, intercept } = this.about.calibration;
    const feeds = { queries: rowsOf([row]), exemplars: rowsOf(others) };
    const { logits } = await this.#run(this.compareGraph, feeds);
    return [...logits.data].map((logit) => slope * logit + intercept);
  }

  // Return what each cell of either drawing adds to their logit: two arrays of rows * columns.
  async cells(row, other) {
    const feeds = { queries: rowsOf([row]), exemplars: rowsOf([other]) };
    const { cell_logits: logits } = await this.#run(this.cellsGraph, feeds);
    const half = logits.data.length / 2;
    return [logits.data.slice(0, half), logits.data.slice(half)];
  }
}

function rowsOf(rows) {
  const data = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, n) => data.set(row, n * row.length));
  return new ort.Tensor("float32", data, [rows.length, rows[0].length]);
}
