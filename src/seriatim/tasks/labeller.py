"""The labeller: one label for each sequence, or one for each of its elements.

It binds an encoder to labelled text and calls the functions of data, train and evaluate; it
never asks which encoder it has. Probabilities are calibrated: after training, one temperature
is fitted on the validation part (Guo et al. 2017, 4.2).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from seriatim.core.batch import Batch
from seriatim.data.batches.examples import Example, ExampleBatches, ExamplePass, pad
from seriatim.data.labels import LabelSet, check_labelled, open_labelled
from seriatim.data.pairs import PairData, Pairs, split_pairs
from seriatim.data.vocab.fit import fit_vocabulary, vocabulary_from_json
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import ConfigError, ModelError
from seriatim.metrics.error_rates import calibration, fit_temperature, label_errors
from seriatim.metrics.size import num_parameters
from seriatim.models.build import build_labeller
from seriatim.models.options.encoder_decoder import EncoderConfig
from seriatim.models.options.registry import configure_encoder, used_options
from seriatim.tasks import storage
from seriatim.tasks.base import Say, Shares, open_parts
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import seeded, train
from seriatim.train.options import TrainingOptions, configure_training

if TYPE_CHECKING:
    from seriatim.models.readouts import ElementLabels, SequenceLabels

ROWS = 64  # labelled at once
# Where every label of the validation part is right, its likelihood asks for a temperature of 0.
LEAST_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Labelled:
    """The label of a sequence, or of one element.

    Attributes:
        label: the most probable one.
        probability: calibrated.
        others: the next most probable, with their probabilities.
    """

    label: str
    probability: float
    others: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class LabelScore:
    """How well labels are predicted.

    Attributes:
        accuracy: share of right labels.
        macro_f1: the mean of the F1 of all labels, rare ones counting like frequent ones.
        nats: mean of -ln p(right label), calibrated.
        calibration_error: mean distance of probability and share of right labels (15 bins).
        num_labelled: labels compared.
        labels: the names of the rows and columns of `confusion`.
        confusion: how often each label (row) was given each label (column).
    """

    accuracy: float
    macro_f1: float
    nats: float
    calibration_error: float
    num_labelled: int
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


class Labeller:
    """A labeller of sequences or of elements: fit, label, evaluate, save.

    Attributes:
        config: of the encoder.
        symbols: the alphabet; None before fitting.
        labels: the labels; None before fitting.
        model: None before fitting.
        training: the record of how it came about, JSON values.
    """

    def __init__(
        self,
        model: EncoderConfig | str = "lstm",
        *,
        symbols: str = "char",
        min_count: int = 1,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration of an encoder, or "transformer", "rnn", "lstm" or "gru" for its
                defaults.
            symbols: "byte", "char", "nfd" (letters and accents apart), "word" or "bpe:N";
                labelled elements are always "word".
            min_count: characters or words seen fewer times in training become `<unk>`.
            device: where to compute; None: a GPU if there is one.
        """
        self.config = configure_encoder(model) if isinstance(model, str) else model
        self.training: dict[str, Any] = {}
        self.vocabulary: Vocabulary | None = None
        self.labels: LabelSet | None = None
        self.model: SequenceLabels | ElementLabels | None = None
        self.temperature = 1.0
        self._spec, self._min_count = symbols, min_count
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    # ---- fitting --------------------------------------------------------------------------------

    def fit(
        self,
        data: PairData,
        *,
        valid: PairData | None = None,
        test: PairData | None = None,
        split: Shares = (0.8, 0.1, 0.1),
        options: TrainingOptions | None = None,
        callbacks: Callbacks | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Self:
        """Fit to labelled sequences; see `open_labelled` for where they come from.

        Args:
            data: for training.
            valid: for early stopping and calibration; without it a part is split off.
            test: for the final figures; likewise.
            split: shares of train, validation and test where they are split off.
            options: of training; None: what suits most data.
            callbacks: functions to be called while it is fitted.
            checkpoints: where the run is kept, so that it may be cut short and gone on with.
        """
        began = time.perf_counter()
        callbacks = callbacks or Callbacks()
        say = callbacks.log
        options = options or self.training_options({})
        given = {"train": data, "valid": valid, "test": test}
        parts, record = open_parts(given, split, open_labelled, split_pairs)
        # A label so rare that a split leaves it to the test is no mistake in the data.
        whole = parts["train"] if record is None else open_labelled(data)
        self.labels = LabelSet.of(whole)
        if record is not None:
            _say_untrained(self.labels, LabelSet.of(parts["train"]), say)
        for part in parts.values():
            check_labelled(part, self.labels)
        say("choosing symbols")
        is_element = self.labels.per == "element"
        self.vocabulary = fit_vocabulary(
            "word" if is_element else self._spec,
            parts["train"].sources.texts(),
            sequences="document",
            min_count=self._min_count,
            is_only_read=True,
        )
        self._build(options.seed)
        examples = {name: self._examples(part) for name, part in parts.items()}
        model, labels = self._fitted()[0], self.labels
        source = ExampleBatches(
            examples["train"],
            batch_size=options.batch_size,
            seed=options.seed,
            token_budget=options.token_budget,
        )
        passes = {n: ExamplePass(e, batch_size=ROWS) for n, e in examples.items() if n != "train"}
        history = train(
            model,
            source,
            passes.get("valid"),
            options,
            callbacks=callbacks,
            checkpoints=self._kept(checkpoints, parts),
        )
        self.training = {
            "data": {name: {"sequences": len(e)} for name, e in examples.items()},
            "split": record,
            "labels": len(labels.names),
            "fit": history.to_json(),
        }
        if "valid" in parts:
            say("calibrating on the validation part")
            fitted = fit_temperature(*self._logits(parts["valid"]))
            self.temperature = max(fitted, LEAST_TEMPERATURE)
        self.training["temperature"] = self.temperature
        for name in passes:
            self.training[name] = self.evaluate(parts[name]).to_json()
        self.training["seconds"] = time.perf_counter() - began
        return self

    def training_options(self, given: Mapping[str, Any]) -> TrainingOptions:
        """Training options: those given, then what suits a labeller, then the defaults."""
        recipe = dict(self.config.labelling_recipe)
        if any(name in given for name in ("steps", "minutes")):
            recipe.pop("epochs")
        return configure_training({**recipe, **given})

    def _kept(self, asked: Checkpoints | None, parts: Mapping[str, Pairs]) -> Checkpoints | None:
        if asked is None:
            return None
        model = {
            "task": "labelling",
            "encoder": used_options(self.config),
            "symbols": [self._spec, self._min_count],
        }
        data = {name: part.fingerprint() for name, part in parts.items()}
        return replace(asked, model=model, data=data)

    def _build(self, seed: int) -> None:
        symbols, labels = self.vocabulary, self.labels
        if symbols is None or labels is None:
            raise ConfigError("this labeller is not fitted yet: call fit, or load one")
        with seeded(torch.device("cpu"), seed):
            model = build_labeller(self.config, symbols.num_symbols, len(labels.names), labels.per)
        self.model = model.to(self._device)

    def _examples(self, pairs: Pairs) -> list[Example]:
        labels = self._fitted()[2]
        found = []
        for text, label in pairs.pairs():
            y = torch.tensor(labels.numbers(label))
            found.append(Example(y, y, source=self._source(text)))
        return found

    def _source(self, text: Text) -> Tensor:
        """The symbols of a text, and the boundary behind them."""
        symbols = self._fitted()[1]
        return torch.from_numpy(np.append(symbols.encode(text), symbols.boundary).astype(np.int64))

    def _fitted(self) -> "tuple[SequenceLabels | ElementLabels, Vocabulary, LabelSet]":
        if self.model is None or self.vocabulary is None or self.labels is None:
            raise ConfigError("this labeller is not fitted yet: call fit, or load one")
        return self.model, self.vocabulary, self.labels

    # ---- using ----------------------------------------------------------------------------------

    def label(
        self, texts: Sequence[Text], *, k: int = 3, progress: Callable[[int], None] | None = None
    ) -> list[Labelled] | list[list[Labelled]]:
        """The label of each sequence, or the labels of its elements, in the order given.

        Args:
            texts: what is labelled; lists of elements, or words parted by spaces, where elements
                have labels.
            k: how many labels to show in all.
            progress: called with the number of sequences labelled so far.
        """
        _, _, labels = self._fitted()
        rows = self._probabilities(texts, progress)
        found = [[_shown(p, labels.names, k) for p in row] for row in rows]
        return [row[0] for row in found] if labels.per == "sequence" else found

    def evaluate(self, data: PairData) -> LabelScore:
        """How well the labels of labelled sequences are predicted.

        Raises:
            DataError: nothing there, or a label that training did not have.
        """
        labels = self._fitted()[2]
        pairs = open_labelled(data)
        check_labelled(pairs, labels)
        logits, truth = self._logits(pairs)
        log_probs = torch.from_numpy(logits / self.temperature).log_softmax(-1).numpy()
        names = labels.names
        best = [names[i] for i in log_probs.argmax(-1)]
        errors = label_errors(best, [names[i] for i in truth], names)
        return LabelScore(
            accuracy=errors.accuracy,
            macro_f1=errors.macro_f1,
            nats=float(-log_probs[np.arange(len(truth)), truth].mean()),
            calibration_error=calibration(np.exp(log_probs), truth).error,
            num_labelled=len(truth),
            labels=names,
            confusion=tuple(tuple(int(n) for n in row) for row in errors.confusion),
        )

    def _logits(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """(N, C) scores of every label of every target, before calibration, and the truth (N,)."""
        labels = self._fitted()[2]
        texts, truth = [], []
        for text, label in pairs.pairs():
            texts.append(text)
            truth.extend(labels.numbers(label))
        return np.concatenate(self._rows(texts, None)), np.array(truth)

    def _probabilities(
        self, texts: Sequence[Text], progress: Callable[[int], None] | None
    ) -> list[Tensor]:
        rows = self._rows(texts, progress)
        return [torch.from_numpy(row / self.temperature).softmax(-1) for row in rows]

    @torch.inference_mode()
    def _rows(
        self, texts: Sequence[Text], progress: Callable[[int], None] | None
    ) -> list[np.ndarray]:
        """For each text the scores (L, C) of its labels, float64; the longest are read first."""
        model, _, labels = self._fitted()
        sources = [self._source(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: -len(sources[i]))
        found: list[np.ndarray] = [np.empty(0)] * len(texts)
        for begin in range(0, len(order), ROWS):
            chosen = order[begin : begin + ROWS]
            x, lengths = pad([sources[i] for i in chosen])
            x = x.to(model.device)
            rows = model.emit(model.features(Batch(x, x, lengths))).logits.double().cpu().numpy()
            for i, row in zip(chosen, rows, strict=True):
                length = 1 if labels.per == "sequence" else len(sources[i]) - 1
                found[i] = row[:length]
            if progress is not None:
                progress(begin + len(chosen))
        return found

    def info(self) -> dict[str, Any]:
        """What it is, how large, and how it came about; JSON values."""
        model, symbols, labels = self._fitted()
        return {
            "task": "labelling",
            "encoder": used_options(self.config),
            "per": labels.per,
            "labels": list(labels.names),
            "symbols": {"kind": symbols.kind, "number": symbols.num_symbols},
            "parameters": num_parameters(model),
            "training": self.training,
        }

    # ---- on disk --------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the labeller as a folder, whole or not at all.

        Raises:
            OutputError: something stands there already, or there is no room for it.
        """
        model, symbols, labels = self._fitted()
        storage.save(
            Path(path),
            config={
                "task": "labelling",
                "encoder": used_options(self.config),
                "per": labels.per,
                "labels": list(labels.names),
                "temperature": self.temperature,
            },
            documents={"symbols": symbols.to_json(), "training": self.training},
            modules={"model": model},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | None = None) -> Self:
        """The labeller that `save` wrote.

        Raises:
            ModelError: no labeller, a damaged one, or one of a newer version.
        """
        path = Path(path)
        config = storage.read_config(path)
        if config.get("task") != "labelling":
            raise ModelError(f"{path} holds a model for {config.get('task')}, not a labeller")
        found = cls(EncoderConfig(**config["encoder"]), device=device)
        found.vocabulary = vocabulary_from_json(storage.read_document(path, "symbols"))
        found.labels = LabelSet(tuple(config["labels"]), config["per"])
        found.temperature = config["temperature"]
        found._build(0)
        model = found._fitted()[0]
        storage.read_weights(path, {"model": model})
        model.eval()
        found.training = storage.read_document(path, "training")
        return found


def _say_untrained(labels: LabelSet, trained: LabelSet, say: Say) -> None:
    only = [name for name in labels.names if name not in trained.names]
    if only:
        shown = ", ".join(only[:4]) + (" .." if len(only) > 4 else "")
        say(
            f"no sequence labelled {shown} fell to training, so none will be found: give more of "
            "them, or valid and test parts of your own"
        )


def _shown(p: Tensor, names: Sequence[str], k: int) -> Labelled:
    values, index = p.topk(min(k, len(names)))
    found = [(names[i], float(v)) for v, i in zip(values, index.tolist(), strict=True)]
    return Labelled(*found[0], tuple(found[1:]))
