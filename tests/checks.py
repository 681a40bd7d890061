"""Is everything in step? Each check takes the folder of a repository and gives a list of faults, empty when all is well.

That a check looks at a folder lets test_in_step.py run it twice: on this repository, where it must find nothing,
and on a copy with a fault planted in it, where it must find that one.
"""
import ast, functools, importlib.util, io, json, os, re, shutil, subprocess, sys, tempfile, tokenize
from configparser import ConfigParser
from pathlib import Path

import yaml

CODE_BUDGET = 500
BUDGETED = ['attention', 'block', 'sampling', 'model']
LOOP_BUDGET = 240 # of the trainer
NOT_IN_THE_LOOP = ['accelerate', 'signal', 'hashlib', 'shutil', 'tempfile', 'filelock', 'pathlib', 'os', 'torch.distributed']


# What is in a repository

def settings(repo):
    "The settings of the project, as setup.py and nbdev read them."
    ini = ConfigParser(delimiters=['='])
    ini.read(repo/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def notebooks(repo):
    "The notebooks in the order in which they are read: index first, then by number."
    return sorted((repo/'nbs').glob('[!_]*.ipynb'), key=lambda p: (p.stem != 'index', p.name))

def read(path): return json.loads(path.read_text(encoding='utf-8'))
def source(cell): return ''.join(cell['source'])
def code(nb): return [c for c in nb['cells'] if c['cell_type'] == 'code']
def directives(cell): return [l[2:].strip() for l in source(cell).splitlines() if l.startswith('#|')]
def exported(cell): return any(d.split()[:1] in (['export'], ['exports'], ['exporti']) for d in directives(cell))
def defined(cell): return [n.name for n in ast.parse(source(cell)).body if isinstance(n, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
def public(names): return [n for n in names if n[0] != '_']

def modules(repo):
    "The modules of the package, by name."
    return {p.stem: p for p in sorted((repo/settings(repo)['lib_name']).glob('[!_]*.py'))}

def homes(repo):
    "The notebook that each module comes from."
    found = {}
    for path in notebooks(repo):
        for cell in code(read(path)):
            for d in directives(cell):
                if d.startswith('default_exp '): found[d.split()[1]] = path
    return found

def sidebar(repo):
    "Section and file of each page in the sidebar, in order; what stands outside of a section is of the section `Pages`."
    contents = yaml.safe_load((repo/'_quarto.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    entries = []
    for item in contents: entries += [(item['section'], f['href']) for f in item['contents']] if isinstance(item, dict) else [('Pages', item)]
    return entries

def copy(repo, to):
    "A copy of the files that git would keep, the links as links."
    drop = shutil.ignore_patterns('.git', '_docs', '_proc', '.quarto', 'build', 'dist', 'out', '*.egg-info', '__pycache__', '.*_cache', '.ipynb_checkpoints', 'venv', '.venv')
    return shutil.copytree(repo, to, symlinks=True, ignore=drop)

def run(repo, *code):
    "Run Python code in a process of its own, in the folder `repo` and with the package of that folder; give what it printed if it failed."
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} # under which nbdev_export silently does nothing
    env |= {'PYTHONPATH': str(repo), 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'agg'}
    done = subprocess.run([sys.executable, '-c', '\n'.join(code)], cwd=repo, env=env, capture_output=True, text=True, timeout=600)
    return done.stdout + done.stderr if done.returncode else ''


def colab(repo, name):
    "The link that opens a notebook in Colab: of the tagged version, which is also the one that its first cell installs."
    cfg = settings(repo)
    return f'[Open in Colab](https://colab.research.google.com/github/{cfg["user"]}/{cfg["repo"]}/blob/v{cfg["version"]}/nbs/{name})'

def minutes_to_read(nb):
    "Prose at 200 words a minute, the code that a page shows unfolded at 20 lines a minute, in steps of five."
    seen = [c for c in code(nb) if not {'hide', 'code-fold: true', 'echo: false', 'eval: false'} & set(directives(c))]
    words = sum(len(source(c).split()) for c in nb['cells'] if c['cell_type'] == 'markdown')
    lines = sum(bool(l.strip()) for c in seen for l in body(c).splitlines())
    return max(5, 5 * round((words / 200 + lines / 20) / 5))


# The package

def check_export(repo):
    "The package is what nbdev makes of the notebooks, and nothing else."
    lib, faults = settings(repo)['lib_name'], []
    with tempfile.TemporaryDirectory() as temp:
        fresh = copy(repo, Path(temp)/'fresh')
        shutil.rmtree(fresh/lib)
        error = run(fresh, 'from nbdev.doclinks import nbdev_export', 'nbdev_export.__wrapped__()')
        if error: return [f'nbdev_export failed: {error[-3000:]}']
        old, new = ({p.name: p.read_bytes() for p in (r/lib).glob('*.py')} for r in (repo, fresh))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name): faults.append(f'{lib}/{name} is not what nbdev_export writes')
        if (fresh/'settings.ini').read_bytes() != (repo/'settings.ini').read_bytes(): faults.append('nbdev rewrote settings.ini')
    return faults

def check_modules(repo):
    "Every module has its notebook, every notebook with a number its module."
    home, numbered = homes(repo), [p for p in notebooks(repo) if p.name[0].isdigit()]
    faults = [f'module {m} is in no notebook' for m in modules(repo) if m not in home]
    return faults + [f'{p.name} has no module' for p in numbered if p not in home.values()]

def imports(path):
    "The names of what a file imports, wherever in it: `a.b` for `import a.b`, `a.b` for `from a import b`, `.a.b` for `from .a import b`."
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom): names += ['.' * node.level + '.'.join(filter(None, [node.module, a.name])) for a in node.names]
    return names

def own(repo, name):
    "The module of this package that an import names, or nothing."
    lib = settings(repo)['lib_name']
    if name.startswith('.'): return name.lstrip('.').split('.')[0]
    if name.startswith(lib + '.'): return name.split('.')[1]

def room(number):
    "What kind of room a notebook is, by its number."
    return 'roof' if number >= 98 else 'cellar' if number >= 90 else 'lesson'

def check_floors(repo):
    "A lesson imports only from lower lessons and the cellar, the cellar from nothing of ours, and only the roof from the roof."
    floor, faults = {m: int(p.name.split('_')[0]) for m, p in homes(repo).items()}, []
    for module, path in modules(repo).items():
        for name in imports(path):
            if not (other := own(repo, name)): continue
            if module not in floor or other not in floor: faults.append(f'{module} imports {other}, and one of them is in no notebook'); continue
            here, there = floor[module], floor[other]
            allowed = {'lesson': room(there) == 'cellar' or there < here, 'cellar': False, 'roof': there < here or room(there) != 'roof'}[room(here)]
            if not allowed: faults.append(f'{module} (notebook {here:02}) imports {other} (notebook {there:02})')
    return faults

def check_requirements(repo):
    "What the package imports is declared, in `requirements`, as needed at run time."
    norm = lambda s: re.split(r'[<>=!~;\[ ]', s)[0].lower().replace('-', '_')
    known = {{'pillow': 'pil'}.get(norm(r), norm(r)) for r in settings(repo)['requirements'].split()} | set(sys.stdlib_module_names) | {settings(repo)['lib_name']}
    return [f'{m} imports {i}, which settings.ini does not require' for m, path in modules(repo).items() for i in imports(path)
            if not i.startswith('.') and norm(i.split('.')[0]) not in known]

def check_asserts(repo):
    "A user's mistake is answered with an error that speaks, never by a bare `assert`."
    return [f'{m}.py, line {n.lineno}: assert' for m, path in modules(repo).items()
            for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))) if isinstance(n, ast.Assert)]

