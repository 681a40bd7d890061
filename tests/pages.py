"""Make the pages of the site in _proc, finished for Quarto.

    python tests/pages.py             only the pages
    python tests/pages.py --render    and the site of them, in _proc/_docs

nbdev makes a page of each notebook: front matter, prose, code with its stored outputs, and behind each exported cell
its documentation. What nbdev does not do is done here: tables of parameters, links that stay within the site and point
to something, an index of all names, and the files that machines read.
"""
import argparse, ast, importlib, inspect, json, os, re, shutil, subprocess, textwrap
from dataclasses import is_dataclass
from operator import attrgetter
from pathlib import Path

import yaml
from fastcore.docments import docments
from nbdev.doclinks import NbdevLookup
from nbdev.serve import proc_nbs
from checks import anchor, anchors, directives, documented, markdown, notebooks, settings, sidebar, source


# Documentation: a signature, a table of the parameters, the docstring

def cell(text):
    "Text for a cell of a table: on one line, with its pipes escaped where they are not code."
    return re.sub(r'(`[^`]*`)|\|', lambda m: m[1] or r'\|', ' '.join(text.split()))

def table(*rows):
    "A table in Markdown, the first row its head. An empty column is left out; each is as wide as its longest cell, the last takes the rest."
    *cols, last = zip(*rows)
    cols = [c for c in cols if any(c[1:])]
    widths = [max(len(re.sub(r'\]\([^)]*\)', '', t)) for t in c) for c in cols]
    lines = ['| ' + ' | '.join(row) + ' |' for row in zip(*cols, last)]
    rule = '|' + '|'.join(':' + '-' * w for w in [*widths, max(40, 100 - sum(widths))]) + '|'
    return '\n'.join(['::: {.reference}', lines[0], rule, *lines[1:], ':::'])

def kind(annotation):
    "A type as the code has it: in code, without its module and without what is only for the command line."
    if annotation is inspect.Parameter.empty: return ''
    annotation = getattr(annotation, '__origin__', annotation) if hasattr(annotation, '__metadata__') else annotation
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return '`' + re.sub(r'\w+\.', '', name) + '`'

def default(value):
    "A default as the code has it."
    return '' if value is inspect.Parameter.empty else f'`{getattr(value, "__name__", None) or repr(value)}`'

def meanings(obj):
    "What stands behind each parameter in the source. A dataclass also has the fields of its parents."
    found = {}
    for one in reversed(obj.__mro__) if is_dataclass(obj) else [obj]:
        if one is obj or is_dataclass(one): found |= {k: v for k, v in docments(one, args_kwargs=True).items() if v}
    return found

def reference(name, obj, look):
    "The documentation of `obj` in Markdown. A name in code is a link, but for names that mean a parameter here."
    doc = inspect.cleandoc(obj.__doc__ or '')
    if not callable(obj): return look.linkify(doc) # a property
    sig, means, stars = inspect.signature(obj), meanings(obj), {'VAR_POSITIONAL': '*', 'VAR_KEYWORD': '**'}
    params, none = list(sig.parameters.values()), inspect.Parameter.empty
    if params and params[0].name == 'self': params.pop(0)
    def link(text): return look.link_line(text) if text.strip('`') not in sig.parameters else text
    def prose(text): return re.sub(r'`[^`]+`', lambda m: link(m[0]), text)
    rows = [(f'`{stars.get(p.kind.name, "")}{p.name}`', link(kind(p.annotation)), default(p.default), cell(prose(means.get(p.name, '')))) for p in params]
    gives = kind(sig.return_annotation), cell(prose(means.get('return', '')))
    if any(gives) and not inspect.isclass(obj): rows.append(('*returns*', link(gives[0]), '', gives[1]))
    names = sig.replace(parameters=[p.replace(annotation=none, default=none) for p in params], return_annotation=none)
    head = 'Parameter', 'Type', 'Default', 'Meaning'
    return '\n\n'.join([f'`{name}{names}`', *([table(head, *rows)] if rows else []), prose(doc)])

def document(nb, module, look, blob):
    "Put our documentation in the place of nbdev's, which also loses names and sources behind some decorators."
    for name, out in documented(nb):
        obj = attrgetter(name)(module)
        file, line = module.__name__.replace('.', '/') + '.py', inspect.getsourcelines(getattr(obj, 'fget', obj))[1]
        link = f'[source]({blob}/{file}#L{line}){{target="_blank" style="float:right; font-size:smaller"}}'
        out['data']['text/markdown'] = [f'---\n\n{link}\n\n### {name}\n\n{reference(name, obj, look)}']


# Links

def relink(text, site, there):
    "Links to the site become relative, and point to an anchor that is `there`: of the name, else of its class, else to the page."
    def local(m):
        page, at = m[1], m[2] or ''
        while at and at not in there.get(page, ()): at = at.rpartition('.')[0]
        return page + (at and '#' + at)
    return re.sub(re.escape(site) + r'/([\w-]+\.html)(?:#([\w.-]+))?', local, text)

DRAWING = '<div data-drawing="map.svg"><img src="live/map.svg" alt="A map of the GPT: each part of it and the lesson that builds it"></div>'

def raw(nb):
    """HTML that a cell of the home page made goes into the page as it stands: else Quarto would fetch two libraries for it.
    Only a drawing is put there by `page.js`, since links in it would stop Quarto's own script."""
    for c in nb['cells']:
        for out in c.get('outputs', []):
            data = out.get('data', {})
            if 'text/html' not in data or 'echo: false' not in directives(c): continue
            html = ''.join(data['text/html'])
            out['data'] = {'text/markdown': ['```{=html}\n', DRAWING if html.startswith('<svg') else html, '\n```']}

