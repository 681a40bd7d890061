"""Run notebooks whole, in a real Jupyter kernel, and store what they print: the outputs that the site shows.

    python tests/refresh.py nbs/04_attention.ipynb     run one (slow cells included), store its outputs
    python tests/refresh.py                            run them all, in order
    python tests/refresh.py --readme                   only write README.md from nbs/index.ipynb
"""
import argparse, html, json, os, re, sys, tempfile, time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checks

root = Path(__file__).resolve().parent.parent
WIDGET = 'application/vnd.jupyter.widget-view+json'


def tidy(cell):
    "Drop live widgets (the page shows the static picture beside them), join prints that arrived in pieces, refuse warnings."
    kept = []
    for out in cell.outputs:
        if WIDGET in out.get('data', {}): continue
        if out.output_type == 'stream' and kept and kept[-1].get('name') == out.name: kept[-1].text += out.text
        else: kept.append(out)
    for out in kept:
        if out.get('name') == 'stderr': raise RuntimeError(f"a cell wrote to stderr:\n{cell.source[:200]}\n--\n{out.text[:2000]}")
    cell.outputs = kept


def refresh(path):
    "Run the notebook at `path` in order and write it back, clean, with its outputs and the minutes that it took."
    start = time.time()
    nb = nbformat.read(path, as_version=4)
    skipped = [(i, c) for i, c in enumerate(nb.cells) if 'eval: false' in checks.directives(c)] # the line that installs in Colab
    nb.cells = [c for c in nb.cells if not any(c is s for _, s in skipped)]
    os.environ['PYTHONPATH'] = os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')])
    NotebookClient(nb, timeout=None, kernel_name='python3', resources={'metadata': {'path': str(path.parent)}}).execute()
    nb.metadata.pop('widgets', None)  # live widgets leave no state behind
    for i, c in skipped:
        c.outputs = []
        nb.cells.insert(i, c)
    for c in nb.cells:
        if c.cell_type == 'code': tidy(c)
    put_times(nb, path.name, time.time() - start)
    nbformat.write(nb, path)
    clean(path)


def put_times(nb, name, seconds):
    "Write into the cell with the link to Colab, and on the card of the home page, how long a notebook takes to read and to run."
    home, minutes = root/'nbs'/'index.ipynb', round(seconds / 60 + .4)
    times = f'{checks.minutes_to_read(nb)} minutes to read, {minutes or "less than one"} to run'
    nb.cells[1].source = f'{checks.colab(root, name)} {times}'
    if name == home.name: return
    text = home.read_text(encoding='utf-8')
    home.write_text(re.sub(rf'(\*\*\[[^]]*\]\({name}\)\*\* [^*]*?)(?: \*\([^)]*\)\*)?(?=\\n|")', rf'\1 *({times})*', text), encoding='utf-8')


def clean(path):
    "What `nbdev_clean` does, to one file."
    from nbdev.clean import nbdev_clean
    nbdev_clean.__wrapped__(str(path))


def readme(root=root):
    """README.md as nbconvert writes it from nbs/index.ipynb, without what is only for the site (hidden cells, cells that don't show their code,
    the `:::` around cards) and with what is only for it (`<!-- README: … -->`); links lead to the site."""
    cfg = checks.settings(root)
    site, pages = cfg['doc_host'] + cfg['doc_baseurl'], r'\]\((?:\d+_)?(\w+)\.(?:ipynb|qmd)'
    nb = nbformat.read(root/'nbs/index.ipynb', as_version=4)
    nb.cells = [c for c in nb.cells if not {'hide', 'echo: false'} & set(checks.directives(c))]
    for c in nb.cells:
        if c.cell_type == 'code': continue
        lines = [l for l in c.source.split('\n') if not l.startswith(':::')]
        text = re.sub(r'<!-- README: (.*?) -->', r'\1', '\n'.join(lines))
        c.source = re.sub(pages, rf']({site}/\1.html', text)
    return re.sub(r'\n{3,}', '\n\n', MarkdownExporter().from_notebook_node(nb)[0].strip()) + '\n'


