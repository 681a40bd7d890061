// On a page there is no kernel. This plays its part for each <div data-live="…">: it hands over
// what the attributes say, fetches files when they are asked for, and answers a text with its maps.
import { GPT } from './gpt.js';

async function file(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return name.endsWith('.json') ? answer.json() : answer.arrayBuffer();
}

class Kernel {
  constructor(told) { this.told = told; this.calls = {}; }
  on(event, call) { (this.calls[event] ??= []).push(call); }
  set(key, value) { this.told[key] = value; this.changed = key; }
  get(key) {
    const value = this.told[key];
    if (typeof value !== 'string') return value; // an answer
    if (/\.(bin|json)$/.test(value)) return file(value);
    return /^[[{]/.test(value) ? JSON.parse(value) : value;
  }
  save_changes() { return this.changed === 'text' ? this.read(this.told.text) : undefined; }

  async read(text) { // what `explore.attention` does in Python
    const gpt = await GPT.load(this.get('weights'));
    if (text !== this.told.text) return; // it has changed meanwhile
    const ids = gpt.encode(text).slice(0, gpt.block_size), T = ids.length;
    const maps = new Float32Array(gpt.n_layer * gpt.n_head * T * T);
    gpt.reset();
    ids.forEach((id, t) => {
      gpt.step(id);
      gpt.attention.flat().forEach((row, lh) => maps.set(row, (lh * T + t) * T));
    });
    const { n_layer, n_head } = gpt, pieces = ids.map(id => gpt.letters[id]);
    Object.assign(this.told, { pieces, n_layer, n_head, maps: new DataView(maps.buffer) });
    for (const call of this.calls['change:maps'] ?? []) call();
  }
}

for (const el of document.querySelectorAll('[data-live]')) show(el);

async function show(el) { // what stood there comes back if the picture cannot
  const before = [...el.childNodes];
  try {
    const { default: picture } = await import(`./${el.dataset.live}.js`);
    el.replaceChildren();
    el.classList.add('mingpt-live');
    await picture.render({ model: new Kernel({ ...el.dataset }), el });
  } catch (error) {
    el.replaceChildren(...before, ` (${error.message})`);
  }
}

// A drawing comes into the page itself, so that its links work and it turns dark with the page.
for (const el of document.querySelectorAll('[data-drawing]')) {
  if (document.readyState !== 'complete') await new Promise(done => addEventListener('load', done));
  const answer = await fetch(new URL(el.dataset.drawing, import.meta.url));
  if (answer.ok) el.innerHTML = await answer.text();
}
