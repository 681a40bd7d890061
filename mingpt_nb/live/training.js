// A run as it goes: losses, learning rate, a sample, and a button that is Ctrl-C.
import { button, make, status } from './parts.js';

const SIZE = { width: 600, height: 200 };

function draw_lines(paper, lines, names) { // each line: [[x, y], …]
  const all = lines.flat(), [xs, ys] = [0, 1].map(i => all.map(point => point[i]));
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = v => 45 + (SIZE.width - 55) * (v - left) / (right - left || 1);
  const y = v => SIZE.height - 25 - (SIZE.height - 40) * (v - low) / (high - low || 1);
  const svg = (tag, attributes, words = '') => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    node.textContent = words;
    return node;
  };
  paper.replaceChildren(
    ...lines.map((line, i) => svg('polyline',
      { class: names[i], points: line.map(([u, v]) => `${x(u)},${y(v)}`).join(' ') })),
    ...[low, high].map(v => svg('text', { x: 2, y: y(v) + 4 }, v.toPrecision(3))),
    svg('text', { x: SIZE.width - 90, y: SIZE.height - 6 }, `step ${right}`));
}

function render({ model, el }) {
  const chart = () => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    node.setAttribute('viewBox', `0 0 ${SIZE.width} ${SIZE.height}`);
    node.setAttribute('role', 'img');
    return node;
  };
  const losses = chart(), rate = chart(), said = status();
  losses.setAttribute('aria-label', 'losses so far: grey in training, orange on held-out text');
  rate.setAttribute('aria-label', 'the learning rate so far');
  const written = make('pre', { className: 'written', tabIndex: 0, 'aria-label': 'a sample' });
  const stop = button('Stop', () => { model.set('stop', true); model.save_changes(); });
  el.append(stop, said, losses, rate, written);
  for (const name of ['points', 'sample', 'words', 'running']) model.on(`change:${name}`, show);
  show();

  function show() {
    const { training, held_out, lr } = model.get('points');
    said.textContent = model.get('words');
    stop.disabled = !model.get('running');
    written.textContent = model.get('sample');
    if (training.length < 2) return;
    draw_lines(losses, [training, held_out], ['training', 'held-out']);
    draw_lines(rate, [lr], ['rate']);
  }
}

export default { render };
