// A language model of seriatim in a browser: the file of `seriatim export MODEL --to onnx`, run by
// onnxruntime-web. It draws as seriatim does: the same seed gives the same text.

import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more threads need a page that is isolated from other origins

export class LanguageModel {
  static async load(url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} is not there: export a model beside this page`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    return new LanguageModel(session, metadata(bytes));
  }

  constructor(session, facts) {
    this.session = session;
    this.facts = facts;
  }

  // The state before the boundary, as the metadata tells it.
  start() {
    return Object.fromEntries(this.facts.state.map((part) => {
      const size = part.shape.reduce((a, b) => a * b, 1);
      const values = part.start === null ? new Array(size).fill(0) : part.start.flat(Infinity);
      return [part.input, tensor(part.type, values, [1, ...part.shape])];
    }));
  }

  // Log-probabilities in nats of the symbol after this one, and the state to go on with.
  async step(symbol, state) {
    const outputs = await this.session.run({ symbol: tensor("int64", [symbol], [1]), ...state });
    const after = this.facts.state.map((part) => [part.input, outputs[part.output]]);
    return { logProbs: outputs.log_probs.data, state: Object.fromEntries(after) };
  }

  // Symbols one after another, drawn with the seed; null: always the most probable one.
  async *generate(count, seed = null) {
    let { logProbs, state } = await this.step(this.facts.boundary, this.start());
    for (let i = 0; i < count; i++) {
      const symbol = seed === null ? argmax(logProbs) : draw(logProbs, uniform(seed, 0, i));
      yield { symbol, text: this.facts.texts[symbol] };
      ({ logProbs, state } = await this.step(symbol, state));
    }
  }
}

function tensor(type, values, shape) {
  const data = type === "int64" ? BigInt64Array.from(values.map(BigInt)) : Float32Array.from(values);
  return new ort.Tensor(type, data, shape);
}

function argmax(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

// The smallest i with p_0 + .. + p_i > u.
function draw(logProbs, u) {
  const largest = logProbs[argmax(logProbs)];
  let total = 0;
  const sums = Array.from(logProbs, (value) => (total += Math.exp(value - largest)));
  return sums.findIndex((sum) => sum > u * total);
}

// ---- seriatim's uniforms: a function of (seed, row, step), from SplitMix64 ----------------------

const ROW = 0x9e3779b97f4a7c15n, STEP = 0xd1b54a32d192ed03n;
const u64 = (z) => BigInt.asUintN(64, z);

function mix(z) {
  z = u64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

export function uniform(seed, row, step) {
  let key = mix(u64(BigInt(seed) + ROW));
  key = mix(key ^ u64(BigInt(row) * ROW + STEP));
  key = mix(key ^ u64(BigInt(step) * STEP + ROW));
  return Number(key >> 11n) * 2 ** -53;
}

// ---- the metadata of an ONNX file, which onnxruntime-web does not give --------------------------

const METADATA = 14, KEY = 1, VALUE = 2; // field numbers of ModelProto and StringStringEntryProto

export function metadata(bytes) {
  const text = new TextDecoder();
  const facts = {};
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA) continue;
    const parts = Object.fromEntries(fields(entry));
    const name = text.decode(parts[KEY]);
    if (name.startsWith("seriatim.")) facts[name.slice(9)] = JSON.parse(text.decode(parts[VALUE]));
  }
  if (!("state" in facts)) throw new Error("this file is no language model of seriatim");
  return facts;
}

// The fields of a protocol buffer, those with a length only.
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, scale = 1;
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = varint(), kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const size = varint();
      yield [Math.floor(tag / 8), bytes.subarray(at, at + size)];
      at += size;
    }
  }
}