def texts(nb):
    "Each text of a page that Quarto reads as Markdown, with its holder and key."
    for c in nb['cells']:
        if c['cell_type'] == 'markdown': yield c, 'source'
        for out in c.get('outputs', []):
            if 'text/markdown' in out.get('data', {}): yield out['data'], 'text/markdown'


# The index of names, and the files for machines

def first_sentence(doc):
    return re.split(r'(?<=[.!?])\s+(?=[A-Z`])', ' '.join((doc or '').split()))[0]

def place(nb, name):
    "Where a name without documentation of its own is set: the anchor of the heading above."
    above = ''
    for c in nb['cells']:
        if c['cell_type'] == 'code' and re.search(rf'^{name}\b.*=', source(c), re.M): return above and '#' + above
        above = ([above] + [anchor(h) for text in markdown(c) for h in re.findall(r'^#+ (.*)', text, re.M)])[-1]
    return ''

def names(nb, module):
    "Name, anchor and what it is of all that a module offers; methods come behind their class."
    docs = [name for name, _ in documented(nb)]
    values = {t.id: n.value for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    for name in module.__all__:
        if name in values: yield name, place(nb, name), f'`{textwrap.shorten(ast.unparse(values[name]), 70, placeholder=" …")}`'
        for d in docs:
            if d == name or d.startswith(name + '.'): yield d, '#' + anchor(d), first_sentence(attrgetter(d)(module).__doc__)

API = {'title': 'API', 'description': 'Every name of the package, what it is, and where it is explained'}

def api(nbs, front, modules, look):
    "The page of all names, by notebook."
    text = f'---\n{yaml.dump(API)}---\n'
    for file, module in modules.items():
        page, title, subtitle = (front[file][k] for k in ('output-file', 'title', 'description'))
        rows = [(('' if '.' not in n else '&emsp;') + f'[`{n[n.find("."):] if "." in n else n}`]({page}{at})', cell(look.link_line(what))) for n, at, what in names(nbs[file], module)]
        if rows: text += f'\n## {module.__name__}\n\n[{title}]({page}): {subtitle}\n\n{table(("Name", "What it is"), *rows)}\n'
    return text

def llms(cfg, site, front, entries):
    "The site in the form of llmstxt.org."
    def line(name, link, what): return f'- [{name}]({link}): {what}'
    parts = [f'# {cfg["title"]}', f'> {cfg["description"]}']
    for section in dict.fromkeys(section for section, _ in entries):
        here = [front[f] for s, f in entries if s == section and f in front]
        parts.append(f'## {section}\n\n' + '\n'.join(line(fm['title'], f'{site}/{fm["output-file"]}', fm['description']) for fm in here))
    raw = cfg['git_url'].replace('github.com', 'raw.githubusercontent.com') + f'/{cfg["branch"]}/nbs'
    parts.append('## Notebooks\n\n' + '\n'.join(line(f, f'{raw}/{f}', f'the source of "{fm["title"]}"') for f, fm in front.items() if f.endswith('.ipynb')))
    return '\n\n'.join(parts) + '\n'


def pages(repo):
    "Make all pages of `repo`, whose package must be the one that is imported; gives their folder."
    os.chdir(repo) # nbdev looks there for its settings
    proc, cfg, look = proc_nbs(n_workers=0, force=True), settings(repo), NbdevLookup()
    site = cfg['doc_host'] + cfg['doc_baseurl']
    nbs = {p.name: json.loads((proc/p.name).read_text(encoding='utf-8')) for p in notebooks(repo)}
    front = {f: yaml.safe_load(source(nb['cells'][0]).strip('-\n')) for f, nb in nbs.items()}
    modules = {f: importlib.import_module(f'{cfg["lib_name"]}.{Path(fm["output-file"]).stem}') for f, fm in front.items() if f[0].isdigit()}
    for f, module in modules.items(): document(nbs[f], module, look, f'{cfg["git_url"]}/blob/{cfg["branch"]}')
    there = {front[f]['output-file']: anchors(nb) for f, nb in nbs.items()}
    for f, nb in nbs.items():
        raw(nb)
        nb['metadata'].pop('widgets', None) # Quarto would fetch a library for them
        for holder, key in texts(nb): holder[key] = [relink(''.join(holder[key]), site, there)]
        (proc/f).write_text(json.dumps(nb, indent=1, ensure_ascii=False), encoding='utf-8')
    (proc/'api.qmd').write_text(relink(api(nbs, front, modules, look), site, there), encoding='utf-8')
    glossary = yaml.safe_load((repo/'nbs'/'glossary.qmd').read_text(encoding='utf-8').split('---')[1])
    written = {'glossary.qmd': glossary | {'output-file': 'glossary.html'}, 'api.qmd': API | {'output-file': 'api.html'}}
    (proc/'llms.txt').write_text(llms(cfg, site, front | written, sidebar(repo)), encoding='utf-8')
    (proc/'robots.txt').write_text(f'User-agent: *\nAllow: /\n\nSitemap: {site}/sitemap.xml\n', encoding='utf-8')
    shutil.copytree(repo/cfg['lib_name']/'live', proc/'live')
    return proc


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--render', action='store_true', help='also call Quarto')
    args = parser.parse_args()
    proc = pages(Path(__file__).resolve().parent.parent)
    if args.render: subprocess.run(['quarto', 'render', '--no-execute'], cwd=proc, check=True)
