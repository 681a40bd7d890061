// What the live pictures share: nodes, sliders, and the words for what cannot be seen.

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name in node) node[name] = value; else node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function slider(label, { min, max, step, value, show = v => v }, changed) {
  const input = make('input', { type: 'range', min, max, step, value });
  const shown = make('output', { textContent: show(value) });
  input.addEventListener('input', () => { shown.textContent = show(+input.value); changed(); });
  return { input, node: make('label', {}, `${label} `, input, ' ', shown) };
}

// temperature, top-k and top-p, and what `distribution` takes from them
export function sampling(changed = () => {}) {
  const two = v => v.toFixed(2);
  const temperature = slider('temperature',
    { min: 0.1, max: 2, step: 0.05, value: 0.8, show: two }, changed);
  const top_k = slider('top-k', { min: 0, max: 65, step: 1, value: 0, show: v => v || 'all' }, changed);
  const top_p = slider('top-p', { min: 0.05, max: 1, step: 0.05, value: 1, show: two }, changed);
  return {
    node: make('div', { className: 'row' }, temperature.node, top_k.node, top_p.node),
    get: () => ({
      temperature: +temperature.input.value,
      top_k: +top_k.input.value,
      top_p: +top_p.input.value
    })
  };
}

export function button(words, pressed, attributes = {}) {
  const node = make('button', { type: 'button', textContent: words, ...attributes });
  node.addEventListener('click', pressed);
  return node;
}

export const status = () => make('p', { className: 'said', role: 'status' });
export const visible = letter => ({ '\n': '⏎', ' ': '␣', '\t': '⇥' })[letter] ?? letter;
export const percent = share => `${(100 * share).toFixed(1)}%`;
export const less_motion = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
export const frame = () => new Promise(requestAnimationFrame);

// For long work: every 12 milliseconds show how far it is, and let the page breathe.
export function breaths() {
  let last = performance.now();
  return async show => {
    if (performance.now() - last < 12) return;
    if (!less_motion()) show();
    await frame();
    last = performance.now();
  };
}

// What a model made before, once more, piece by piece, until somebody touches it.
export async function replay(count, show, touched) {
  for (let n = less_motion() ? count : 0; n <= count && !touched(); n++) {
    show(n);
    await frame();
  }
}

// One run at a time: `next` ends the old one, and gives a function that says whether the new one goes on.
export function turns() {
  let turn = 0;
  return { next() { const mine = ++turn; return () => mine === turn; } };
}

// The weights come at the first touch: the model, or nothing and the reason in words.
export function later(get, GPT, said) {
  let gpt;
  return async () => {
    said.textContent = gpt ? '' : 'The model is on its way …';
    try {
      const loaded = await (gpt ??= GPT.load(get()));
      said.textContent = '';
      return loaded;
    } catch (error) {
      gpt = undefined;
      said.textContent = `The model did not come (${error.message}). Try once more.`;
    }
  };
}

// What of a text the model did not get, in words.
export function left_out(text, read) {
  const n = [...text].length - read;
  return n > 0 ? ` It did not read ${n} of the characters: it does not know them, or has no room.` : '';
}