def lines_of_code(path):
    "How many lines of a file hold code: no blank line, no comment, no docstring."
    text = path.read_text(encoding='utf-8')
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = {n for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in skip for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, 'body', None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], 'value', None), ast.Constant) and isinstance(body[0].value.value, str):
            lines -= set(range(body[0].lineno, body[0].end_lineno + 1))
    return len(lines)

def check_budget(repo):
    "A reader can take the model in at one sitting."
    counts = {m: lines_of_code(p) for m, p in modules(repo).items() if m in BUDGETED}
    if missing := set(BUDGETED) - counts.keys(): return [f'no module {m}' for m in sorted(missing)]
    return [f'{sum(counts.values())} lines of code, over the {CODE_BUDGET} that are allowed: {counts}'] if sum(counts.values()) > CODE_BUDGET else []

def check_loop(repo):
    "The trainer is a loop that a reader takes in: short, plain PyTorch, and without folders and processes."
    path = repo/settings(repo)['lib_name']/'trainer.py'
    n, faults = lines_of_code(path), []
    if n > LOOP_BUDGET: faults.append(f'the trainer has {n} lines of code, over the {LOOP_BUDGET} that are allowed')
    return faults + [f'the trainer imports {name}' for name in imports(path) if any(name == no or name.startswith(no + '.') for no in NOT_IN_THE_LOOP)]


