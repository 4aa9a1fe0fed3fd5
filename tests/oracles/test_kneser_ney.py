"""The smoothing methods of n-grams against slow textbook code, hand calculation and KenLM.

The textbook code works on dictionaries of tuples, one n-gram at a time, straight from the
definitions; it shares no code with the package.
"""

import gzip
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from seriatim.core.batch import Batch
from seriatim.models import Markov
from seriatim.models.markov import MarkovModel

KENLM = Path(__file__).parents[3] / "shared" / "data" / "kenlm"
BOUNDARY = 1

needs_kenlm = pytest.mark.skipif(
    not KENLM.is_dir(), reason="needs the real data in ../shared/data/kenlm"
)


@dataclass(frozen=True)
class Lines:
    """A corpus in memory, as `fit_closed_form` takes it."""

    sequences: list[list[int]]
    is_stream: bool = False

    @property
    def tokens(self) -> np.ndarray:
        return np.array(list(itertools.chain(*self.sequences)), dtype=np.uint16)

    @property
    def offsets(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.sequences)])


def fitted(corpus: Lines, num_symbols: int, **options: object) -> tuple[MarkovModel, dict]:
    model = MarkovModel(Markov(**options), num_symbols, BOUNDARY)
    return model, model.fit_closed_form(corpus)


# ---- textbook -----------------------------------------------------------------------------------


class Textbook:
    """Interpolated smoothing as in the textbook: dictionaries, recursion, one n-gram at a time."""

    def __init__(self, corpus: Lines, num_symbols: int, order: int, smoothing: str) -> None:
        self.V, self.order, self.smoothing = num_symbols, order, smoothing
        self.padded = [
            [BOUNDARY, *s] if corpus.is_stream else [BOUNDARY, *s, BOUNDARY]
            for s in corpus.sequences
        ]
        self.counts = [self.weights(m) for m in range(1, order + 1)]
        self.followers: list[dict] = [{} for _ in range(order)]
        for m, table in enumerate(self.counts):
            for gram, count in table.items():
                self.followers[m].setdefault(gram[:-1], {})[gram[-1]] = count
        self.discounts = [self.discount(table) for table in self.counts]

    def occurrences(self, m: int) -> Iterator[tuple[tuple[int, ...], int | None]]:
        """Every n-gram of order m that ends in a prediction, and the symbol before it, if any."""
        for s in self.padded:
            for end in range(2, len(s) + 1):
                if end >= m:
                    yield tuple(s[end - m : end]), s[end - m - 1] if end > m else None

    def weights(self, m: int) -> dict[tuple[int, ...], int]:
        if self.smoothing != "kneser-ney" or m == self.order:
            return Counter(gram for gram, _ in self.occurrences(m))
        kinds = {(gram, before) for gram, before in self.occurrences(m) if before is not None}
        starts = [gram for gram, before in self.occurrences(m) if before is None]
        return Counter([gram for gram, _ in kinds] + starts)

    @staticmethod
    def discount(table: dict) -> list[float]:
        t = Counter(table.values())
        try:
            y = t[1] / (t[1] + 2 * t[2])
            d = [k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3)]
        except ZeroDivisionError:
            return [0.5, 1.0, 1.5]
        return d if all(0 < d[k] <= k + 1 for k in range(3)) else [0.5, 1.0, 1.5]

    def p(self, w: int, h: tuple[int, ...]) -> float:
        lower = self.p(w, h[1:]) if h else 1 / self.V
        if self.smoothing == "stupid-backoff":
            return self.stupid(w, h) / sum(self.stupid(v, h) for v in range(self.V))
        after = self.followers[len(h)].get(h)
        if after is None:
            return lower
        total = sum(after.values())
        if self.smoothing == "maximum-likelihood":
            return (1 - 1e-6) * after.get(w, 0) / total + 1e-6 * lower
        if self.smoothing == "witten-bell":
            return (after.get(w, 0) + len(after) * lower) / (total + len(after))
        d = [0.0, *self.discounts[len(h)]]
        left = sum(d[min(c, 3)] for c in after.values())
        own = after.get(w, 0)
        return (own - d[min(own, 3)] + left * lower) / total

    def stupid(self, w: int, h: tuple[int, ...]) -> float:
        """S of Brants et al. 2007, equation 5, with 1 / V below single symbols."""
        after = self.followers[len(h)].get(h, {})
        if w in after:
            return after[w] / sum(after.values())
        return 0.4 * (self.stupid(w, h[1:]) if h else 1 / self.V)

    def add_k(self, w: int, h: tuple[int, ...], k: float) -> float:
        """Lidstone's law after all n - 1 symbols, or after fewer that begin a sequence."""
        if len(h) < self.order - 1:
            m = len(h) + 1
            beginnings = Counter(tuple(s[:m]) for s in self.padded if len(s) >= m > 1)
            after = {g[-1]: c for g, c in beginnings.items() if g[:-1] == h}
        else:
            after = self.followers[len(h)].get(h, {})
        return (after.get(w, 0) + k) / (sum(after.values()) + k * self.V)


