"The checks of checks.py find nothing in this repository, and each finds the fault that is planted in a copy of it."
import base64, json, os, shutil

import pytest
import checks
from checks import *

OF_PAGES = [check_site, check_reference, check_api, check_links] # slow, so their faults are planted in small copies
CHECKS = [f for name, f in vars(checks).items() if name.startswith('check_')]


@pytest.mark.parametrize('check', CHECKS, ids=lambda f: f.__name__)
def test_in_step(check, repo):
    faults = check(repo)
    assert not faults, '\n'.join(faults)


def test_exports_with_in_test_set_elsewhere(repo, monkeypatch):
    "nbdev's test function leaves IN_TEST behind, under which an export does nothing at all: the check must not be fooled by it."
    monkeypatch.setenv('IN_TEST', '1')
    assert check_export(repo) == []


# How faults are planted: each function changes the copy at `repo`

def write(name, text, mode='a'):
    "Add `text` to a file (or with mode 'w' put it there)."
    def plant(repo):
        with open(repo/name, mode, encoding='utf-8') as f: f.write(text)
    return plant

def replace(name, old, new):
    "Put `new` for `old` in a file."
    def plant(repo):
        text = (repo/name).read_text(encoding='utf-8')
        assert old in text, f'{old!r} is not in {name}, so nothing was planted'
        (repo/name).write_text(text.replace(old, new, 1), encoding='utf-8')
    return plant

def in_notebook(change, number=3):
    "Change a notebook, and leave it otherwise as nbdev_clean would."
    def plant(repo):
        path = notebooks(repo)[number]
        nb = read(path)
        change(nb)
        path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    return plant

def in_cell(**keys):
    "Change a cell of a notebook that has outputs."
    def change(nb): next(c for c in code(nb) if c['outputs']).update(keys)
    return in_notebook(change)

def new_cell(*lines, number=3, **keys):
    "Add a cell to a notebook."
    cell = {'cell_type': 'code', 'execution_count': None, 'id': 'planted', 'metadata': {}, 'outputs': [], 'source': [*(l + '\n' for l in lines[:-1]), lines[-1]]}
    return in_notebook(lambda nb: nb['cells'].append(cell | keys), number)

def output(**keys): return in_cell(outputs=[{'output_type': 'display_data', 'metadata': {}, **keys}])
def stream(text, name='stdout'): return in_cell(outputs=[{'output_type': 'stream', 'name': name, 'text': [text]}])

def rename(old, new):
    "Give a notebook another number."
    return lambda repo: (repo/'nbs'/f'{old}.ipynb').rename(repo/'nbs'/f'{new}.ipynb')

def link_to_file(repo):
    (repo/'nbs'/'_quarto.yml').unlink()
    shutil.copy(repo/'_quarto.yml', repo/'nbs'/'_quarto.yml')

def function(*lines):
    "Add an exported cell to the second notebook, and to its module what nbdev_export would."
    return lambda repo: (new_cell(*lines, number=1)(repo), write('mingpt_nb/data.py', '\n' + '\n'.join(l for l in lines if l[0] != '#') + '\n')(repo))

def picture(label='fig-planted', cap='What is to be seen.', alt='What is drawn.', number=3):
    "Add a cell with a picture."
    return new_cell(f'#| label: {label}', f'#| fig-cap: "{cap}"', f'#| fig-alt: "{alt}"', 'draw()', number=number, outputs=[{'output_type': 'display_data', 'metadata': {}, 'data': {'image/png': ''}}])

def prose(text, number=1): return new_cell(text, number=number, cell_type='markdown')

def small(plant):
    "Keep only two notebooks: making the pages takes time."
    def planted(repo):
        for path in notebooks(repo)[2:]: path.unlink()
        plant(repo)
    return planted

