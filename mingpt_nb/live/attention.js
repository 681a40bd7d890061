// Whom a token reads. The kernel (or, on a page, what plays its part) answers a text with its
// pieces and `maps`, float32 numbers of (layer, head, reader, read).
import { left_out, make, percent, status, visible } from './parts.js';

function select(label, changed) {
  const node = make('select');
  node.addEventListener('change', changed);
  const fill = count => {
    if (node.length === +count) return;
    node.replaceChildren(...Array.from({ length: +count }, (_, i) =>
      make('option', { value: i, textContent: i + 1 })));
  };
  return { node, fill, label: make('label', {}, `${label} `, node) };
}

function render({ model, el }) {
  const text = make('textarea', { rows: 2, value: model.get('text') });
  const layer = select('layer', touch), head = select('head', touch), said = status();
  const words = make('div', {
    className: 'written tokens', tabIndex: 0, role: 'group',
    'aria-label': 'the tokens; the arrow keys choose one'
  });
  const map = make('canvas', { className: 'map', role: 'img' });
  map.setAttribute('aria-label', 'the attention map: a row for each reader, a column for each read');
  let at = 0, asking = false; // the reader
  el.append(make('label', {}, 'text', text),
    make('div', { className: 'row' }, layer.label, head.label), words, said, map);

  text.addEventListener('change', ask);
  words.addEventListener('keydown', event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    if (model.get('pieces')?.length) choose(at + step);
  });
  for (const event of ['focus', 'pointerenter']) words.addEventListener(event, touch);
  model.on('change:maps', fresh);
  fresh();

  function fresh() { // another text
    const pieces = model.get('pieces') ?? [];
    layer.fill(model.get('n_layer'));
    head.fill(model.get('n_head'));
    words.replaceChildren(...pieces.map((piece, t) => {
      const node = make('span', { className: 'token' }, [...piece].map(visible).join(''));
      for (const event of ['pointerenter', 'click']) node.addEventListener(event, () => choose(t));
      return node;
    }));
    map.width = map.height = pieces.length;
    if (pieces.length) choose(pieces.length - 1);
    else words.textContent = [...text.value].map(visible).join('');
    if (!pieces.length && model.get('maps')) said.textContent = 'The model knows none of these characters.';
  }

  function touch() { // on a page nothing is computed before the first one
    if (model.get('pieces')?.length) show();
    else if (!model.get('maps') && !asking) ask();
  }

  function ask() {
    asking = true;
    said.textContent = 'The model is on its way …';
    model.set('text', text.value);
    Promise.resolve(model.save_changes())
      .catch(error => { said.textContent = `No answer (${error.message}). Try once more.`; })
      .finally(() => { asking = false; });
  }

  function choose(t) {
    const count = model.get('pieces').length;
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
      + most.map(s => `${name(s)} ${percent(weight(at, s))}`).join(', ') + '.'
      + left_out(text.value, [...pieces.join('')].length);
    const paper = map.getContext('2d');
    paper.clearRect(0, 0, T, T);
    for (let t = 0; t < T; t++)
      for (let s = 0; s <= t; s++) {
        paper.globalAlpha = Math.min(1, weight(t, s));
        paper.fillStyle = t === at ? '#e8590c' : '#4c9aff'; // seen on light and dark
        paper.fillRect(s, t, 1, 1);
      }
  }
}

export default { render };