def rare_and_frequent(seed: int, num_sequences: int, length: int, num_symbols: int) -> Lines:
    """Random lines whose symbols follow Zipf's law, so that all small counts occur."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, num_symbols)
    ids = np.delete(np.arange(num_symbols), BOUNDARY)
    lengths = rng.integers(0, length + 1, num_sequences)
    return Lines([rng.choice(ids, n, p=p / p.sum()).tolist() for n in lengths])


def assert_agree(corpus: Lines, num_symbols: int, order: int, smoothing: str) -> dict:
    """After every context of up to n - 1 symbols, the model predicts as the textbook."""
    model, facts = fitted(corpus, num_symbols, order=order, smoothing=smoothing)
    book = Textbook(corpus, num_symbols, order, smoothing)
    for length in range(order):
        for context in itertools.product(range(num_symbols), repeat=length):
            carry = model.empty(1)
            if length:
                _, carry = model.advance(carry, torch.tensor([context]), None)
            ours = model.emit(carry).dense()[0].exp()
            expected = [book.p(w, context) for w in range(num_symbols)]
            torch.testing.assert_close(
                ours, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
            )
    return {**facts, "book": book.discounts}


METHODS = ["kneser-ney", "witten-bell", "stupid-backoff", "maximum-likelihood"]


@pytest.mark.parametrize("smoothing", METHODS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_probability_agrees_with_the_textbook(order: int, smoothing: str) -> None:
    corpus = rare_and_frequent(seed=order, num_sequences=30, length=8, num_symbols=7)
    assert_agree(corpus, 7, order, smoothing)


@pytest.mark.parametrize("smoothing", METHODS)
def test_every_probability_of_a_stream_agrees_with_the_textbook(smoothing: str) -> None:
    rng = np.random.default_rng(5)
    corpus = Lines([rng.integers(0, 6, 150).tolist()], is_stream=True)
    assert_agree(corpus, 6, 3, smoothing)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_add_k_is_lidstone_s_law(order: int) -> None:
    corpus = rare_and_frequent(seed=order, num_sequences=20, length=6, num_symbols=6)
    model, _ = fitted(corpus, 6, order=order, smoothing="add-k", k=0.3)
    book = Textbook(corpus, 6, order, "add-k")
    others = [s for s in range(6) if s != BOUNDARY]
    beginnings = [
        (BOUNDARY, *h) for n in range(order - 1) for h in itertools.product(others, repeat=n)
    ]
    inside = list(itertools.product(others, repeat=order - 1))
    for context in (*beginnings, *inside):
        carry = model.empty(1)
        if context:
            _, carry = model.advance(carry, torch.tensor([context]), None)
        expected = [book.add_k(w, context, 0.3) for w in range(6)]
        ours = model.emit(carry).dense()[0].exp()
        torch.testing.assert_close(
            ours, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
        )


@pytest.mark.slow
def test_orders_up_to_eight_agree_with_the_textbook() -> None:
    corpus = rare_and_frequent(seed=8, num_sequences=25, length=12, num_symbols=3)
    assert_agree(corpus, 3, 8, "kneser-ney")


def test_discounts_are_estimated_if_counts_of_counts_allow_it() -> None:
    corpus = rare_and_frequent(seed=0, num_sequences=60, length=12, num_symbols=24)
    facts = assert_agree(corpus, 24, 3, "kneser-ney")
    assert 3 not in facts["fallback_orders"]
    np.testing.assert_allclose(facts["discounts"], facts["book"], rtol=1e-14)


# ---- by hand ------------------------------------------------------------------------------------


def test_discounts_of_one_order_agree_with_a_calculation_by_hand() -> None:
    """t_1 .. t_4 = 3, 2, 1, 1:  Y = 3/7,  D = 3/7, 19/14, 9/7,  gamma = 46/7 / 14 = 23/49."""
    stream = [2, 3, 4] + [5] * 2 + [6] * 2 + [7] * 3 + [0] * 4
    model, facts = fitted(Lines([stream], is_stream=True), 8, order=1)
    assert facts["discounts"] == [pytest.approx([3 / 7, 19 / 14, 9 / 7], rel=1e-14)]
    assert facts["fallback_orders"] == []
    p = model.predict(model.start(1)).dense()[0].exp()
    uniform = 23 / 49 / 8
    assert float(p[BOUNDARY]) == pytest.approx(uniform, rel=1e-14)  # never seen
    assert float(p[2]) == pytest.approx((1 - 3 / 7) / 14 + uniform, rel=1e-14)
    assert float(p[5]) == pytest.approx((2 - 19 / 14) / 14 + uniform, rel=1e-14)
    assert float(p[0]) == pytest.approx((4 - 9 / 7) / 14 + uniform, rel=1e-14)


def test_lower_orders_use_continuation_counts() -> None:
    """Francisco: seen three times, always after San, so alone it counts once.

    The lines are  san francisco  three times,  a dog  and  the dog.  Different symbols before:
    san 1, francisco 1, a 1, dog 2, the 1, end 2.  t_3 = 0, so D = 0.5, 1, 1.5:
    p(francisco) = 0.5/8 + left/V  and  p(dog) = 1/8 + left/V,  left = (4 · 0.5 + 2 · 1)/8.
    """
    san, francisco, a, dog, the = 2, 3, 4, 5, 6
    corpus = Lines([[san, francisco]] * 3 + [[a, dog], [the, dog]])
    model, facts = fitted(corpus, 7, order=2)
    assert 1 in facts["fallback_orders"]
    p = model.emit(model.empty(1)).dense()[0].exp()
    assert float(p[francisco]) == pytest.approx(0.5 / 8 + 0.5 / 7, rel=1e-14)
    assert float(p[dog]) == pytest.approx(1 / 8 + 0.5 / 7, rel=1e-14)


# ---- KenLM --------------------------------------------------------------------------------------


def read_arpa(path: Path) -> list[dict[tuple[str, ...], tuple[float, float]]]:
    """Per order: n-gram to (log10 probability, log10 backoff)."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    orders: list[dict] = []
    for line in text.splitlines():
        if line.startswith("\\") and "-grams" in line:
            orders.append({})
        elif orders and "\t" in line:
            p, gram, *backoff = line.split("\t")
            entry = (float(p), float(backoff[0]) if backoff else 0.0)
            orders[-1][tuple(gram.split(" "))] = entry
    return orders