BIG = base64.b64encode(bytes(501_000)).decode()
FAULTS = {
    'a module edited by hand': (check_export, write('mingpt_nb/data.py', '\nx = 1\n'), 'data.py'),
    'a module that nothing exports': (check_export, write('mingpt_nb/extra.py', 'x = 1\n'), 'extra.py'),
    'an index that is out of date': (check_export, replace('mingpt_nb/_modidx.py', 'mingpt_nb.data.', 'mingpt_nb.date.'), '_modidx.py'),
    'a version that was not exported': (check_export, replace('settings.ini', 'version = ', 'version = 9.'), '__init__.py'),
    'a notebook that was not exported': (check_export, new_cell('#| exports', 'x = 1'), '.py'),
    'a module without a notebook': (check_modules, write('mingpt_nb/extra.py', 'x = 1\n'), 'extra'),
    'a notebook without a module': (check_modules, lambda r: shutil.copy(r/'nbs'/'index.ipynb', r/'nbs'/'42_index.ipynb'), '42_index'),
    'an import from a higher number': (check_floors, write('mingpt_nb/data.py', '\nfrom .sampling import sample\n'), 'data'),
    'the same, by its full name': (check_floors, write('mingpt_nb/data.py', '\ndef f(): import mingpt_nb.sampling\n'), 'data'),
    'a lesson that imports from the roof': (check_floors, write('mingpt_nb/scale.py', '\nfrom .cli import main\n'), 'scale'),
    'a cellar that imports a lesson': (check_floors, lambda r: (rename('00_data', '90_data')(r), write('mingpt_nb/data.py', '\nfrom .sampling import sample\n')(r)), 'data'),
    'a requirement that is not declared': (check_requirements, write('mingpt_nb/data.py', '\ndef f(): import sklearn.cluster\n'), 'sklearn'),
    'one that is declared for development only': (check_requirements, write('mingpt_nb/data.py', '\nfrom nbdev.test import test_nb\n'), 'nbdev'),
    'a bare assert': (check_asserts, write('mingpt_nb/data.py', '\nassert 1 == 1\n'), 'data.py'),
    'too much code': (check_budget, write('mingpt_nb/block.py', '\n' + 'x = [\n    1,\n]\n' * 141), 'lines of code'),
    'a long trainer': (check_loop, write('mingpt_nb/trainer.py', '\n' + 'x = 1\n' * 20), 'lines of code'),
    'a trainer that knows of processes': (check_loop, write('mingpt_nb/trainer.py', '\ndef f(): import torch.distributed.fsdp\n'), 'torch.distributed'),
    'metadata in a cell': (check_clean, in_cell(metadata={'collapsed': True}), 'nbdev_clean changes it'),
    'a count of executions': (check_clean, in_cell(execution_count=3), 'nbdev_clean changes it'),
    'an id used twice': (check_clean, in_notebook(lambda nb: nb['cells'][1].update(id=nb['cells'][0]['id'])), 'an id'),
    'no id': (check_clean, in_notebook(lambda nb: nb['cells'][1].pop('id')), 'an id'),
    'a source in one piece': (check_clean, in_cell(source='x = 1\nx'), 'list of lines'),
    'no subtitle': (check_opening, in_notebook(lambda nb: nb['cells'][0].update(source=['# A title'])), 'subtitle'),
    'more than a subtitle': (check_opening, in_notebook(lambda nb: nb['cells'][0]['source'].append('\n\nand prose')), 'subtitle'),
    "another notebook's link": (check_opening, in_notebook(lambda nb: nb['cells'][1].update(source=[source(nb['cells'][1]).replace('/nbs/', '/nbs/9')])), 'link that opens'),
    'a link to another version': (check_opening, replace('settings.ini', 'version = ', 'version = 9'), 'link that opens version 9'),
    'an install of another version': (check_opening, in_notebook(lambda nb: [c.update(source=[source(c).replace('@v', '@v9')]) for c in nb['cells'] if 'pip install' in source(c)]), 'hidden cell installs'),
    'another time to read': (check_opening, in_notebook(lambda nb: nb['cells'].append({'cell_type': 'markdown', 'id': 'planted', 'metadata': {}, 'source': ['a long word ' * 1000]})), 'minutes to read, not'),
    'a home page with other times': (check_opening, in_notebook(lambda nb: nb['cells'][1].update(source=[source(nb['cells'][1]).replace(' to run', '9 to run').replace('less than one9', '9')])), 'no card'),
    'no install in Colab': (check_opening, in_notebook(lambda nb: nb.update(cells=[c for c in nb['cells'] if 'pip install' not in source(c)])), 'installs'),
    'a notebook that needs nbdev': (check_opening, new_cell('import nbdev; nbdev.nbdev_export()'), 'nbdev'),
    'a lesson that hides a function': (check_exports, new_cell('#| export', 'def planted(): return 1'), 'planted is not exported by'),
    'two functions in one cell': (check_exports, new_cell('#| exports', 'def planted(): return 1', '', 'class Planted: pass'), 'planted, Planted'),
    'a long cell': (check_lengths, new_cell(*['x = 1'] * 46), '46 lines'),
    'a wide line': (check_columns, new_cell('x = 1', f'y = {"1" * 97}', number=2), '101 columns'),
    'no outputs at all': (check_outputs, in_notebook(lambda nb: [c.update(outputs=[]) for c in code(nb)]), 'no outputs'),
    'a print that was not run': (check_outputs, new_cell('x = 1', 'print(x)'), 'planted'),
    'an error': (check_outputs, in_cell(outputs=[{'output_type': 'error', 'ename': 'E', 'evalue': '', 'traceback': []}]), 'error'),
    'a warning': (check_outputs, stream('careful', 'stderr'), 'stderr'),
    'a progress bar': (check_outputs, stream('10%\r20%'), 'progress bar'),
    'a live widget': (check_outputs, output(data={'application/vnd.jupyter.widget-view+json': {'model_id': 'a'}}), 'widget'),
    'the state of widgets': (check_outputs, in_notebook(lambda nb: nb['metadata'].update(widgets={})), 'widgets'),
    'a path of the machine': (check_outputs, stream(f'saved in {os.path.expanduser("~")}/model'), 'a path'),
    'a temporary path': (check_outputs, output(data={'text/html': ['<b>/tmp/x</b>']}), 'a path'),
    'an address': (check_outputs, output(data={'text/plain': ['<function f at 0x7f0123456789>']}), 'an address'),
    'a big picture': (check_outputs, output(data={'image/png': BIG}), '500 kB'),
    'a picture without words': (check_outputs, new_cell('draw()', outputs=[{'output_type': 'display_data', 'metadata': {}, 'data': {'image/png': ''}}]), 'fig-alt'),
    'a README edited by hand': (check_readme, write('README.md', 'One more line.\n'), 'refresh.py'),
    'a README that points to nothing': (check_readme, write('README.md', '![a curve](curve_files/curve_1.png)\n'), 'curve_1.png'),
    'a README with a picture that is not there': (check_readme, replace('README.md', 'main/nbs/card.png', 'main/nbs/cord.png'), 'nbs/cord.png'),
    'a file instead of the link': (check_quarto, link_to_file, 'link'),
    'a notebook that the sidebar lacks': (check_quarto, replace('_quarto.yml', '          - {text: "01 Tokenizer", href: 01_tokenizer.ipynb}\n', ''), 'sidebar'),
    'a notebook out of order': (check_quarto, replace('_quarto.yml', 'href: 00_data.ipynb', 'href: 01_tokenizer.ipynb'), 'sidebar'),
    'another name than the title': (check_quarto, replace('_quarto.yml', '01 Tokenizer', '01 Tokens'), 'not 01 Tokenizer'),
    'another title than in the settings': (check_quarto, replace('settings.ini', 'description = ', 'description = not '), 'description'),
    'an index before the last page': (check_quarto, replace('_quarto.yml', 'href: 01_tokenizer.ipynb', 'href: api.qmd'), 'sidebar'),
    'a section out of order': (check_quarto, replace('_quarto.yml', '    contents:\n', '    contents:\n      - section: Last\n        contents: [{text: "99 The command", href: 99_cli.ipynb}]\n'), 'sidebar'),
    'a picture without a label': (check_figures, picture(label=''), 'label: fig-'),
    'a label for something else': (check_figures, picture(label='tbl-planted'), 'label: fig-'),
    'a label in two notebooks': (check_figures, lambda r: (picture()(r), picture(number=4)(r)), 'used twice: fig-planted'),
    'a picture without a caption': (check_figures, picture(cap=''), 'fig-cap'),
    'a picture without other words': (check_figures, picture(alt=''), 'fig-alt'),
    'one text for two purposes': (check_figures, picture(alt='What is to be seen.'), 'the same'),
    'a reference to no picture': (check_figures, prose('See @fig-planted.'), 'refers to fig-planted'),
    "a reference to another notebook's": (check_figures, lambda r: (picture()(r), prose('See @fig-planted.')(r)), 'refers to fig-planted'),
    'a term before its page': (check_terms, prose('It is trained by *Muon*.'), '00_data.ipynb: Muon comes before 07_optimizer.ipynb'),
    'a term that its page lacks': (check_terms, write('nbs/glossary.qmd', '- **planted**: nothing. [00 Data](00_data.ipynb)\n'), '00_data.ipynb: introduces planted'),
    'a page that cannot be made': (check_site, small(new_cell('#| exports', 'x = 1/0', number=1)), 'cannot be made'),
    'a function whose body the page hides': (check_site, small(function('#| export', 'def planted():', '    return 1')), 'planted is not whole'),
    'one whose cell the page hides': (check_site, small(function('#| exports', '#| echo: false', 'def planted():', '    return 1')), 'planted is not whole'),
    'one that is folded': (check_site, small(function('#| exports', '#| code-fold: true', '#| code-summary: "A function"', 'def planted():', '    return 1')), 'planted is folded'),
    'code that nbdev folds': (check_site, small(replace('settings.ini', 'add_fold,mv_exports', 'mv_exports')), 'is folded'),
    'a test that is folded away unnamed': (check_site, small(new_cell('#| code-fold: true', 'x = 1', number=1)), 'planted is folded without'),
    'code behind its documentation': (check_site, small(replace('settings.ini', 'add_fold,mv_exports', 'add_fold')), 'is not behind its code'),
    'a function without a table': (check_reference, small(replace('tests/pages.py', 'table(head, *rows)', "''")), 'has no row for block_size'),
    'a parameter without a meaning': (check_reference, small(function('#| exports', 'def planted(one, # said', '    two):', '    return 1')), 'no meaning for two'),
    'names that the index lacks or does not explain': (check_api, small(lambda r: (replace('tests/pages.py', 'for name in module.__all__:', 'for name in module.__all__[1:]:')(r), replace('tests/pages.py', 'first_sentence(attrgetter(d)(module).__doc__)', "''")(r))),
        'RandomChunks of data is missing', 'split of data is not explained'),
    'links to no page, no anchor and no file': (check_links, small(prose('[1](datum.html#split) [2](data.html#splat) [3](index.ipynb#splat) [4](#splat) <img src="live/splat.js">')),
        'datum.html#split points to no page', 'data.html#splat points to nothing', 'index.ipynb#splat points to nothing', ': #splat points to nothing', 'live/splat.js points to no page'),
    'a link by the whole address': (check_links, small(lambda r: (replace('tests/pages.py', 'return re.sub(re.escape(site)', "return re.sub(re.escape('planted')")(r),
        prose('[1](https://mingpt-nb.github.io/mingpt_nb/data.html)')(r))), 'leaves the site'),
}


@pytest.mark.parametrize('name', FAULTS)
def test_finds(name, repo, tmp_path):
    check, plant, *words = FAULTS[name]
    there = copy(repo, tmp_path/'repo')
    before = [] if check in OF_PAGES else check(there)
    plant(there)
    found = [f for f in check(there) if f not in before]
    for word in words: assert any(word in f for f in found), f'{check.__name__} did not find {word!r}, only {found}'


def test_every_check_has_a_fault(): assert {f[0] for f in FAULTS.values()} == set(CHECKS)