# The notebooks

def check_clean(repo):
    "Notebooks are as nbdev_clean leaves them, in the form that makes for short differences."
    faults = []
    for path in notebooks(repo):
        cells = read(path)['cells']
        ids = [c.get('id') for c in cells]
        if None in ids or len(set(ids)) < len(ids): faults.append(f'{path.name}: an id of a cell is missing or used twice')
        if any(not isinstance(c['source'], list) or any('\n' in l[:-1] for l in c['source']) for c in cells): faults.append(f'{path.name}: a source is not a list of lines')
    with tempfile.TemporaryDirectory() as temp:
        fresh = copy(repo, Path(temp)/'fresh')
        error = run(fresh, 'from nbdev.clean import nbdev_clean', 'nbdev_clean.__wrapped__()')
        if error: return faults + [f'nbdev_clean failed: {error[-3000:]}']
        faults += [f'{p.name}: nbdev_clean changes it' for p in notebooks(repo) if p.read_bytes() != (fresh/'nbs'/p.name).read_bytes()]
    return faults

def check_opening(repo):
    """A notebook opens with its title and subtitle alone, then the link to Colab with the times to read and to run it, which the home page repeats;
    a hidden line installs the same version of the package there."""
    faults, version = [], settings(repo)['version']
    home = ''.join(source(c) for c in read(repo/'nbs'/'index.ipynb')['cells'])
    for path in notebooks(repo):
        cells = read(path)['cells']
        first, second = [(c['cell_type'], source(c).strip()) for c in cells[:2]]
        if first[0] != 'markdown' or not re.fullmatch(r'# [^\n]+\n\n> [^\n]+', first[1]): faults.append(f'{path.name}: the first cell is not a title and a one-line subtitle')
        times = re.fullmatch(re.escape(colab(repo, path.name)) + r' ((\d+) minutes to read, (less than one|\d+) to run)', second[1])
        if not times: faults.append(f'{path.name}: the second cell is not the link that opens version {version} in Colab, and the times')
        elif int(times[2]) != (n := minutes_to_read({'cells': cells})): faults.append(f'{path.name}: it takes {n} minutes to read, not {times[2]}')
        elif path.name[:1].isdigit() and room(int(path.name[:2])) == 'lesson' and not re.search(rf'\]\({path.name}\)\*\* [^*\n]+ \*\({times[1]}\)\*', home):
            faults.append(f'{path.name}: the home page has no card with its times')
        if not any({'hide', 'eval: false'} <= set(directives(c)) and '[ -e /content ] && pip install' in source(c) and f'@v{version}"' in source(c) for c in cells):
            faults.append(f'{path.name}: no hidden cell installs version {version} in Colab')
        if any(re.search(r'^\s*(from|import) nbdev|nbdev_export\(', source(c), re.M) for c in code({'cells': cells})): faults.append(f'{path.name}: needs nbdev, which Colab does not have')
    return faults

def check_exports(repo):
    "A lesson shows what it exports: by `#| exports`, and one function or class to a cell, or their documentation would come in reverse order."
    faults = []
    for path in notebooks(repo):
        for cell in filter(exported, code(read(path))):
            names = defined(cell)
            if names and path.name < '90' and not any(d.split()[0] == 'exports' for d in directives(cell)): faults.append(f'{path.name}: {names[0]} is not exported by `#| exports`, which shows its code')
            if len(public(names)) > 1: faults.append(f'{path.name}: cell {cell["id"]} exports more than one: {", ".join(public(names))}')
    return faults

def check_lengths(repo):
    "A long cell is two ideas."
    return [f'{p.name}: cell {c["id"]} has {len(c["source"])} lines' for p in notebooks(repo) for c in read(p)['cells'] if len(c['source']) > 45]