def fitted_words(name: str, **options: object) -> tuple[MarkovModel, dict, dict[str, int]]:
    lines = [line.split() for line in (KENLM / name).read_text(encoding="utf-8").splitlines()]
    words = sorted(set(itertools.chain(*lines)))
    ids = {word: i for i, word in enumerate(words, start=2)}
    ids |= {"<unk>": 0, "<s>": BOUNDARY, "</s>": BOUNDARY}
    corpus = Lines([[ids[word] for word in line] for line in lines])
    return *fitted(corpus, len(words) + 2, **options), ids


@pytest.mark.slow
@needs_kenlm
@pytest.mark.parametrize(
    ("text", "arpa", "options"),
    [
        ("train.txt", "order3.arpa.gz", {"order": 3}),
        ("train.txt", "order5.arpa.gz", {"order": 5}),
        ("train.txt", "order5.pruned-0-0-1.arpa.gz", {"order": 5, "prune": (0, 0, 1)}),
        ("tiny.txt", "tiny.fallback.arpa", {"order": 2}),
    ],
)
def test_every_ngram_has_the_probability_and_backoff_that_kenlm_estimated(
    text: str, arpa: str, options: dict
) -> None:
    model, facts, ids = fitted_words(text, **options)
    order = options["order"]
    theirs = read_arpa(KENLM / arpa)
    # KenLM lists <s> and </s> separately, so it has one more unigram.
    sizes = [len(grams) for grams in theirs]
    assert [sizes[0] - 1, *sizes[1:]] == facts["ngrams"]
    for m, grams in enumerate(theirs, start=1):
        spelled = torch.tensor([[ids[word] for word in gram] for gram in grams])
        log_p, backoff = torch.tensor(list(grams.values()), dtype=torch.float64).T
        node = spelled[:, 0].numpy()
        for position in range(1, m):
            node = model.table.find(node, spelled[:, position].numpy())
        nodes = torch.from_numpy(node)
        assert bool((nodes >= 0).all())
        is_predicted = torch.tensor([gram[-1] != "<s>" for gram in grams])
        ours = model.table.log_prob[nodes]
        assert float((ours - log_p)[is_predicted].abs().max()) < 2e-6  # KenLM prints float32
        if m < order:
            is_context = torch.tensor([gram[-1] != "</s>" for gram in grams])
            ours = model.table.log_backoff[nodes]
            assert float((ours - backoff)[is_context].abs().max()) < 2e-6


