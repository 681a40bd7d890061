// What may come next: the distribution as bars, one token at a click, the text coloured by surprise.
import { GPT, distribution, draw, softmax } from './gpt.js';
import { button, later, left_out, make, percent, sampling, status, visible } from './parts.js';

function render({ model, el }) {
  const text = make('textarea', { rows: 2, value: model.get('text') });
  const how = sampling(() => gpt ? show() : begin()), said = status();
  const out = make('p', { className: 'written', 'aria-label': 'the text, the more orange the more it surprised' });
  const bars = make('div', { className: 'bars', role: 'group', 'aria-label': 'what may come next' });
  const load = later(() => model.get('weights'), GPT, said);
  const one = button('Draw one', async () => {
    await begin();
    if (gpt) take(draw(distribution(logits, how.get())));
  });
  let gpt, logits, ids = [], surprises = [], missing = '';
  said.textContent = 'Move a slider, or press “Draw one”.';
  el.append(make('label', {}, 'text', text), how.node, one, bars, out, said);
  text.addEventListener('change', () => { gpt = undefined; begin(); });

  async function begin() { // read the text, once
    if (gpt) return;
    const loaded = await load();
    if (!loaded) return;
    ids = loaded.encode(text.value).slice(-loaded.block_size);
    missing = left_out(text.value, ids.length);
    if (!ids.length) ids = loaded.encode('\n');
    const rows = loaded.read(ids);
    surprises = ids.map((id, t) => t ? -Math.log(softmax(rows[t - 1])[id]) : 0); // nats
    [gpt, logits] = [loaded, rows.pop()];
    show();
  }

  function take(id) {
    surprises.push(-Math.log(softmax(logits)[id]));
    ids.push(id);
    logits = gpt.step(id);
    show();
  }

  function show() {
    if (!gpt) return;
    out.replaceChildren(...ids.map((id, t) => {
      const words = `surprise ${surprises[t].toFixed(1)} nats`;
      const token = make('span', { className: 'token', title: words }, visible(gpt.letters[id]));
      token.style.setProperty('--weight', Math.min(1, surprises[t] / 6));
      return token;
    }));
    const chosen = bars.contains(document.activeElement), p = distribution(logits, how.get());
    const likeliest = p.map((_, id) => id).sort((a, b) => p[b] - p[a]).slice(0, 10);
    bars.replaceChildren(...likeliest.filter(id => p[id]).map(id => {
      const words = `${visible(gpt.letters[id])} ${percent(p[id])}`;
      const bar = button(words, () => take(id));
      bar.style.setProperty('--share', percent(p[id]));
      return bar;
    }));
    if (chosen) bars.firstChild.focus();
    const mean = surprises.slice(1).reduce((a, b) => a + b, 0) / Math.max(1, ids.length - 1);
    said.textContent = `${ids.length} characters; mean surprise ${mean.toFixed(2)} nats. `
      + `Press a bar to choose yourself.${missing}`;
  }
}

export default { render };
