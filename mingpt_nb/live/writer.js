// A GPT that writes where it is read: a prompt, three sliders, a text.
import { GPT, distribution, draw } from './gpt.js';
import { breaths, button, later, left_out, make, replay, sampling, status, turns } from './parts.js';

function render({ model, el }) {
  const prompt = make('textarea', { rows: 2, value: model.get('prompt') });
  const how = sampling(), said = status(), turn = turns();
  const out = make('pre', { className: 'written', tabIndex: 0, 'aria-label': 'what the model wrote' });
  const start = button('Write', () => { if (going) stop(); else write(); });
  const load = later(() => model.get('weights'), GPT, said);
  let going = false, alive = turn.next();
  const before = [...model.get('written') ?? ''];
  el.append(make('label', {}, 'prompt', prompt), how.node, start, out, said);
  replay(before.length, n => show(before.slice(0, n).join('')), () => !alive());

  function show(text) {
    out.textContent = text;
    out.scrollTop = out.scrollHeight;
  }

  function stop() {
    going = false;
    start.textContent = 'Write';
  }

  async function write(count = 300) {
    const mine = alive = turn.next(), text = prompt.value;
    going = true;
    start.textContent = 'Stop';
    const gpt = await load();
    if (!mine()) return;
    if (!gpt) return stop();
    const ids = gpt.encode(text), missing = left_out(text, ids.length);
    if (!ids.length) ids.push(...gpt.encode('\n'));
    let logits = gpt.read(ids.slice(-gpt.block_size)).pop(), n = 0;
    const begin = performance.now(), breathe = breaths();
    while (going && n < count) {
      const id = draw(distribution(logits, how.get()));
      ids.push(id);
      logits = gpt.step(id);
      n++;
      await breathe(() => show(gpt.decode(ids)));
      if (!mine()) return;
    }
    show(gpt.decode(ids));
    stop();
    const speed = Math.round(n / (performance.now() - begin) * 1000);
    said.textContent = n ? `${n} characters, ${speed} a second, on this machine.${missing}` : '';
  }
}

export default { render };
