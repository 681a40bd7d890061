// One text, three ways to cut it: characters, bytes, and byte pairs, merge by merge.
import { make, slider, visible } from './parts.js';

const SPLIT = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu; // GPT-2's

function bytePairs(word, merges) { // bytes, and then in each pair's turn the pair becomes one
  let ids = [...new TextEncoder().encode(word)];
  if (ids.length === 1) return ids;
  merges.forEach(([a, b], n) => {
    const out = [];
    for (let i = 0; i < ids.length; i++)
      if (ids[i] === a && ids[i + 1] === b) { out.push(256 + n); i++; } else out.push(ids[i]);
    ids = out;
  });
  return ids;
}

function spell(id, merges) { // the bytes of an id
  return id < 256 ? [id] : merges[id - 256].flatMap(part => spell(part, merges));
}

function show_bytes(bytes) { // as text, where they are text; and else what they are
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(bytes));
    return [[...text].map(visible).join(''), ''];
  } catch { return [bytes.map(b => b.toString(16).padStart(2, '0')).join(' '), 'hex']; }
}

async function render({ model, el }) {
  const merges = await model.get('merges');
  const text = make('textarea', { rows: 2, value: model.get('text') });
  const used = slider('merges', { min: 0, max: merges.length, step: 1, value: merges.length }, show);
  const newest = make('p', { className: 'said', role: 'status' });
  const kinds = ['characters', 'bytes', 'byte pairs'].map(kind => {
    const count = make('strong');
    const row = make('div', { className: 'written tokens', role: 'group', tabIndex: 0 });
    return { kind, count, row, node: make('div', {}, make('p', {}, count), row) };
  });
  el.append(make('label', {}, 'text', text), kinds[0].node, kinds[1].node,
    used.node, newest, kinds[2].node);
  text.addEventListener('input', show);
  show();

  function show() {
    const memo = new Map(); // the ids of a word
    const n = +used.input.value, some = merges.slice(0, n), bytes = new TextEncoder().encode(text.value);
    const cut = [
      [...text.value].map(c => [visible(c), '', c.codePointAt(0)]),
      [...bytes].map(b => [b.toString(16).padStart(2, '0'), 'hex', b]),
      (text.value.match(SPLIT) ?? []).flatMap(word => {
        if (!memo.has(word)) memo.set(word, bytePairs(word, some));
        return memo.get(word);
      })
        .map(id => [...show_bytes(spell(id, some)), id])
    ];
    kinds.forEach(({ kind, count, row }, k) => {
      count.textContent = `${cut[k].length} ${kind}`;
      row.setAttribute('aria-label', `the text in ${kind}`);
      row.replaceChildren(...cut[k].map(([words, kind, id], i) =>
        make('span', { className: `token stripe${i % 2} ${kind}`, title: `id ${id}` }, words)));
    });
    const [a, b] = some.at(-1) ?? [];
    newest.textContent = n ? `Merge ${n}: “${show_bytes(spell(a, some))[0]}” and `
      + `“${show_bytes(spell(b, some))[0]}” become ${255 + n}, “${show_bytes(spell(255 + n, some))[0]}”.`
      : 'No merges: byte pairs are bytes.';
  }
}

export default { render };
