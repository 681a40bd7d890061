// Whom a token reads. The kernel (or, on a page, what plays its part) answers a text with its
// pieces and `maps`, float32 numbers of (layer, head, reader, read).
import { make, percent, status, visible } from './parts.js';

function select(label, changed) {
  const node = make('select');
  node.addEventListener('change', changed);
  const fill = count => {
    if (node.length === count) return;
    node.replaceChildren(...Array.from({ length: count }, (_, i) =>
      make('option', { value: i, textContent: i + 1 })));
  };
  return { node, fill, label: make('label', {}, `${label} `, node) };
}

function render({ model, el }) {
  const text = make('textarea', { rows: 2, value: model.get('text') });
  const layer = select('layer', show), head = select('head', show), said = status();
  const words = make('div', {
    className: 'written tokens', tabIndex: 0, role: 'group',
    'aria-label': 'the tokens; the arrow keys choose one'
  });
  const map = make('canvas', { className: 'map', role: 'img' });
  map.setAttribute('aria-label', 'the attention map: a row for each reader, a column for each read');
  let at = 0; // the reader
  el.append(make('label', {}, 'text', text),
    make('div', { className: 'row' }, layer.label, head.label), words, said, map);

  text.addEventListener('change', ask);
  words.addEventListener('keydown', event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(at + step);
  });
  words.addEventListener('focus', () => choose(at));
  model.on('change:maps', fresh);
  fresh();

  function fresh() { // another text
    const pieces = model.get('pieces') ?? [];
    words.replaceChildren(...pieces.map((piece, t) => {
      const node = make('span', { className: 'token' }, [...piece].map(visible).join(''));
      for (const event of ['pointerenter', 'click']) node.addEventListener(event, () => choose(t));
      return node;
    }));
    if (!pieces.length) {
      words.textContent = [...text.value].map(visible).join('');
      words.addEventListener('pointerenter', ask, { once: true });
      words.addEventListener('focus', ask, { once: true });
      return;
    }
    layer.fill(model.get('n_layer'));
    head.fill(model.get('n_head'));
    choose(pieces.length - 1);
  }

  function ask() { // on a page nothing is computed before the first touch
    model.set('text', text.value);
    model.save_changes()?.catch(error => { said.textContent = `No answer: ${error.message}`; });
  }

  function choose(t) {
    const count = (model.get('pieces') ?? []).length;
    if (!count) return;
    at = Math.min(count - 1, Math.max(0, t));
    show();
  }

  function show() {
    const pieces = model.get('pieces'), T = pieces.length, bytes = model.get('maps');
    const here = (+layer.node.value * model.get('n_head') + +head.node.value) * T * T;
    const weight = (t, s) => bytes.getFloat32(4 * (here + t * T + s), true);
    [...words.children].forEach((node, s) => {
      node.style.setProperty('--weight', s <= at ? weight(at, s) : 0);
      node.classList.toggle('reader', s === at);
      node.classList.toggle('later', s > at);
    });
    const name = s => `“${[...pieces[s]].map(visible).join('')}”`;
    const most = [...Array(at + 1).keys()].sort((a, b) => weight(at, b) - weight(at, a)).slice(0, 4);
    said.textContent = `${name(at)} reads `
      + most.map(s => `${name(s)} ${percent(weight(at, s))}`).join(', ');
    map.width = map.height = T;
    const paper = map.getContext('2d'), colour = getComputedStyle(el).color;
    for (let t = 0; t < T; t++)
      for (let s = 0; s <= t; s++) {
        paper.globalAlpha = Math.min(1, weight(t, s) * (t === at ? 1 : 0.7));
        paper.fillStyle = t === at ? '#e8590c' : colour;
        paper.fillRect(s, t, 1, 1);
      }
  }
}

export default { render };
