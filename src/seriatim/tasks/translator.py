"""The translator: an encoder-decoder bound to pairs of texts.

It binds a configuration to data and calls the functions of data, train, evaluate and decode; it
never asks which encoder or decoder it has.
"""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from seriatim.analysis.inspect.trace import PairTrace, trace_pair
from seriatim.analysis.robustness.measure import STRENGTHS, Robustness
from seriatim.core.ensembles import Product
from seriatim.core.model import SequenceModel
from seriatim.data.batches.pairs import PairBoundaries, PairPass, source_batch
from seriatim.data.pairs import (
    PairCorpus,
    PairData,
    Pairs,
    build_pair_corpus,
    open_pairs,
    split_pairs,
)
from seriatim.data.vocab.fit import vocabulary_from_json
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.decode.batched import search_sources
from seriatim.decode.hypotheses import Ints
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError, ModelError
from seriatim.laws import check
from seriatim.metrics.pairs import POSITIONS, pair_surprisals, score_pairs
from seriatim.metrics.score import Score
from seriatim.metrics.size import num_parameters
from seriatim.models.build import build_model
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.models.options.registry import describe, restore
from seriatim.tasks import storage
from seriatim.tasks.analyses import PAIRS, Figure, output_robustness
from seriatim.tasks.base import Say, Shares, open_parts, scores
from seriatim.tasks.translation import (
    Aligned,
    LengthRule,
    Translation,
    align,
    check_same_symbols,
    rank_by_risk,
    read_sources,
    required_phrases,
    scorers_for,
    translations,
)
from seriatim.tasks.translation_quality import Quality, judge
from seriatim.tasks.translator_defaults import (
    alphabet_facts,
    configured,
    pair_batches,
    pair_facts,
    suited_alphabets,
    suited_options,
)
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.checkpoint.resume import found_run, keep
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.distributed import current
from seriatim.train.loop import seeded
from seriatim.train.loop import train as train_model
from seriatim.train.options import TrainingOptions

Options = TrainingOptions | Mapping[str, Any]

GROUP = 1024  # texts that `translating` reads before it answers