def check_columns(repo):
    "A page shows no more than 100 columns of code. Quarto's directives and the hidden line that installs in Colab are not shown."
    faults = []
    for path in notebooks(repo):
        for cell in code(read(path)):
            for line in source(cell).splitlines():
                hidden = line.startswith(('#|', '! [ -e /content ]'))
                if len(line) > 100 and not hidden: faults.append(f'{path.name}: cell {cell["id"]} has a line of {len(line)} columns')
    return faults

def texts(output):
    "Every text in an output, the pictures left out."
    data = [v for k, v in output.get('data', {}).items() if k.startswith('text') or k == 'image/svg+xml']
    return ''.join(''.join(t) for t in [*data, output.get('text', ''), output.get('traceback', '')])

def pictures(cell): return [v for o in cell.get('outputs', []) for k, v in o.get('data', {}).items() if k.startswith('image/')]

def prints(cell):
    "Does the cell, as it stands, surely print?"
    try: tree = ast.parse(source(cell))
    except SyntaxError: return False
    return any(isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) and getattr(n.value.func, 'id', '') == 'print' for n in tree.body)

def check_outputs(repo):
    "Outputs are there, from a run of the whole notebook, and fit for a page: no error, no warning, no live widget, no path of a machine."
    machine = [re.escape(str(p)) for p in {repo, repo.resolve(), Path.cwd(), Path.home(), Path(tempfile.gettempdir())} if len(p.parts) > 1]
    path_re = re.compile('|'.join([*machine, r'/home/\w', r'/root/', r'/tmp/', r'/Users/\w', r'[A-Z]:\\(?:Users|Windows|Program)', r'site-packages', r'\b0x[0-9a-f]{8,}']))
    faults = []
    for path in notebooks(repo):
        nb = read(path)
        def fault(cell, what): faults.append(f'{path.name}: cell {cell.get("id")} {what}')
        if 'widgets' in nb['metadata']: faults.append(f'{path.name}: stores the state of widgets')
        if not any(c['outputs'] for c in code(nb)): faults.append(f'{path.name}: has no outputs')
        for cell in code(nb):
            if 'eval: false' not in directives(cell) and prints(cell) and not cell['outputs']: fault(cell, 'prints, but has no output')
            for out in cell['outputs']:
                if out['output_type'] == 'error': fault(cell, 'ended in an error')
                if out.get('name') == 'stderr': fault(cell, 'wrote to stderr')
                if any('widget' in k for k in out.get('data', {})): fault(cell, 'stores a widget')
                if '\r' in texts(out): fault(cell, 'stores a progress bar')
                if found := path_re.search(texts(out)): fault(cell, f'shows a path or an address: {found[0]}')
            for picture in pictures(cell):
                if len(''.join(picture)) * 3 / 4 > 500_000: fault(cell, 'holds a picture of more than 500 kB')
            if pictures(cell) and not any(d.startswith('fig-alt:') for d in directives(cell)): fault(cell, 'draws a picture without a `#| fig-alt:`')
    return faults


def value(cell, key):
    "What a directive of a cell says, without quotes; '' if it is not there."
    return next((d[len(key) + 1:].strip().strip('"\'') for d in directives(cell) if d.startswith(key + ':')), '')

def check_figures(repo):
    "A picture has a label of its own, a caption and other words for who does not see it; prose refers only to pictures of its notebook."
    faults, seen = [], set()
    for path in notebooks(repo):
        cells = read(path)['cells']
        drawn = [c for c in cells if c['cell_type'] == 'code' and pictures(c)]
        for cell in drawn:
            label, cap, alt = (value(cell, k) for k in ('label', 'fig-cap', 'fig-alt'))
            def fault(what): faults.append(f'{path.name}: cell {cell["id"]} {what}')
            if not re.fullmatch(r'fig-[\w-]+', label): fault('draws a picture without a `#| label: fig-…`')
            elif label in seen: fault(f'has a label that is used twice: {label}')
            seen.add(label)
            if not cap: fault('draws a picture without a `#| fig-cap:`')
            if not alt: fault('draws a picture without a `#| fig-alt:`')
            if cap and cap == alt: fault('says the same in fig-cap and fig-alt')
        here = {value(c, 'label') for c in drawn}
        for cell in cells:
            if cell['cell_type'] == 'markdown':
                faults += [f'{path.name}: cell {cell["id"]} refers to {name}, which is no picture of this notebook' for name in re.findall(r'(?<![\w`])@(fig-[\w-]+)', source(cell)) if name not in here]
    return faults


