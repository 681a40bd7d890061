"""How fast we write, beside others: the same random weights, the same prompt, two CPU threads, one sequence.

    python tests/race.py                                            beside Hugging Face's `generate` with its cache
    python tests/race.py --nanogpt ../nanoGPT --mingpt ../minGPT    and beside checkouts of these
    python tests/race.py --size small                               one of the two sizes only
    python tests/race.py --optimizers                               instead: a training step with Muon beside one with AdamW
    python tests/race.py --first-run --nanogpt ../nanoGPT           instead: `mingpt shakespeare` beside nanoGPT's CPU command

All run in turn, round by round, so that a busy machine is busy for all; the medians are compared. The floor is the time
that the matrix-vector products of one token take by themselves, measured in the same rounds.
"""
import argparse, importlib.util, os, re, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

SIZES = {'small': (dict(vocab_size=65, block_size=256, n_layer=6, n_head=6, n_embd=384), 255, 40),
         'gpt2': (dict(vocab_size=50257, block_size=1024, n_layer=12, n_head=12, n_embd=768), 128, 40)}


def load(path, name):
    "A module from a file of a checkout."
    sys.path.insert(0, str(Path(path).resolve().parent.parent)) # minGPT's imports itself as a package
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(folder, sizes, new, top_k):
    from mingpt_nb.model import GPT
    model = GPT.from_pretrained(folder)
    return lambda idx: model.generate(idx, new, do_sample=True, top_k=top_k)


def hugging_face(folder, sizes, new, top_k):
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    return lambda idx: model.generate(idx, max_new_tokens=new, do_sample=True, top_k=top_k, use_cache=True, pad_token_id=0, attention_mask=idx.new_ones(idx.shape))


def nanogpt(checkout, sizes, new, top_k):
    m = load(Path(checkout)/'model.py', 'nanogpt')
    model = m.GPT(m.GPTConfig(**sizes, dropout=0., bias=True)).eval()
    return lambda idx: model.generate(idx, new, top_k=top_k)


def mingpt(checkout, sizes, new, top_k):
    m = load(Path(checkout)/'mingpt'/'model.py', 'mingpt_model')
    config = m.GPT.get_default_config()
    config.model_type = None
    for k, v in sizes.items(): setattr(config, k, v)
    model = m.GPT(config).eval()
    return lambda idx: model.generate(idx, new, do_sample=True, top_k=top_k)


def floor(sizes, new):
    "Nothing but the matrix-vector products of `new` tokens, each weight read once a token."
    import torch
    C, V = sizes['n_embd'], sizes['vocab_size']
    shapes = [(3 * C, C), (C, C), (4 * C, C), (C, 4 * C)] * sizes['n_layer'] + [(V, C)]
    work = [(torch.randn(shape) * .02, torch.randn(shape[1])) for shape in shapes]
    def run(idx):
        for _ in range(new):
            for w, x in work: torch.mv(w, x)
    return run


def race(name, rounds, checkouts):
    "Print tokens a second of each, and the ratios."
    import torch
    from mingpt_nb.model import GPT, GPTConfig
    sizes, new, top_k = SIZES[name]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        GPT(GPTConfig(**sizes)).save_pretrained(folder)
        runners = {'mingpt_nb': ours(folder, sizes, new, top_k), 'Hugging Face': hugging_face(folder, sizes, new, top_k)}
    for other, make in ('nanoGPT', nanogpt), ('minGPT', mingpt):
        if checkouts[other]: runners[other] = make(checkouts[other], sizes, new, top_k)
    runners['floor'] = floor(sizes, new)
    idx, times = torch.zeros(1, 1, dtype=torch.int64), {r: [] for r in runners}
    with torch.no_grad():
        for _ in range(rounds + 1): # the first round is for warming up
            for r, run in runners.items():
                start = time.perf_counter()
                run(idx)
                times[r].append(time.perf_counter() - start)
    speed = {r: new / statistics.median(t[1:]) for r, t in times.items()}
    print(f"\n{name}: " + ', '.join(f'{k} {v}' for k, v in sizes.items()) + f", {new} new tokens, top-k {top_k}; median of {rounds}")
    for r, v in speed.items(): print(f"  {r:13} {v:7.0f} tokens/s" + (f"   we are {speed['mingpt_nb'] / v:.2f} times as fast" if r not in ('mingpt_nb', 'floor') else ''))
    print(f"  we reach {speed['mingpt_nb'] / speed['floor']:.0%} of the floor")


