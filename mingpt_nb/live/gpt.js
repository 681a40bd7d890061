// A GPT in plain JavaScript: one token in, the logits of the next one out.
// It reads what `explore.pack_model` wrote. Nothing else is needed: no library, no server.

// weights of 8 bits, one scale for each row; vectors come as they are
function unpack(buffer, start, { shape, offset, scales }) {
  if (scales === undefined) return new Float32Array(buffer, start + offset, shape[0]);
  const [rows, columns] = shape;
  const bytes = new Int8Array(buffer, start + offset, rows * columns);
  const scale = new Float32Array(buffer, start + scales, rows);
  return Float32Array.from(bytes, (byte, i) => byte * scale[Math.floor(i / columns)]);
}

function linear(x, weight, bias) { // weight is (out, in); four sums, so that none waits for another
  const n = x.length, out = new Float32Array(weight.length / n);
  for (let o = 0, k = 0; o < out.length; o++) {
    let a = bias ? bias[o] : 0, b = 0, c = 0, d = 0, i = 0;
    for (; i + 3 < n; i += 4, k += 4) {
      a += weight[k] * x[i];
      b += weight[k + 1] * x[i + 1];
      c += weight[k + 2] * x[i + 2];
      d += weight[k + 3] * x[i + 3];
    }
    for (; i < n; i++, k++) a += weight[k] * x[i];
    out[o] = a + b + c + d;
  }
  return out;
}

function layerNorm(x, weight, bias) {
  const mean = x.reduce((a, b) => a + b) / x.length;
  const variance = x.reduce((a, b) => a + (b - mean) * (b - mean), 0) / x.length;
  const over = 1 / Math.sqrt(variance + 1e-5);
  return x.map((v, i) => (v - mean) * over * weight[i] + bias[i]);
}

function erf(v) { // Abramowitz and Stegun 1964, 7.1.26: off by at most 1.5e-7
  const t = 1 / (1 + 0.3275911 * Math.abs(v));
  const c = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
  return Math.sign(v) * (1 - c.reduce((sum, k) => (sum + k) * t, 0) * Math.exp(-v * v));
}
const GELUS = { // by Hugging Face's names: GPT-2's, and the exact one
  gelu_new: v => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v))),
  gelu: v => 0.5 * v * (1 + erf(v / Math.SQRT2)),
};
const add = (x, y) => x.map((v, i) => v + y[i]);

export function softmax(x) {
  const top = Math.max(...x), e = Array.from(x, v => Math.exp(v - top));
  const sum = e.reduce((a, b) => a + b);
  return e.map(v => v / sum);
}

export class GPT {
  constructor(buffer) { // an ArrayBuffer
    const length = new DataView(buffer).getUint32(0, true);
    const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    Object.assign(this, about.config, { letters: about.letters }); // n_layer, …; a letter an id
    this.gelu = GELUS[this.activation_function ?? 'gelu_new'];
    this.ids = new Map(about.letters.map((letter, id) => [letter, id]));
    this.w = {};
    for (const [name, tensor] of Object.entries(about.tensors))
      this.w[name] = unpack(buffer, 4 + length, tensor);
    this.reset();
  }

  static async load(source) { // a promise of an ArrayBuffer, or of a view into one
    const bytes = await source, { buffer, byteOffset, byteLength } = bytes;
    return new GPT(buffer ? buffer.slice(byteOffset, byteOffset + byteLength) : bytes);
  }

  reset() { // forget the text
    this.seen = []; // ids
    this.cache = Array.from({ length: this.n_layer }, () => ({ keys: [], values: [] }));
  }

  encode(text) { return [...text].filter(c => this.ids.has(c)).map(c => this.ids.get(c)); }
  decode(ids) { return ids.map(id => this.letters[id]).join(''); }

  attend(layer, x) { // what the last position takes from all positions so far
    const name = `transformer.h.${layer}.attn`, { w, n_head, n_embd } = this;
    const size = n_embd / n_head;
    const qkv = linear(x, w[`${name}.c_attn.weight`], w[`${name}.c_attn.bias`]);
    const { keys, values } = this.cache[layer], out = new Float32Array(n_embd);
    keys.push(qkv.slice(n_embd, 2 * n_embd));
    values.push(qkv.slice(2 * n_embd));
    this.attention[layer] = Array.from({ length: n_head }, (_, head) => {
      const from = head * size, to = from + size;
      const weights = softmax(keys.map(key => {
        let dot = 0;
        for (let i = from; i < to; i++) dot += qkv[i] * key[i];
        return dot / Math.sqrt(size);
      }));
      weights.forEach((a, t) => {
        for (let i = from; i < to; i++) out[i] += a * values[t][i];
      });
      return weights;
    });
    return linear(out, w[`${name}.c_proj.weight`], w[`${name}.c_proj.bias`]);
  }

  mlp(layer, x) {
    const name = `transformer.h.${layer}.mlp`, { w } = this;
    const wide = linear(x, w[`${name}.c_fc.weight`], w[`${name}.c_fc.bias`]).map(this.gelu);
    return linear(wide, w[`${name}.c_proj.weight`], w[`${name}.c_proj.bias`]);
  }

  step(id) { // logits of the next token; `attention` has (layer, head, position) of this one
    if (this.seen.length === this.block_size) { // full: with `id` half of it stays, from position 0
      const half = Math.max(1, Math.floor(this.block_size / 2));
      const kept = this.seen.slice(this.block_size - half + 1);
      this.reset();
      kept.forEach(old => this.step(old));
    }
    const { w, n_embd } = this, t = this.seen.length;
    const row = (table, i) => table.subarray(i * n_embd, (i + 1) * n_embd);
    const norm = (x, name) => layerNorm(x, w[`${name}.weight`], w[`${name}.bias`]);
    this.seen.push(id);
    this.attention = [];
    let x = add(row(w['transformer.wte.weight'], id), row(w['transformer.wpe.weight'], t));
    for (let layer = 0; layer < this.n_layer; layer++) {
      const name = `transformer.h.${layer}`;
      x = add(x, this.attend(layer, norm(x, `${name}.ln_1`)));
      x = add(x, this.mlp(layer, norm(x, `${name}.ln_2`)));
    }
    return linear(norm(x, 'transformer.ln_f'), w['lm_head.weight'] ?? w['transformer.wte.weight']);
  }

  back(length) { // to when the text was so long
    this.seen.length = length;
    for (const { keys, values } of this.cache) keys.length = values.length = length;
  }

  read(ids) { // from a fresh start: the logits behind each token
    this.reset();
    return ids.map(id => this.step(id));
  }
}

// What is drawn from: flatter or steeper, the k likeliest, the fewest that reach top_p.
export function distribution(logits, { temperature = 1, top_k = 0, top_p = 1 } = {}) {
  const p = softmax(Array.from(logits, v => v / temperature));
  const order = p.map((_, id) => id).sort((a, b) => p[b] - p[a]);
  let sum = 0, kept = 0;
  for (const id of order) {
    if (kept > 0 && ((top_k && kept >= top_k) || sum >= top_p)) p[id] = 0;
    else { sum += p[id]; kept++; }
  }
  return p.map(v => v / sum);
}

export function draw(p, random = Math.random) {
  let left = random();
  for (let id = 0; id < p.length; id++) if ((left -= p[id]) < 0) return id;
  return p.lastIndexOf(Math.max(...p));
}