def terms(repo):
    "The terms of the glossary: the names of each, and the page that introduces it."
    for line in (repo/'nbs'/'glossary.qmd').read_text(encoding='utf-8').splitlines():
        if line.startswith('- '): yield re.findall(r'\*\*(.+?)\*\*', line), re.search(r'\]\((\w+\.ipynb)\)$', line)[1]

def paragraphs(nb):
    "The prose of a lesson, without code, formulas and sources."
    texts = [re.sub(r'^```.*?^```', '', source(c).partition('## Sources')[0], flags=re.M | re.S) for c in nb['cells'] if c['cell_type'] == 'markdown']
    return [re.sub(r'`[^`]*`|\$[^$]*\$', '', p) for t in texts for p in t.split('\n\n')]

def check_terms(repo):
    """A term of the glossary is on the page that introduces it. An earlier lesson may use it if the paragraph where it comes first links to that page,
    or to the glossary. Terms with capitals are found in just this spelling, others in any."""
    lessons, faults = {p.name: paragraphs(read(p)) for p in notebooks(repo) if p.name[:1].isdigit() and room(int(p.name[:2])) == 'lesson'}, []
    for names, home in terms(repo):
        word = re.compile(rf'(?<![\w-])(?:{"|".join(map(re.escape, names))})s?(?![\w-])', re.I if names[0].islower() else 0)
        for lesson, prose in lessons.items():
            first = next((p for p in prose if word.search(p)), None)
            if lesson == home and not first: faults.append(f'{lesson}: introduces {names[0]}, says the glossary, but does not mention it')
            if lesson < home and first and f']({home}' not in first and '](glossary.qmd' not in first: faults.append(f'{lesson}: {names[0]} comes before {home}, without a link: {first[:200]}')
    return faults


# The pages that tests/pages.py makes