class Translator:
    """An encoder-decoder of texts: fit, translate, score, evaluate, save.

    Attributes:
        config: what is, or will be, built.
        source_symbols: the alphabet of the sources; None before fitting.
        symbols: the alphabet of the targets; None before fitting.
        model: the `SequenceModel` that answers to sources; None before fitting.
        length_rule: how long a target may become.
        training: the record of how it came about, JSON values.
    """

    def __init__(
        self,
        model: Seq2Seq | str = "seq2seq",
        *,
        symbols: str | Vocabulary = "bpe",
        source_symbols: str | Vocabulary | None = None,
        joint: bool = False,
        min_count: int = 1,
        max_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration; "seq2seq" for its defaults; or "transformer", "lstm", "gru"
                or "rnn" for that encoder and decoder.
            symbols: of the targets: "byte", "char", "word", "bpe:N", "bpe" (N by the size of the
                training text, at most 8,000), or an alphabet made for documents.
            source_symbols: of the sources; None: of the same kind as those of the targets. "nfd":
                characters taken apart, letters and accents, Korean syllables and their sounds.
            joint: one alphabet for both sides, made of both.
            min_count: characters or words seen fewer times in training become `<unk>`.
            max_size: keep at most this many characters or words of a side.
            device: where to compute; None: a GPU if there is one.

        Raises:
            ConfigError: no such model, or joint symbols and others for the sources.
        """
        if joint and source_symbols is not None:
            raise ConfigError("joint symbols are those of both sides: leave out source_symbols")
        self.config = configured(model) if isinstance(model, str) else model
        self.is_joint = joint
        self.length_rule = LengthRule()
        self.training: dict[str, Any] = {}
        self.vocabulary = symbols if isinstance(symbols, Vocabulary) else None
        own = symbols if joint else source_symbols
        self.source_vocabulary = own if isinstance(own, Vocabulary) else None
        self.model: SequenceModel | None = None
        self._spec = symbols if isinstance(symbols, str) else symbols.kind
        given = source_symbols if source_symbols is not None else self._spec
        self._source_spec = given if isinstance(given, str) else given.kind
        self._cut = (min_count, max_size)
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    # ---- fitting --------------------------------------------------------------------------------

    def fit(
        self,
        train: PairData,
        *,
        valid: PairData | None = None,
        test: PairData | None = None,
        split: Shares = (0.8, 0.1, 0.1),
        steps: int | None = None,
        epochs: float | None = None,
        minutes: float | None = None,
        seed: int | None = None,
        options: Options | None = None,
        callbacks: Callbacks | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Self:
        """Fit to pairs. A fitted translator goes on from its weights and keeps its symbols.

        Args:
            train: pairs, or what `open_pairs` takes: a path, two paths, a list.
            valid: for early stopping; without it a part of `train` is split off.
            test: for the final figures; without both, parts are split off for each.
            split: shares of train, validation and test where they are split off; all pairs of
                one source are on one side.
            steps, epochs, minutes: the budget, at most one. None: 20 epochs, within 2,000 to
                20,000 steps.
            seed: of weights, data order and dropout.
            options: other training options; a mapping adds to what suits the model and the
                data, `TrainingOptions` are taken as they are.
            callbacks: functions to be called while it is fitted.
            checkpoints: where the run is kept, so that it may be cut short and gone on with.

        Returns:
            This translator, fitted; `training` holds the record.
        """
        started, callbacks = time.perf_counter(), callbacks or Callbacks()
        say = callbacks.log
        budget = {"steps": steps, "epochs": epochs, "minutes": minutes, "seed": seed}
        given = {name: value for name, value in budget.items() if value is not None}
        data = {"train": train, "valid": valid, "test": test}
        parts, record = open_parts(data, split, open_pairs, split_pairs)
        kept = self._kept(checkpoints, parts)
        with current().main_first():  # it fills the cache, and the others map its files
            self._fit_symbols(parts["train"], say)
            say("turning the pairs into symbols")
            corpora = {name: build_pair_corpus(p, *self._alphabets()) for name, p in parts.items()}
        source, target = (symbols.to_json() for symbols in self._alphabets())
        keep(kept, {"source_symbols": source, "symbols": target})
        chosen = self._options(options, given, corpora["train"])
        if self.model is None:
            self.length_rule = LengthRule.of(corpora["train"])
        self.training = {
            "data": {name: pair_facts(corpus) for name, corpus in corpora.items()},
            "split": record,
            "symbols": {"joint": self.is_joint, **alphabet_facts(*self._alphabets())},
            "length_rule": asdict(self.length_rule),
            "seed": chosen.seed,
        }
        began = time.perf_counter()
        run = partial(train_model, callbacks=callbacks, checkpoints=kept)
        self._train(corpora["train"], corpora.get("valid"), chosen, run)
        self.training["fit_seconds"] = time.perf_counter() - began
        if current().is_main:
            self.training |= scores(corpora, lambda name: self._score(corpora[name]), "pairs", say)
        self.training["seconds"] = time.perf_counter() - started
        return self

    def training_options(
        self, given: Mapping[str, Any], corpus: PairCorpus | None = None
    ) -> TrainingOptions:
        """Training options: those given, then what suits the model and the data, then defaults.

        Args:
            given: options by name.
            corpus: the training pairs, which decide how large a batch is and, where no budget
                is given, how many steps there are; None: not known yet.

        Raises:
            ConfigError: no such option or value, or one that pairs have no use for.
        """
        return suited_options(self.config.recipe, given, corpus, self._boundaries)

    def _options(
        self, options: Options | None, given: dict[str, Any], corpus: PairCorpus
    ) -> TrainingOptions:
        if isinstance(options, TrainingOptions):
            return replace(options, **given)
        return self.training_options({**(options or {}), **given}, corpus)

    def _kept(self, asked: Checkpoints | None, parts: Mapping[str, Pairs]) -> Checkpoints | None:
        """Where the run is kept and what it is; of one that goes on, the symbols are taken."""
        if asked is None:
            return None
        begun_from = None if self.model is None else self.model.fingerprint()
        specs = [self._spec, self._source_spec, self.is_joint, *self._cut]
        model = {"model": describe(self.config), "symbols": specs, "begun from": begun_from}
        data = {name: pairs.fingerprint() for name, pairs in parts.items()}
        kept, found = found_run(
            asked,
            asked.resume,
            model={"task": "translation", **model},
            data=data,
            documents=["source_symbols", "symbols"],
        )
        if found is not None:
            source, self.vocabulary = map(vocabulary_from_json, found)
            self.source_vocabulary = self.vocabulary if self.is_joint else source
        return kept

    def _fit_symbols(self, pairs: Pairs, say: Say) -> None:
        self.source_vocabulary, self.vocabulary = suited_alphabets(
            pairs,
            (self.source_vocabulary, self.vocabulary),
            None if self.is_joint else self._source_spec,
            self._spec,
            cut=self._cut,
            say=say,
        )

    def _train(
        self,
        corpus: PairCorpus,
        valid: PairCorpus | None,
        options: TrainingOptions,
        run: Callable[..., History],
    ) -> None:
        if self.model is None:
            self.model = self._built(options.seed).to(self._device)
        boundaries = self._boundaries()
        judged = None if valid is None else PairPass(valid, boundaries, token_budget=POSITIONS)
        batches = pair_batches(corpus, boundaries, options)
        history = run(self.model, batches, judged, options)
        self.training["fit"] = {
            **history.to_json(),
            "padding_fraction": batches.padding_fraction,  # of both sides, not of the targets alone
        }

    def _built(self, seed: int) -> SequenceModel:
        source, target = self._alphabets()
        size = None if self.is_joint else source.num_symbols
        with seeded(torch.device("cpu"), seed):
            return build_model(self.config, target.num_symbols, target.boundary, size)

    # ---- using ----------------------------------------------------------------------------------

    def translate(
        self,
        texts: str | Sequence[Text],
        *,
        beam: int = 4,
        num_best: int = 1,
        decoding: Decoding | None = None,
        required: Sequence[Sequence[str]] | None = None,
        ensemble: "Sequence[Translator]" = (),
        alignment: bool = False,
        first: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[Translation]:
        """The best target of every source, in order.

        Args:
            texts: sources; a str is one.
            beam: width of the beam; 1 is greedy search.
            num_best: how many results of each source; the first has the `others`.
            decoding: everything else about the search; it then also says beam and num_best.
            required: for each source texts that must occur in its target, as they stand inside
                of a text.
            ensemble: further translators of the same target symbols; the search then follows
                the normalized product of all, each with an equal exponent.
            alignment: add where the model looked (of an ensemble: this one alone).
            first: the number of the first source, on which its samples depend.
            progress: called with the number of sources done so far.

        Raises:
            ConfigError: a beam of 0 and the like, required texts that cannot be met, or an
                alignment of a model that does not look at its source.
            SymbolError: required or forbidden texts with symbols that no target can have.
        """
        decoding = decoding or Decoding(beam=beam, num_best=num_best)
        texts = [texts] if isinstance(texts, str) else texts
        return self._translate(texts, decoding, required, ensemble, alignment, first, progress)

    def translating(
        self,
        texts: Iterable[Text],
        *,
        decoding: Decoding | None = None,
        ensemble: "Sequence[Translator]" = (),
        alignment: bool = False,
        group: int = GROUP,
    ) -> Iterator[Translation]:
        """As `translate`, for texts without end: `group` of them are read before the next answer.

        The results do not depend on the group.
        """
        decoding, source, first = decoding or Decoding(), iter(texts), 0
        while batch := list(itertools.islice(source, group)):
            yield from self._translate(batch, decoding, None, ensemble, alignment, first)
            first += len(batch)

    def _translate(
        self,
        texts: Sequence[Text],
        decoding: Decoding,
        required: Sequence[Sequence[str]] | None,
        ensemble: "Sequence[Translator]",
        alignment: bool,
        first: int,
        progress: Callable[[int], None] | None = None,
    ) -> list[Translation]:
        model, source, target = self._fitted()
        members = [self, *ensemble]
        check_same_symbols([member._fitted()[2] for member in members])
        read = [member._read(texts) for member in members]
        ids, notes = read[0]
        sizes, limits = self.length_rule.limits(ids, decoding.max_length)
        facts = self.training.get("data", {}).get("train", {}).get("target", {})

        def bind(group: list[int]) -> SequenceModel:
            rows = [[own[i] for i in group] for own, _ in read]
            bound = [member._bound(own) for member, own in zip(members, rows, strict=True)]
            return bound[0] if len(bound) == 1 else Product(bound)

        hypotheses = search_sources(
            bind,
            sizes,
            limits,
            decoding,
            end=target.boundary,
            scorers=scorers_for(decoding, target, has_unknown=facts.get("unknown") != 0),
            required=required_phrases(required, decoding, target, len(texts)),
            first=first,
            progress=progress,
        )
        results = translations(hypotheses, target, notes)
        if decoding.minimum_bayes_risk:
            results = [rank_by_risk(t) for t in results]
        if not alignment:
            return results
        if not isinstance(model, Aligned):
            raise ConfigError(f"{type(model).__name__} has no attention to its source to align by")
        return align(model, model.device, ids, results, (source, target))

    def _bound(self, sources: list[Ints]) -> SequenceModel:
        model, source, _ = self._fitted()
        with torch.inference_mode():
            return model.bind(source_batch(sources, source.boundary).to(model.device))

    def _read(self, texts: Sequence[Text]) -> tuple[list[Ints], list[tuple[str, ...]]]:
        """The symbols of sources, and what should be known of each."""
        longest = self.training.get("data", {}).get("train", {}).get("longest_source")
        return read_sources(texts, self._fitted()[1], longest)

    def trace(
        self,
        source: str,
        target: str | None = None,
        *,
        beam: int = 4,
        top: int = 5,
        only: Collection[str] | None = None,
    ) -> PairTrace:
        """What happens inside of the model while it reads a source and says a target.

        Args:
            source: one text.
            target: one text; None: the best translation that a beam finds.
            beam: its width; 1 is greedy search.
            top: so many of the most probable symbols are given at each position.
            only: names to record, see `record`; None: everything.
        """
        model, of_source, of_target = self._fitted()
        if target is None:
            found = self.translate(source, beam=beam)[0]
            ids, is_ended = np.array(found.symbols, np.int64), found.is_ended
        else:
            ids, is_ended = of_target.encode(target), True
        alphabets, read = (of_source, of_target), of_source.encode(source)
        return trace_pair(model, alphabets, read, ids, is_ended=is_ended, top=top, only=only)

    def robustness(
        self,
        pairs: PairData,
        *,
        figure: Figure = "chrf",
        decoding: Decoding | None = None,
        strengths: Mapping[str, Sequence[float]] = STRENGTHS,
        limit: int | None = PAIRS,
        seeds: int = 1,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Robustness:
        """What damaged sources do to translations; see `tasks.analyses.output_robustness`."""
        source, decoding = self._fitted()[1], decoding or Decoding(beam=1)
        return output_robustness(
            open_pairs(pairs),
            source,
            lambda texts: [t.text for t in self.translate(texts, decoding=decoding)],
            figure,
            strengths=strengths,
            limit=limit,
            seeds=seeds,
            seed=seed,
            progress=progress,
        )

    def score(
        self,
        pairs: PairData,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Score:
        """How well the targets of pairs are predicted from their sources.

        Bits per symbol and per character of the targets, ends included; see `log_probs` for the
        figure of each pair.

        Args:
            pairs: what `open_pairs` takes.
            progress: called with the number of symbols scored so far.
        """
        return self._score(self._corpus(pairs), progress)

    def log_probs(
        self, pairs: PairData, *, progress: Callable[[int], None] | None = None
    ) -> list[float]:
        """ln p(target, its end | source) of every pair, in order, nats."""
        corpus = self._corpus(pairs)
        nats, bounds = pair_surprisals(
            self._fitted()[0], corpus, self._boundaries(), progress=progress
        )
        return [-float(s) for s in np.add.reduceat(nats.astype(np.float64), bounds[:-1])]

    def evaluate(
        self,
        pairs: PairData,
        *,
        decoding: Decoding | None = None,
        ensemble: "Sequence[Translator]" = (),
        lowercase: bool = False,
        tokenize: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Quality:
        """Translate the sources of pairs and hold the results against their targets.

        Args:
            pairs: what `open_pairs` takes.
            decoding, ensemble, progress: as in `translate`.
            lowercase: compare BLEU and chrF in lower case.
            tokenize: sacrebleu's tokenizer of BLEU; "none" for text that is tokenized already.
        """
        opened, began = open_pairs(pairs), time.perf_counter()
        sources, targets = list(opened.sources.texts()), list(opened.targets.texts())
        found = self.translate(sources, decoding=decoding, ensemble=ensemble, progress=progress)
        seconds = time.perf_counter() - began
        symbols = self._fitted()[2]
        return judge(found, targets, symbols, seconds, lowercase=lowercase, tokenize=tokenize)

    def _corpus(self, pairs: PairData) -> PairCorpus:
        self._fitted()
        return build_pair_corpus(open_pairs(pairs), *self._alphabets())

    def _score(self, corpus: PairCorpus, progress: Callable[[int], None] | None = None) -> Score:
        model, _, target = self._fitted()
        return score_pairs(model, corpus, self._boundaries(), target.unknown, progress=progress)

    def check(self, *, budget_s: float = 60.0) -> check.LawReport:
        """Hold the fitted model, bound to a source, to the laws of the contract."""
        model, source, _ = self._fitted()
        # Any source will do: the symbols of the lowest ids, without the boundary.
        ids = [i for i in range(min(source.num_symbols, 4)) if i != source.boundary]
        bound = source_batch([np.array(ids, np.int64)], source.boundary)
        return check.check_model(model.bind(bound.to(model.device)), budget_s=budget_s)

    def info(self) -> dict[str, Any]:
        """What it is, how large, and how it came about; JSON values."""
        model, source, target = self._fitted()
        return {
            "task": "translation",
            "model": describe(self.config),
            "symbols": {"kind": target.kind, "number": target.num_symbols},
            "source_symbols": {"kind": source.kind, "number": source.num_symbols},
            "joint": self.is_joint,
            "parameters": num_parameters(model),
            "length_rule": asdict(self.length_rule),
            "fingerprint": model.fingerprint(),
            "training": self.training,
        }

    def _fitted(self) -> tuple[SequenceModel, Vocabulary, Vocabulary]:
        if self.model is None or self.vocabulary is None or self.source_vocabulary is None:
            raise ConfigError("this translator is not fitted yet: call fit, or load one")
        return self.model, self.source_vocabulary, self.vocabulary

    def _alphabets(self) -> tuple[Vocabulary, Vocabulary]:
        if self.vocabulary is None or self.source_vocabulary is None:
            raise ConfigError("there are no symbols yet: call fit")
        return self.source_vocabulary, self.vocabulary

    def _boundaries(self) -> PairBoundaries:
        source, target = self._alphabets()
        return PairBoundaries(source.boundary, target.boundary)

    # ---- on disk --------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the translator as a folder, whole or not at all.

        Raises:
            OutputError: something stands there already, or there is no room for it.
        """
        model, source, target = self._fitted()
        storage.save(
            Path(path),
            config={
                "task": "translation",
                "model": describe(self.config),
                "joint": self.is_joint,
                "length_rule": asdict(self.length_rule),
            },
            documents={
                "symbols": target.to_json(),
                "source_symbols": source.to_json(),
                "training": self.training,
            },
            modules={"model": model},
            overwrite=overwrite,
        )

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, classes: Iterable[type] = (), device: str | None = None
    ) -> Self:
        """The translator that `save` wrote.

        Raises:
            ModelError: no model, a damaged one, one of a newer version, or of another task.
        """
        path = Path(path)
        config = storage.read_config(path, task="translation")
        target = vocabulary_from_json(storage.read_document(path, "symbols"))
        source = target
        if not config["joint"]:
            source = vocabulary_from_json(storage.read_document(path, "source_symbols"))
        given = restore(config["model"], classes)
        if not isinstance(given, Seq2Seq):
            raise ModelError(f"{path} holds a {given.family} model, which answers to no source")
        found = cls(
            given,
            symbols=target,
            source_symbols=None if config["joint"] else source,
            joint=config["joint"],
            device=device,
        )
        found.length_rule = LengthRule(**config["length_rule"])
        model = found._built(0)  # the weights made here are replaced at once
        storage.read_weights(path, {"model": model})
        found.model = model.to(found._device).eval()
        found.training = storage.read_document(path, "training")
        return found
