// A sum, written by a GPT that was never told what a sum is: from the units on, as by hand.
import { GPT } from './gpt.js';
import { button, frame, later, less_motion, make, replay, status, turns } from './parts.js';

const likeliest = logits => logits.indexOf(Math.max(...logits));

function render({ model, el }) {
  const number = (value, words) => make('input',
    { type: 'number', min: 0, max: 99, value, 'aria-label': words });
  const [a, b] = model.get('numbers').map((n, i) => number(n, `number ${i + 1}`));
  const said = status(), turn = turns(), answer = make('output', { className: 'answer' });
  const load = later(() => model.get('weights'), GPT, said);
  el.append(make('div', { className: 'row sum' }, a, ' + ', b, button('=', add, { 'aria-label': 'add' }), answer), said);
  let alive = turn.next();
  const before = model.get('sum') ?? '';
  replay(15 * before.length, n => { answer.textContent = before.slice(before.length - Math.ceil(n / 15)); }, () => !alive());
  for (const input of [a, b]) {
    input.addEventListener('keydown', event => { if (event.key === 'Enter') add(); });
    input.addEventListener('input', () => { said.textContent = answer.textContent = ''; });
  }

  async function add() {
    const mine = alive = turn.next();
    const [x, y] = [a, b].map(i => Math.min(99, Math.max(0, Math.floor(+i.value) || 0)));
    [a.value, b.value] = [x, y];
    const gpt = await load(), digits = [];
    if (!gpt || !mine()) return;
    const question = [x, y].map(n => String(n).padStart(2, '0')).join('');
    let logits = gpt.read(gpt.encode(question)).pop();
    while (digits.length < 3) { // units, tens, hundreds
      digits.unshift(likeliest(logits));
      answer.textContent = digits.join('').padStart(3, '·');
      if (!less_motion()) for (let i = 0; i < 15; i++) await frame();
      if (!mine()) return;
      if (digits.length < 3) logits = gpt.step(digits[0]);
    }
    answer.textContent = +digits.join('');
    said.textContent = +answer.textContent === x + y ? 'Right.' : `Wrong: it is ${x + y}.`;
  }
}

export default { render };
