"""`seriatim report`: the page of a comparison, with how far back its models look."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.fit_request import ReadingOptions
from seriatim.cli.output import Flag, Reporter, use_threads
from seriatim.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from seriatim.comparison.result import ModelComparison
    from seriatim.tasks.language_model import LanguageModel

_LIMIT = 20_000


def report(
    folder: Path,
    text: Path | None = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    models: str | None = None,
    limit: int | None = None,
    reading: ReadingOptions | None = None,
    format: str | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
) -> None:
    """Write the page of a comparison again, with how far back its models look on a text.

    With a text, every model that was kept gets its effective context (by kind of symbol, with
    shuffled and replaced pasts, gradients through time) and its robustness. They are kept beside
    the models, and a report without a text shows those that are there.

    Args:
        folder: what `seriatim compare --out` wrote.
        text: a text that no model was trained on; a file or a folder.
        out: the page. [FOLDER/report.html]
        models: names of the models to measure on the text, such as lstm,markov. [all models]
        limit: about so many symbols are looked at. [20,000]
        format: of the files, instead of what their endings say.
        encoding: of the files.
        threads: of the processor; all cores if not given.
        quiet: no progress.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} leaves nothing to look at: give 1 or more")
    if text is None and (models is not None or limit is not None):
        raise ConfigError("--models and --limit are of what is measured on a text: give a text")
    use_threads(threads)
    from seriatim.comparison.page import compare_report
    from seriatim.comparison.result import ModelComparison

    found = ModelComparison.load(folder)
    if text is not None:
        reading, voice = reading or ReadingOptions(), Reporter(is_quiet=quiet)
        for name in _chosen(found, models):
            lm = found.model(name)
            source = reading.opened(text, sequences=lm.sequences, format=format, encoding=encoding)
            _measure(folder, name, lm, source, limit or _LIMIT, voice)
    names = [m["name"] for m in found.to_json()["models"]]
    contexts, robustness = (_kept(folder, kind, names) for kind in ("context", "robustness"))
    page = compare_report(found.to_json(), contexts=contexts, robustness=robustness)
    print(page.write(out or folder / "report.html"))


def _chosen(found: "ModelComparison", models: str | None) -> list[str]:
    """The models that were kept, or those that were asked for."""
    kept = [m["name"] for m in found.to_json()["models"] if m.get("folder")]
    asked = kept if models is None else [name.strip() for name in models.split(",")]
    for name in asked:
        if name not in kept:
            raise ConfigError(f"--models: there is no model {name} here: {', '.join(kept)}")
    return asked


def _measure(
    folder: Path, name: str, lm: "LanguageModel", source: Any, limit: int, voice: Reporter
) -> None:
    def told(doing: str) -> Callable[[float], None]:
        return lambda share: voice.counted(f"{name}: {doing}: {share:.0%}")

    voice.say(f"{name}: looking back")
    looked = lm.effective_context(
        source,
        categories=True,
        shuffled=True,
        replaced=True,
        gradients=True,
        limit=limit,
        progress=told("looking back"),
    )
    _keep(folder, "context", name, looked.to_json())
    voice.say(f"{name}: damaging")
    damaged = lm.robustness(source, limit=limit, progress=told("damaging"))
    _keep(folder, "robustness", name, damaged.to_json())
    voice.done()


def _file(folder: Path, kind: str, name: str) -> Path:
    from seriatim.comparison.store import slug

    return folder / kind / f"{slug(name)}.json"


def _keep(folder: Path, kind: str, name: str, record: dict[str, Any]) -> None:
    path = _file(folder, kind, name)
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def _kept(folder: Path, kind: str, names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """What was measured of the models, now or before."""
    paths = {name: _file(folder, kind, name) for name in names}
    return [
        (name, json.loads(path.read_text(encoding="utf-8")))
        for name, path in paths.items()
        if path.is_file()
    ]