def card(root=root):
    "The picture for README.md and for links to the site: what the three models on the home page did there."
    import matplotlib.pyplot as plt
    home = (root/'nbs'/'index.ipynb').read_text(encoding='utf-8')
    shown = next(''.join(c['outputs'][0]['data']['text/html']) for c in json.loads(home)['cells'] if c.get('outputs') and 'data-painted' in str(c['outputs']))
    said = {k: html.unescape(v) for k, v in re.findall(r'data-(\w+)="([^"]*)"', shown)}
    told = json.loads((root/'mingpt_nb'/'live'/'pictures.json').read_text())
    def pixels(ids): return [[tuple(bytes.fromhex(told['colours'][i])) if i is not None else (255, 255, 255) for i in ids[r:r + 16]] for r in range(0, 256, 16)]
    *made, real = json.loads(said['painted'])
    blue, grey = '#1b5e9e', '#5b6570'
    with plt.style.context('default'), plt.rc_context({'font.family': 'DejaVu Sans'}):
        fig = plt.figure(figsize=(12, 6.3), dpi=100, facecolor='white')
        fig.text(.04, .88, 'mingpt_nb', size=34, weight='bold', color=blue)
        fig.text(.04, .81, 'a GPT that you can take in whole: read it, run it, install it', size=17, color=grey)
        fig.text(.04, .72, 'It writes', size=17, weight='bold')
        fig.text(.04, .66, said['written'], size=11, family='DejaVu Sans Mono', va='top', linespacing=1.6)
        fig.text(.55, .72, 'It completes half a picture', size=17, weight='bold')
        for i, (word, ids) in enumerate([('given', real[:128] + [None] * 128), *[(f'model {n}', ids) for n, ids in enumerate(made, 1)], ('real', real)]):
            ax = fig.add_axes((.55 + .143 * (i % 3), .38 - .33 * (i // 3), .13, .13 * 12 / 6.3))
            ax.imshow(pixels(ids), interpolation='nearest')
            ax.set_title(word, size=13, color=grey, loc='left', pad=3)
            ax.axis('off')
        fig.text(.04, .155, 'It adds', size=17, weight='bold')
        fig.text(.04, .07, f'{said["numbers"].strip("[]").replace(", ", " + ")} = {said["sum"]}', size=26, family='DejaVu Sans Mono')
        fig.savefig(root/'nbs'/'card.png')
        plt.close(fig)


def live(root=root, trained=None):
    """Train the models of the lessons by their commands, and pack them for the pages, with what else their pictures need.
    `trained`: a folder that already has them, in shakespeare, cifar10 and adder."""
    from mingpt_nb.cifar10 import CLASSES, load_cifar10, load_palette, shrink
    from mingpt_nb.data import shakespeare_text
    from mingpt_nb.explore import pack_model, to_paint
    from mingpt_nb.model import GPT
    from mingpt_nb.tokenizer import CharTokenizer, Tokenizer, train_merges
    from mingpt_nb import run, settings
    to = root/'mingpt_nb'/'live'
    def store(name, data): (to/name).write_text(json.dumps(data, separators=(',', ':'), ensure_ascii=False), encoding='utf-8')
    with tempfile.TemporaryDirectory() as temp:
        at = Path(trained or temp)
        if not trained:
            run.shakespeare(settings.Shakespeare(minutes=3, out=str(at/'shakespeare')))
            run.adder(settings.Adder(out=str(at/'adder')))
            run.cifar10(settings.Cifar10(out=str(at/'cifar10')))
        letters = dict(shakespeare=Tokenizer.load(at/'shakespeare'/'mingpt_tokenizer.json'), adder=CharTokenizer('0123456789'), cifar10=None)
        for name, tok in letters.items(): (to/f'{name}.bin').write_bytes(pack_model(GPT.from_pretrained(at/name), tok))
        palette = load_palette(at/'cifar10')
    pictures, labels = load_cifar10('test')
    clear = 2, 2, 3, 2, 1, 0, 3, 2, 1, 1 # of the first four of each class, one that can be recognised at this size
    one_each = [(labels == k).nonzero()[n].item() for k, n in enumerate(clear)]
    store('pictures.json', to_paint(palette, palette.encode(shrink(pictures[one_each], 16)), CLASSES))
    store('merges.json', train_merges(shakespeare_text()[0], 256))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='*', type=Path, help='the notebooks to run (default: all)')
    parser.add_argument('--readme', action='store_true', help='only write README.md')
    parser.add_argument('--live', action='store_true', help='only train and pack the models that run on the pages: an hour')
    parser.add_argument('--trained', type=Path, help='with --live: a folder with the trained models in it')
    args = parser.parse_args()
    if args.live: live(trained=args.trained); sys.exit()
    for path in [] if args.readme else [p.resolve() for p in args.notebooks] or checks.notebooks(root):
        start = time.time()
        refresh(path)
        print(f'{path.name}: {time.time() - start:.0f} s', flush=True)
    (root/'README.md').write_text(readme(), encoding='utf-8')
    card()