def markdown(cell):
    "Each text of a cell that Quarto reads as Markdown."
    outs = [o['data']['text/markdown'] for o in cell.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    return [''.join(t) for t in ([cell['source']] if cell['cell_type'] == 'markdown' else outs)]

def documented(nb):
    "The names that a page documents, each with the output that does."
    return [(m[1], c['outputs'][0]) for c in code(nb) if (m := re.search(r'^show_doc\(([\w.]+)', source(c), re.M))]

def anchor(heading):
    "What Pandoc makes of a heading (its extension `auto_identifiers`)."
    if own := re.search(r'\{#([\w.-]+)', heading): return own[1]
    text = re.sub(r'\]\([^)]*\)|\{[^}]*\}', '', heading) # links and attributes
    return re.sub(r'^[\W\d_]+', '', '-'.join(re.sub(r'[^\w\s.-]', '', text.lower()).split())) or 'section'

def anchors(nb):
    "What a link to a page can point to: its headings, figures and ids."
    found = []
    for cell in nb['cells']:
        for text in markdown(cell):
            text = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
            for name in map(anchor, re.findall(r'^#+ (.*)', text, re.M)):
                found.append(name if (n := found.count(name)) == 0 else f'{name}-{n}')
            found += re.findall(r'\bid="([\w.-]+)"', text)
        found += [d[7:].strip() for d in directives(cell) if d.startswith('label: ')]
    return set(found)


# The README and the site

def check_readme(repo):
    "README.md is made from nbs/index.ipynb, and what it points to is there."
    spec = importlib.util.spec_from_file_location('refresh', Path(__file__).with_name('refresh.py'))
    refresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(refresh)
    text = (repo/'README.md').read_text(encoding='utf-8')
    faults = [] if text == refresh.readme(repo) else ['README.md is not what tests/refresh.py makes of nbs/index.ipynb']
    raw = settings(repo)['git_url'].replace('github.com', 'raw.githubusercontent.com') + f'/{settings(repo)["branch"]}/'
    links = [link.removeprefix(raw) for link in re.findall(r'\]\(([^)#\s]+)\)', text)] # pictures by their whole address, which shows on PyPI, too
    return faults + [f'README.md points to {link}, which is not there' for link in links if ':' not in link and not (repo/link).exists()]

def check_quarto(repo):
    "nbdev finds the site's settings by a link; they agree with settings.ini; the sidebar lists every notebook in order."
    link, cfg = repo/'nbs'/'_quarto.yml', settings(repo)
    faults = [] if link.is_symlink() and os.readlink(link) == '../_quarto.yml' else ['nbs/_quarto.yml is not a link to ../_quarto.yml']
    quarto = yaml.safe_load((repo/'_quarto.yml').read_text(encoding='utf-8'))
    site = quarto['website']
    listed, there = [file for _, file in sidebar(repo) if file.endswith('.ipynb')], [p.name for p in notebooks(repo)]
    if listed != there: faults.append(f'the sidebar lists {listed}, but the notebooks are {there}')
    same = {'title': cfg['title'], 'description': cfg['description'], 'site-url': cfg['doc_host'] + cfg['doc_baseurl'], 'repo-url': cfg['git_url'], 'repo-branch': cfg['branch']}
    for item in (i for i in site['sidebar']['contents'] if isinstance(i, dict)):
        for f in item['contents']:
            if f['href'] in there: # by its number, if it has one, and title
                number = f['href'][:2] + ' ' if f['href'][0].isdigit() else ''
                want = number + source(read(repo/'nbs'/f['href'])['cells'][0]).splitlines()[0][2:]
                if f['text'] != want: faults.append(f'the sidebar calls {f["href"]} {f["text"]}, not {want}')
    return faults + [f'_quarto.yml says {k}: {site.get(k)}, settings.ini {v}' for k, v in same.items() if site.get(k) != v]

def body(cell):
    "A cell as the page shows it: without its directives."
    return '\n'.join(l for l in source(cell).splitlines() if not l.startswith('#|')).strip()

def made(repo): return make(repo)[0], list(make(repo)[1])

@functools.lru_cache(maxsize=1)
def make(repo):
    "The pages of the site, made in a copy by a process of its own: their folder, and the faults if they cannot be made."
    temp = tempfile.TemporaryDirectory()
    fresh = copy(repo, Path(temp.name)/'fresh')
    error = run(fresh, 'import sys; sys.path.insert(0, "tests")', 'from pathlib import Path', 'from pages import pages', 'pages(Path.cwd())')
    why = re.findall(r'^\w+Error: .*', error, re.M)[:1] + re.findall(r'^Exception: (.*?)(?:^"{3}|\Z)', error, re.M | re.S)[:1]
    make.temp = temp # the folder lasts until other pages are made
    return fresh/'_proc', ['the pages cannot be made: ' + ('\n'.join(why) or error[-3000:])] if error else []

def check_site(repo):
    """nbdev can make the pages of the site: every notebook with its front matter, everything that is exported whole and unfolded,
    and behind it, where its name is public, its documentation; what is folded says what it is.
    To document names nbdev runs the cells that export or import, and no others: one that also needs another cell's result fails here."""
    proc, faults = made(repo)
    for path in [] if faults else notebooks(repo):
        if not (proc/path.name).exists():
            faults.append(f'{path.name}: no page')
            continue
        cells = read(proc/path.name)['cells']
        page = '\n'.join(source(c) + ''.join(map(texts, c.get('outputs', []))) for c in cells)
        if not page.startswith('---'): faults.append(f'{path.name}: the page has no front matter')
        folded = {body(c): c for c in cells if c['cell_type'] == 'code' and value(c, 'code-fold')}
        faults += [f'{path.name}: cell {c["id"]} is folded without a code-summary' for c in folded.values() if not value(c, 'code-summary')]
        behind = {body(c): source(after) for c, after in zip(cells, [*cells[1:], {'source': ''}]) if not {'echo: false', 'include: false'} & set(directives(c))}
        for cell in filter(exported, code(read(path))):
            names = defined(cell)
            what = names[0] if names else f'cell {cell["id"]}'
            if body(cell) in folded: faults.append(f'{path.name}: {what} is folded on the page')
            if body(cell) not in behind: faults.append(f'{path.name}: {what} is not whole on the page')
            elif public(names) and 'show_doc(' not in behind[body(cell)]: faults.append(f'{path.name}: the documentation of {what} is not behind its code')
            faults += [f'{path.name}: {name} is not documented on the page' for name in public(names) if not re.search(rf'^### .*\b{name}\b', page, re.M)]
    return faults

def parameters(path):
    "The parameters of all public functions, classes and patched methods of a module, by name."
    body = ast.parse(path.read_text(encoding='utf-8')).body
    classes = {n.name: n for n in body if isinstance(n, ast.ClassDef)}
    def of(node):
        if isinstance(node, ast.ClassDef):
            if init := next((n for n in node.body if getattr(n, 'name', '') == '__init__'), None): return of(init)[1:]
            fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign)] if any('dataclass' in ast.unparse(d) for d in node.decorator_list) else []
            return list(dict.fromkeys([p for b in node.bases if ast.unparse(b) in classes for p in of(classes[ast.unparse(b)])] + fields))
        a = node.args
        return [p.arg for p in [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg] if p]
    found = {}
    for node in body:
        if not hasattr(node, 'name') or node.name[0] == '_': continue
        patched = any(ast.unparse(d).startswith('patch') for d in node.decorator_list)
        found[f'{ast.unparse(node.args.args[0].annotation)}.{node.name}' if patched else node.name] = of(node)[patched:]
    return found

