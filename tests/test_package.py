"What people install: its contents, its requirements, and what it costs to import."
import re, statistics, subprocess, sys, tarfile, zipfile
from email import message_from_bytes

import checks


def contents(archive):
    "The names of the files in a wheel or a source distribution, without the folder at its top."
    if archive.suffix == '.whl': return set(zipfile.ZipFile(archive).namelist())
    return {n.partition('/')[2] for n in tarfile.open(archive).getnames()}


def test_wheel_holds_the_package(built, repo):
    lib = checks.settings(repo)['lib_name']
    package = {f'{lib}/{p.name}' for p in (repo/lib).iterdir() if p.suffix in ('.py', '.mplstyle')}
    package |= {f'{lib}/live/{p.name}' for p in (repo/lib/'live').iterdir()} # the model in the page
    names = contents(built.wheel)
    assert {n for n in names if '.dist-info/' not in n} == package
    assert any(n.endswith('/licenses/LICENSE') for n in names)


def test_sdist_holds_what_the_build_needs(built):
    assert {'settings.ini', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'mingpt_nb/mingpt.mplstyle', 'mingpt_nb/live/gpt.js', 'mingpt_nb/live/shakespeare.bin'} <= contents(built.sdist)


def test_build_warns_of_nothing(built):
    assert not re.findall(r'^.*deprecat.*$', built.log, re.M | re.I)


def test_metadata_says_what_settings_say(built, repo):
    cfg, wheel = checks.settings(repo), zipfile.ZipFile(built.wheel)
    meta = message_from_bytes(wheel.read(next(n for n in wheel.namelist() if n.endswith('/METADATA'))))
    assert (meta['Name'], meta['Version'], meta['License-Expression'], meta['Requires-Python']) == (cfg['lib_name'], cfg['version'], 'MIT', '>=' + cfg['min_python'])
    name = lambda r: re.match(r'[\w.-]+', r)[0]
    needed = [r for r in meta.get_all('Requires-Dist') if 'extra' not in r]
    assert sorted(map(name, needed)) == sorted(map(name, cfg['requirements'].split()))
    assert set(meta.get_all('Provides-Extra')) == {k.removesuffix('_requirements') for k in cfg if k.endswith('_requirements')}
    assert not any(name(r) == 'fastcore' and '<' in r for r in needed), 'only development needs fastcore 1'
    assert 'mingpt = mingpt_nb.cli:program' in wheel.read(next(n for n in wheel.namelist() if n.endswith('/entry_points.txt'))).decode()


def test_setup_needs_only_setuptools(repo):
    assert {i.split('.')[0] for i in checks.imports(repo/'setup.py')} == {'configparser', 'pathlib', 'setuptools'}


def test_import_is_cheap(repo, quiet_env):
    "In a fresh process, `import mingpt_nb.model` costs at most half a second more than `import torch`, and brings in nothing heavy."
    call = ("import sys, time, torch; start = time.perf_counter(); import mingpt_nb.model; print(time.perf_counter() - start, "
            "*{'accelerate', 'matplotlib', 'ipywidgets', 'transformers', 'IPython'} & sys.modules.keys())")
    runs = [subprocess.run([sys.executable, '-c', call], cwd=repo, env=quiet_env, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
    assert all(len(r) == 1 for r in runs), f'it imports {runs[0][1:]}'
    assert statistics.median(float(r[0]) for r in runs) <= 0.5
