// A GPT that writes where it is read: a prompt, three sliders, a text, and what may come next.
import { GPT, distribution, draw } from './gpt.js';

function make(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}

function slider(label, min, max, step, value, show = v => v) {
  const input = make('input', { type: 'range', min, max, step, value });
  const shown = make('output', { textContent: show(value) });
  input.addEventListener('input', () => { shown.textContent = show(+input.value); });
  return { input, node: make('label', {}, `${label} `, input, ' ', shown) };
}

export function mount(element, load, prompt = 'ROMEO:') { // `load` promises an ArrayBuffer
  const text = make('textarea', { rows: 2, value: prompt });
  const temperature = slider('temperature', 0.1, 2, 0.05, 0.8, v => v.toFixed(2));
  const top_k = slider('top-k', 0, 65, 1, 0, v => v || 'all');
  const top_p = slider('top-p', 0.05, 1, 0.05, 1, v => v.toFixed(2));
  const button = make('button', { type: 'button', textContent: 'Write' });
  const out = make('pre', { className: 'written', tabIndex: 0 });
  const said = make('p', { className: 'said' });
  const bars = make('div', { className: 'bars' });
  out.setAttribute('aria-label', 'what the model wrote');
  said.setAttribute('role', 'status');
  bars.setAttribute('role', 'group');
  bars.setAttribute('aria-label', 'what may come next');
  const sliders = make('div', { className: 'sliders' }, temperature.node, top_k.node, top_p.node);
  element.classList.add('mingpt-writer');
  element.append(make('label', {}, 'prompt', text), sliders, button, out, bars, said);

  let gpt, logits, ids = [], running = false;
  const settings = () => ({
    temperature: +temperature.input.value,
    top_k: +top_k.input.value,
    top_p: +top_p.input.value
  });
  const name = letter => ({ '\n': '⏎', ' ': '␣' })[letter] ?? letter;

  async function begin() { // the weights come at the first touch
    if (!gpt) {
      said.textContent = 'The model is on its way …';
      gpt = new GPT(await load());
      top_k.input.max = gpt.vocab_size;
    }
    ids = gpt.encode(text.value);
    if (!ids.length) ids = gpt.encode('\n');
    const read = gpt.read(ids.slice(-gpt.block_size));
    logits = read[read.length - 1];
  }

  function show() {
    out.textContent = gpt.decode(ids);
    const p = distribution(logits, settings());
    const order = p.map((_, id) => id).sort((a, b) => p[b] - p[a]);
    const likeliest = order.slice(0, 8).filter(id => p[id]);
    bars.replaceChildren(...likeliest.map(id => {
      const percent = `${(100 * p[id]).toFixed(1)}%`;
      const words = `${name(gpt.letters[id])} ${percent}`;
      const bar = make('button', { type: 'button', textContent: words });
      bar.style.setProperty('--share', percent);
      bar.addEventListener('click', () => { take(id); show(); });
      return bar;
    }));
  }

  function take(id) {
    ids.push(id);
    logits = gpt.step(id);
  }

  async function write(count = 300) {
    running = true;
    button.textContent = 'Stop';
    await begin();
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const start = performance.now();
    let n = 0;
    while (running && n < count) {
      take(draw(distribution(logits, settings())));
      n++;
      if (still || n % 4) continue;
      show();
      await new Promise(requestAnimationFrame);
    }
    show();
    const speed = Math.round(n / (performance.now() - start) * 1000);
    said.textContent = `${n} characters, ${speed} a second, on this machine`;
    running = false;
    button.textContent = 'Write';
  }

  button.addEventListener('click', () => { if (running) running = false; else write(); });
  text.addEventListener('change', () => { if (!running && gpt) begin().then(show); });
  for (const { input } of [temperature, top_k, top_p])
    input.addEventListener('input', () => { if (gpt && !running) show(); });
}