def optimizers(rounds):
    "Print what a training step costs with each optimizer, at the size of `mingpt shakespeare`."
    import torch
    from functools import partial
    from mingpt_nb.model import GPT, GPTConfig
    from mingpt_nb.optimizer import make_optimizers
    def setup(name):
        torch.manual_seed(0)
        model = GPT(GPTConfig(65, 64, n_layer=4, n_head=4, n_embd=128, embd_pdrop=0, resid_pdrop=0, attn_pdrop=0))
        optimizers = make_optimizers(model, name.split()[0])
        if name == 'muon of PyTorch': optimizers[0] = torch.optim.Muon(optimizers[0].param_groups[0]['params'], adjust_lr_fn='match_rms_adamw')
        return model, optimizers
    def step(model, optimizers):
        for o in optimizers: o.zero_grad()
        model(x, y)[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers: o.step()
    x, y = torch.randint(65, (2, 32, 64))
    runners = {name: partial(step, *setup(name)) for name in ('adamw', 'muon', 'muon of PyTorch')}
    times = {name: [] for name in runners}
    for _ in range(rounds + 3): # the first three are for warming up
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    ms = {name: statistics.median(t[3:]) * 1000 for name, t in times.items()}
    print(f"a step at L4 H4 d128, T 64, batch 32, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}; median of {rounds}")
    for name, t in ms.items(): print(f"  {name:16} {t:7.1f} ms   {t / ms['adamw']:.2f} times AdamW")


NANOGPT = ('config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 --batch_size=12 '
           '--n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0') # its README, "I only have a macbook"

def first_run(checkout, rounds):
    "Whole commands, from the start of the process: nanoGPT's for a CPU, and ours at its defaults."
    from mingpt_nb.data import get_data
    with tempfile.TemporaryDirectory() as temp:
        repo = shutil.copytree(checkout, Path(temp)/'nanoGPT', ignore=shutil.ignore_patterns('.git'))
        shutil.copy(get_data('tinyshakespeare.txt'), repo/'data/shakespeare_char/input.txt')
        subprocess.run([sys.executable, 'data/shakespeare_char/prepare.py'], cwd=repo, check=True, capture_output=True)
        commands = {'nanoGPT': [sys.executable, 'train.py', *NANOGPT.split()], 'mingpt_nb': [sys.executable, '-c', 'from mingpt_nb.cli import program; program()', 'shakespeare']}
        times = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                start = time.perf_counter()
                done = subprocess.run(command, cwd=repo, capture_output=True, text=True, env=os.environ | {'PYTHONPATH': str(Path(__file__).resolve().parent.parent)})
                times[name].append(time.perf_counter() - start)
                if done.returncode: sys.exit(done.stderr)
                loss = re.findall(r'(?:val loss|held-out loss:?) (\d+\.\d+)', done.stdout)[-1]
                print(f"{name:10} {times[name][-1]:6.1f} s, {'its estimate' if name == 'nanoGPT' else 'on all held-out text'} {loss}", flush=True)
    median = {name: statistics.median(t) for name, t in times.items()}
    print(f"ours takes {median['mingpt_nb'] / median['nanoGPT']:.2f} times the time of nanoGPT's (medians of {rounds})")


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--nanogpt', help='a checkout of karpathy/nanoGPT')
    parser.add_argument('--mingpt', help='a checkout of karpathy/minGPT')
    parser.add_argument('--size', choices=SIZES, help='only this size (default: both)')
    parser.add_argument('--optimizers', action='store_true', help='a training step with Muon beside one with AdamW')
    parser.add_argument('--first-run', action='store_true', help="`mingpt shakespeare` beside nanoGPT's CPU command; minutes")
    parser.add_argument('--rounds', type=int, help='default: 5; for steps 20, for whole commands 1')
    parser.add_argument('--threads', type=int, default=2)
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    import torch
    torch.set_num_threads(args.threads)
    if args.optimizers: optimizers(args.rounds or 20)
    elif args.first_run: first_run(args.nanogpt, args.rounds or 1)
    else:
        for name in [args.size] if args.size else SIZES: race(name, args.rounds or 5, {'nanoGPT': args.nanogpt, 'minGPT': args.mingpt})