def check_reference(repo):
    """Each public function, class and patched method has a table with each of its parameters, and says what it means:
    in the table, or in the text below it, or by a type that is a class of this package."""
    proc, faults = made(repo)
    for module, path in homes(repo).items() if not faults else ():
        docs = {name: ''.join(out['data']['text/markdown']) for name, out in documented(read(proc/path.name))}
        for name, params in parameters(modules(repo)[module]).items():
            for param in params:
                row = re.search(rf'^\| `\**{param}` \|(?:.*\|)? (.*) \|$', docs.get(name, ''), re.M)
                if not row: faults.append(f'{path.name}: the documentation of {name} has no row for {param}')
                elif not row[1] and '](' not in row[0] and f'`{param}`' not in docs[name].rpartition(':::')[2]: faults.append(f'{path.name}: the documentation of {name} has no meaning for {param}')
    return faults

def check_api(repo):
    "The index has each name of `__all__` and each public method that is patched on, with what it is."
    proc, faults = made(repo)
    index = (proc/'api.qmd').read_text(encoding='utf-8') if not faults else ''
    for module, path in homes(repo).items() if not faults else ():
        [names] = [ast.literal_eval(n.value) for n in ast.parse(modules(repo)[module].read_text(encoding='utf-8')).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == '__all__']
        section = index.partition(f'\n## {settings(repo)["lib_name"]}.{module}\n')[2].partition('\n## ')[0]
        for name in dict.fromkeys([*names, *parameters(modules(repo)[module])]):
            row = re.search(rf'^\|.*\[`{re.escape(name[max(name.find("."), 0):])}`\]\({module}\.html[^)]*\) \| (.*) \|$', section, re.M)
            if not row: faults.append(f'api.qmd: {name} of {module} is missing')
            elif not row[1]: faults.append(f'api.qmd: {name} of {module} is not explained')
    return faults

def check_links(repo):
    "Links from page to page are relative, and what they point to is there."
    proc, faults = made(repo)
    nbs = {p.name: read(p) for p in proc.glob('*.ipynb')} | {p.name: {'cells': [{'cell_type': 'markdown', 'source': p.read_text(encoding='utf-8')}]} for p in proc.glob('*.qmd')}
    html = {f: yaml.safe_load(source(nb['cells'][0]).split('---')[1]).get('output-file', Path(f).stem + '.html') for f, nb in nbs.items()}
    there = {html[f]: anchors(nb) for f, nb in nbs.items()}
    for f, nb in nbs.items():
        text = '\n'.join(t for c in nb['cells'] for t in [*markdown(c), *(texts(o) for o in c.get('outputs', []) if 'text/html' in o.get('data', {}))])
        text = re.sub(r'^```.*?^```|(?<!\[)`[^`]+`', '', text, flags=re.M | re.S) # code has no links
        for link in re.findall(r'\]\(([^)\s]+)\)|\b(?:href|src)="([^"]+)"', text):
            link = ''.join(link)
            if link.startswith(settings(repo)['doc_host']) and '.html' in link: faults.append(f'{f}: the link {link} leaves the site')
            if re.match(r'\w+:|//', link): continue
            page, _, at = link.removeprefix('./').partition('#')
            page = html.get(page, page) or html[f]
            if page not in there and not (proc/page).is_file(): faults.append(f'{f}: {link} points to no page')
            elif at and at not in there.get(page, ()): faults.append(f'{f}: {link} points to nothing on its page')
    return faults
