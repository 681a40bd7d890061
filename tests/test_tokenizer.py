"Byte pairs against tiktoken's, and against the plain way to train them, on far more text than a notebook should show."
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st
from mingpt_nb.files import get_data
from mingpt_nb.tokenizer import SPLIT, BPETokenizer, Tokenizer, merge_pair, train_merges

many = settings(max_examples=10_000, deadline=None, derandomize=True, database=None)
TRICKY = st.lists(st.sampled_from([*" \t\n\r\v\f'sdmtrevlXa1.-!", "'ll", "'RE", '\x85', '\xa0', '\u2028', '\u3000', '\x1c', '²', '½', 'é', 'e\u0301', 'ß', 'ы', '中', '👩‍👧', '\U0001f3ff', '\ufeff', '\U0010ffff', '<|endoftext|>'])).map(''.join)
EXAMPLES = ['', 'Hello,', 'Hello, world', ' Hello', "We'll see, they'VE said 'tis Tom's", *(c * n for c in ' \t\n' for n in range(1, 70, 7)), 'a  b   c    d', '\t\tif x:\n\t\t\treturn  \n\n\n  ', ' \t \n \r\n\r\n ',
            '👩‍👩‍👧‍👦🏳️‍🌈👍🏿🇺🇳', 'e\u0301\u0323 Z\u0351\u036b\u0343a\u0328l\u0321go', 'ﬁ Ⅷ ½ ² ٣ ३ 1,234.5', '\x00\x1b[0m\x7f\x80', '<|endoftext|>', 'x' * 3000, 'ACGT' * 500,
            'Τὴν γλῶσσα', 'Все люди рождаются', 'כל בני האדם', 'يولد جميع الناس', 'सभी मनुष्यों को', 'সমস্ত মানুষ', 'மனிதப் பிறவியினர்', 'มนุษย์ทั้งหลายเกิดมา', 'ადამიანი იბადება', 'Բոլոր մարդիկ', 'ሁሉም ሰዎች', '人人生而自由', 'すべての人間は', '모든 인간은', 'ཐམས་ཅད', '𐎠𐎡𐎢𐎣 𓀀𓁐 𝔊𝔢']


@pytest.fixture(scope='session')
def gpt2():
    try: return BPETokenizer.gpt2()
    except OSError as e: pytest.skip(str(e))

@pytest.fixture(scope='session')
def judge(gpt2):
    "tiktoken's GPT-2, made from our two files by tiktoken's own functions, without its cache and its downloads."
    import tiktoken, tiktoken.load, tiktoken_ext.openai_public as public
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TIKTOKEN_CACHE_DIR', '')
        ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(str(get_data('vocab.bpe')), str(get_data('encoder.json')))
    return tiktoken.Encoding('gpt2', pat_str=public.r50k_pat_str, mergeable_ranks=ranks, special_tokens={'<|endoftext|>': 50256})

def agree(gpt2, judge, text):
    ids = gpt2.encode(text)
    assert ids == judge.encode_ordinary(text)
    assert gpt2.decode(ids) == text


@pytest.mark.parametrize('text', EXAMPLES, ids=lambda s: ascii(s)[:20])
def test_examples(gpt2, judge, text): agree(gpt2, judge, text)

def test_random_strings(gpt2, judge):
    @many
    @given(st.text())
    def check(text): agree(gpt2, judge, text)
    check()

def test_tricky_strings(gpt2, judge):
    @settings(many, max_examples=2000)
    @given(TRICKY)
    def check(text): agree(gpt2, judge, text)
    check()

def test_every_token_and_byte(gpt2, judge):
    assert gpt2.vocab_size == judge.n_vocab == 50257
    assert gpt2.tokens == [judge.decode_single_token_bytes(i) for i in range(50257)]
    for b in range(256):
        i = judge.encode_single_token(bytes([b]))
        assert gpt2.tokens[i] == bytes([b]) and gpt2.byte_ids[b] == i
        assert gpt2.decode([i]) == bytes([b]).decode('utf-8', errors='replace') == judge.decode([i])
        agree(gpt2, judge, chr(b))

def test_bytes_that_are_no_text(gpt2, judge):
    draw = random.Random(0)
    for _ in range(1000):
        ids = [draw.randrange(50257) for _ in range(draw.randrange(8))]
        assert gpt2.decode(ids) == judge.decode(ids)

def test_shakespeare(gpt2, judge):
    try: text = get_data('tinyshakespeare.txt').read_text(encoding='utf-8')
    except OSError as e: pytest.skip(str(e))
    agree(gpt2, judge, text)

def test_special_only_when_asked_for(gpt2, judge):
    for text in '<|endoftext|>', 'a<|endoftext|>b', '<|endoftext|><|endoftext|> x <|endoftext', ' <|endoftext|>\n':
        agree(gpt2, judge, text)
        assert 50256 not in gpt2.encode(text)
        assert gpt2.encode(text, allow_special=True) == judge.encode(text, allowed_special='all')

def test_long_word(gpt2, judge):
    "100,000 letters without a space: a way that is quadratic would take an hour."
    draw = random.Random(0)
    agree(gpt2, judge, ''.join(draw.choices('etaoinshrdlu', k=100_000)))

def test_saved_and_loaded(gpt2, tmp_path):
    gpt2.save(tmp_path/'t.json')
    again = Tokenizer.load(tmp_path/'t.json')
    assert again.state() == gpt2.state() and again.encode(EXAMPLES[2]) == gpt2.encode(EXAMPLES[2])


def naive(text, n_merges):
    words, merges = [list(w.encode()) for w in SPLIT.findall(text)], []
    for new in range(256, 256 + n_merges):
        counts = Counter(pair for ids in words for pair in pairwise(ids))
        if not counts: break
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        words = [merge_pair(ids, merges[-1], new) for ids in words]
    return merges, words

@settings(many, max_examples=1000)
@given(st.text(st.sampled_from('aaab cé'), min_size=2, max_size=60))
def test_training(text):
    "The same merges as the plain way; encoding replays them; a text gives what it has and no more."
    merges, words = naive(text, 30)
    if merges:
        assert train_merges(text, len(merges)) == merges
        tok = BPETokenizer(merges)
        assert tok.encode(text) == [i for ids in words for i in ids] and tok.decode(tok.encode(text)) == text
    if len(merges) < 30:
        with pytest.raises(ValueError, match=f'after {len(merges)} merges'): train_merges(text, 30)

@settings(many, max_examples=1000)
@given(TRICKY, TRICKY)
def test_pieces(a, b):
    "Cut before a space that follows a letter, and the pieces have the ids of the whole."
    tok = BPETokenizer.from_text("We'll see  that\n\n in the end we see it all" * 3, 20)
    assert tok.encode(a + 'x') + tok.encode(' ' + b) == tok.encode(a + 'x ' + b)

def test_cache_is_bounded():
    tok = BPETokenizer.from_text('to be or not to be', 5)
    tok.encode(' '.join(map(str, range(150_000))))
    assert 0 < len(tok.cache) <= 2**16
    tok.cache.clear()
    tok.encode('x' * 10_000)
    assert not tok.cache