@needs_kenlm
def test_discounts_agree_with_those_that_kenlm_prints() -> None:
    _, facts, _ = fitted_words("train.txt", order=5)
    printed = []
    for line in (KENLM / "discounts.txt").read_text().splitlines():
        if "D1=" in line:
            printed.append([float(part.split("=")[1]) for part in line.split()[2:]])
    np.testing.assert_allclose(facts["discounts"], printed, rtol=1e-5)
    assert facts["fallback_orders"] == []


@needs_kenlm
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("order3", {"order": 3}),
        ("order5", {"order": 5}),
        ("order5.pruned-0-0-1", {"order": 5, "prune": (0, 0, 1)}),
    ],
)
def test_the_perplexity_of_unseen_text_agrees_with_the_query_tool_of_kenlm(
    name: str, options: dict
) -> None:
    model, _, ids = fitted_words("train.txt", **options)
    lines = (KENLM / "test.txt").read_text(encoding="utf-8").splitlines()
    encoded = [[ids.get(word, 0) for word in line.split()] for line in lines]
    lengths = torch.tensor([len(line) + 1 for line in encoded])
    inputs = torch.zeros(len(encoded), int(lengths.max()), dtype=torch.int64)
    targets = inputs.clone()
    for row, line in enumerate(encoded):
        inputs[row, : len(line) + 1] = torch.tensor([BOUNDARY, *line])
        targets[row, : len(line) + 1] = torch.tensor([*line, BOUNDARY])
    log_p = model.log_prob(Batch(inputs, targets, lengths))
    is_known = targets != 0
    printed = dict(
        line.removeprefix(f"{name}: ").split(":\t")
        for line in (KENLM / "query.txt").read_text().splitlines()
        if line.startswith(f"{name}:")
    )
    assert int(lengths.sum()) == int(printed["Tokens"])
    every = math.exp(-float(log_p.sum()) / int(lengths.sum()))
    assert every == pytest.approx(float(printed["Perplexity including OOVs"]), rel=1e-5)
    num_known = int(lengths.sum()) - int(printed["OOVs"])
    known = math.exp(-float(log_p[is_known].sum()) / num_known)
    assert known == pytest.approx(float(printed["Perplexity excluding OOVs"]), rel=1e-5)
