// A GPT that writes where it is read: a prompt, three sliders, a text.
import { GPT, distribution, draw } from './gpt.js';
import { breaths, button, later, make, replay, sampling, status } from './parts.js';

function render({ model, el }) {
  const prompt = make('textarea', { rows: 2, value: model.get('prompt') });
  const how = sampling(), said = status();
  const out = make('pre', { className: 'written', tabIndex: 0, 'aria-label': 'what the model wrote' });
  const start = button('Write', () => { if (running) running = false; else write(); });
  const load = later(() => model.get('weights'), GPT, said);
  let running = false, touched = false;
  el.append(make('label', {}, 'prompt', prompt), how.node, start, out, said);
  const before = [...model.get('written') ?? ''];
  replay(before.length, n => { out.textContent = before.slice(0, n).join(''); }, () => touched);

  async function write(count = 300) {
    running = touched = true;
    start.textContent = 'Stop';
    try {
      const gpt = await load();
      const ids = gpt.encode(prompt.value);
      if (!ids.length) ids.push(...gpt.encode('\n'));
      let logits = gpt.read(ids.slice(-gpt.block_size)).pop();
      const begin = performance.now(), breathe = breaths();
      let n = 0;
      while (running && n < count) {
        const id = draw(distribution(logits, how.get()));
        ids.push(id);
        logits = gpt.step(id);
        n++;
        await breathe(() => { out.textContent = gpt.decode(ids); });
      }
      out.textContent = gpt.decode(ids);
      const speed = Math.round(n / (performance.now() - begin) * 1000);
      said.textContent = `${n} characters, ${speed} a second, on this machine`;
    } finally {
      running = false;
      start.textContent = 'Write';
    }
  }
}

export default { render };
