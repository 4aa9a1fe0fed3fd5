"""The models of a server: their names, and the one that a request means.

A model is known by its task, language model, translator or labeller, and by what the task can do;
never by its family.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from seriatim.core.model import SequenceModel
from seriatim.data.vocab.vocabulary import END, LINE_END, Ids, Text, Vocabulary
from seriatim.errors import ConfigError
from seriatim.serve.refusals import MODEL_MISSING, RefusalError, bad
from seriatim.tasks.base import AnyTask
from seriatim.tasks.labeller import Labeller
from seriatim.tasks.language_model import LanguageModel
from seriatim.tasks.registry import load
from seriatim.tasks.translator import Translator

TaskT = TypeVar("TaskT", bound=AnyTask)

_NAME = re.compile(r"[^=/\\]+(?==)")


@dataclass(frozen=True)
class ServedText:
    """A language model as the routes need it: its symbols, their strings, its sequences.

    Attributes:
        name: the name by which clients ask for it.
        lm: the language model.
        model: its model.
        vocabulary: its vocabulary.
    """

    name: str
    lm: LanguageModel
    model: SequenceModel
    vocabulary: Vocabulary

    @property
    def end(self) -> int | None:
        """The symbol that ends a sequence; None: sequences are streams, which do not end."""
        return None if self.lm.sequences == "stream" else self.vocabulary.boundary

    @property
    def end_text(self) -> str:
        """The text that stands for the boundary: alone in `/tokenize`, it is that symbol."""
        return END if self.vocabulary.is_document else LINE_END

    @cached_property
    def strings(self) -> list[str]:
        """(V,) the string of each symbol, all different: its text, or `token_id:N` without one."""
        texts = self.vocabulary.texts(np.arange(self.vocabulary.num_symbols))
        seen: set[str] = set()
        strings = []
        for i, text in enumerate(texts):
            is_clear = text and "\ufffd" not in text and text not in seen
            strings.append(text if is_clear else f"token_id:{i}")
            seen.add(text)
        return strings

    def encode(self, text: Text) -> Ids:
        """The symbols of a text of a prompt."""
        return self.vocabulary.encode_prompt(text)

    def check_ids(self, ids: Sequence[int], param: str) -> Ids:
        """Ids that a client gave.

        Raises:
            RefusalError: if one is not a symbol of this model.
        """
        array = np.asarray(ids, np.int64).reshape(-1)
        if array.size and array.max() >= self.vocabulary.num_symbols:
            number = self.vocabulary.num_symbols
            raise bad(f"{param}: the ids of this model are 0 to {number - 1}", param)
        return array

    def texts(self, given: Sequence[Text], param: str) -> list[Text]:
        """Texts that a client gave, each with what is a list of events to this model.

        Raises:
            RefusalError: if one is a list and the model has no events or words.
        """
        for text in given:
            if not isinstance(text, str) and self.vocabulary.kind != "word":
                raise bad(f"{param}: this model reads texts, not lists of events", param)
        return list(given)


class Served:
    """The models of a server, by name; the first is what a request means that names none."""

    def __init__(self, tasks: dict[str, AnyTask]) -> None:
        self.tasks = tasks
        self._texts = {
            name: ServedText(name, task, *task._fitted())
            for name, task in tasks.items()
            if isinstance(task, LanguageModel)
        }

    def __iter__(self) -> Iterator[tuple[str, AnyTask]]:
        return iter(self.tasks.items())

    def text(self, name: str | None) -> ServedText:
        """The language model of this name; None: the first."""
        return self._texts[self._find(name, LanguageModel)]

    @property
    def texts(self) -> list[ServedText]:
        """All language models."""
        return list(self._texts.values())

    def task(self, name: str | None, cls: type[TaskT]) -> TaskT:
        """The task of this name and kind; None: the first of the kind.

        Raises:
            RefusalError: if there is none, or it is of another kind.
        """
        task = self.tasks[self._find(name, cls)]
        assert isinstance(task, cls)
        return task

    def any(self, name: str | None) -> AnyTask:
        """The task of this name, of any kind; None: the first."""
        return self.tasks[self._find(name, object)]

    def _find(self, name: str | None, cls: type) -> str:
        if name is None:
            fitting = [key for key, task in self.tasks.items() if isinstance(task, cls)]
            if fitting:
                return fitting[0]
        elif name not in self.tasks:
            raise RefusalError(
                404,
                "there is no model of this name: /v1/models lists them",
                param="model",
                code=MODEL_MISSING,
            )
        elif isinstance(self.tasks[name], cls):
            return name
        noun = getattr(cls, "noun", "a model")
        raise RefusalError(
            404, f"this needs {noun}: /v1/models lists what is served", param="model"
        )

    def listed(self, created: int) -> list[dict[str, Any]]:
        """What `/v1/models` says of each."""
        return [{"id": name, **_facts(task), "created": created} for name, task in self]


def _facts(task: AnyTask) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "object": "model",
        "owned_by": "seriatim",
        "task": task.name,
        "description": task.headline(),
    }
    if isinstance(task, LanguageModel):
        model, symbols = task._fitted()
        facts |= {
            "symbols": symbols.kind,
            "num_symbols": symbols.num_symbols,
            "sequences": task.sequences,
            "reads_events": symbols.is_events,
            "reach": model.reach,
            "threshold_bits": None if task.alarm is None else task.alarm.bits,
        }
    return facts


def load_models(
    places: Sequence[str], prepare: Callable[[AnyTask], AnyTask] = lambda task: task
) -> Served:
    """The models in folders.

    Args:
        places: folders, or NAME=FOLDER; without a name a model has that of its folder.
        prepare: what is done to each once it is loaded.

    Raises:
        ConfigError: if two have one name, or one is of a task that is not served.
    """
    tasks: dict[str, AnyTask] = {}
    for place in places:
        named = _NAME.match(place)
        name = named[0] if named else Path(place).resolve().name
        folder = Path(place[len(name) + 1 :] if named else place)
        if name in tasks:
            raise ConfigError(f"two models are called {name}: give one as NAME={folder}")
        task: AnyTask = load(folder)
        if not isinstance(task, LanguageModel | Translator | Labeller):
            raise ConfigError(
                f"{folder} holds a model of the task {task.name!r}: serve takes language models, "
                "translators and labellers"
            )
        tasks[name] = prepare(task)
    return Served(tasks)
