// The upper half of a picture, and what a GPT of pixels makes of it: several completions.
import { GPT, distribution, draw } from './gpt.js';
import { breaths, button, later, make, replay, slider, status, turns } from './parts.js';

function paint(canvas, ids, colours) { // a pixel an id
  const side = canvas.width, paper = canvas.getContext('2d');
  paper.clearRect(0, 0, side, side);
  ids.forEach((id, i) => {
    paper.fillStyle = `#${colours[id] ?? '000000'}`;
    paper.fillRect(i % side, Math.floor(i / side), 1, 1);
  });
}

function picture(side, words) {
  return make('canvas', { width: side, height: side, className: 'picture', role: 'img', 'aria-label': words });
}

async function render({ model, el }) {
  const { side, colours, pictures } = await model.get('pictures'); // pictures: name and side² ids
  const said = status(), turn = turns(), load = later(() => model.get('weights'), GPT, said);
  const temperature = slider('temperature',
    { min: 0.1, max: 1.5, step: 0.05, value: 1, show: v => v.toFixed(2) }, () => {});
  const results = [1, 2, 3, 4].map(n => picture(side, `completion ${n}`));
  const choices = pictures.map(({ name, ids }) => {
    const canvas = picture(side, '');
    paint(canvas, ids.slice(0, side * side / 2), colours);
    const choice = button('', () => complete(name, ids), { 'aria-label': `complete the ${name}` });
    choice.append(canvas);
    return choice;
  });
  const real = picture(side, 'the real picture');
  const figure = (canvas, words) => make('figure', {}, canvas, make('figcaption', {}, words));
  el.append(make('div', { className: 'row', role: 'group', 'aria-label': 'upper halves' }, ...choices),
    temperature.node, make('div', { className: 'row' },
      ...results.map((r, i) => figure(r, `model ${i + 1}`)), figure(real, 'real')), said);
  let alive = turn.next(); // a new choice ends the work on the old one
  const before = model.get('painted') ?? []; // [ids, …], the real one last
  if (before.length) replay(side * side / 2, n => [...results, real].forEach((canvas, i) =>
    paint(canvas, before[i].slice(0, i < 4 ? side * side / 2 + n : undefined), colours)), () => !alive());

  async function complete(name, ids) {
    const mine = alive = turn.next(), given = ids.slice(0, side * side / 2);
    choices.forEach((choice, i) => choice.setAttribute('aria-pressed', pictures[i].name === name));
    const gpt = await load();
    if (!gpt || !mine()) return;
    paint(real, ids, colours);
    results.forEach(canvas => paint(canvas, given, colours));
    const opening = colours.length; // a picture of any kind
    const logits = gpt.read([opening, ...given]).pop(), begin = performance.now();
    const breathe = breaths();
    let n = 0;
    for (const canvas of results) {
      gpt.back(given.length + 1);
      const out = [...given];
      let row = logits;
      while (out.length < side * side) {
        const id = draw(distribution(row, { temperature: +temperature.input.value }));
        out.push(id);
        n++;
        if (out.length < side * side) row = gpt.step(id);
        await breathe(() => paint(canvas, out, colours));
        if (!mine()) return;
      }
      paint(canvas, out, colours);
    }
    const speed = Math.round(n / (performance.now() - begin) * 1000);
    said.textContent = `The ${name}: ${n} pixels, ${speed} a second, on this machine`;
  }
}

export default { render };
