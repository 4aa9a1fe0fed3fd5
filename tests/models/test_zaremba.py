"""The word models of Zaremba et al. 2014, section 4.1: sizes, schedule, training, one command."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.cli import main
from seriatim.errors import ConfigError
from seriatim.models import configure
from seriatim.models.build import build_model
from seriatim.models.recurrent import Recurrent
from seriatim.tasks.language_model import LanguageModel
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions
from seriatim.train.schedule import make_schedule

V, BOUNDARY = 11, 1


def recipe(preset: str, **given: Any) -> TrainingOptions:
    lm = LanguageModel(configure("lstm", {}, preset=preset))
    return lm.training_options(given, preset=preset)


# ---- the recipe ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "epochs", "full", "factor", "length"),
    [("zaremba-small", 13, 4, 1 / 2, 20), ("zaremba-medium", 39, 6, 1 / 1.2, 35)],
)
def test_the_rate_of_every_epoch_is_the_papers(
    preset: str, epochs: int, full: int, factor: float, length: int
) -> None:
    """1 for the first epochs, then divided after each; ours is of a mean over `length` steps."""
    options = recipe(preset)
    assert (options.epochs, options.batch_size, options.length) == (epochs, 20, length)
    per_epoch = 50
    schedule = make_schedule(options, epochs * per_epoch, per_epoch)
    for epoch in range(1, epochs + 1):
        theirs = factor ** max(0, epoch - full)
        for step in ((epoch - 1) * per_epoch, epoch * per_epoch - 1):
            assert schedule.rate(step) / length == pytest.approx(theirs, rel=1e-12)
    assert options.clip is not None
    assert options.clip * length == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("preset", "num_parameters", "bound"),
    [("zaremba-small", 4_653_200, 0.1), ("zaremba-medium", 19_780_400, 0.05)],
)
def test_the_models_have_the_papers_sizes(preset: str, num_parameters: int, bound: float) -> None:
    """V D + 2 (8 D^2 + 8 D) + V D + V for V = 10,000: torch has two biases where one would do."""
    config = configure("lstm", {}, preset=preset)
    model = build_model(config, 10_000, 1)
    assert sum(p.numel() for p in model.parameters()) == num_parameters
    assert max(float(p.detach().abs().max()) for p in model.parameters()) <= bound * (1 + 1e-6)


def test_a_budget_or_another_optimizer_replaces_the_presets() -> None:
    assert recipe("zaremba-small", steps=7).epochs is None
    assert recipe("zaremba-small", optimizer="adamw", schedule="cosine").learning_rate is None
    assert recipe("zaremba-small", learning_rate=10.0).learning_rate == 10.0
    with pytest.raises(ConfigError, match="zaremba-small, zaremba-medium"):
        configure("lstm", {}, preset="zaremba-large")


# ---- the training -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """Symbols with some order in them."""

    tokens: NDArray[Any]
    is_stream: bool = True
    offsets: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", np.array([0, len(self.tokens)]))


def as_the_paper_writes_it(
    model: nn.Module, embed: nn.Embedding, lstm: nn.LSTM, head: nn.Linear, tokens: Tensor
) -> tuple[list[float], int]:
    """13 epochs of plain SGD over 20 parts of the stream, 20 steps at a time.

    The loss is summed over the steps and divided by the batch size; the norm of its gradient is
    at most 5; the state goes on from batch to batch and begins with zeros in every epoch.

    Returns:
        The loss of every step, and how often the gradient was too long.
    """
    stream = torch.cat([torch.tensor([BOUNDARY]), tokens])
    per_part = (len(stream) - 1) // 20
    x = stream[:-1].view(20, per_part)
    y = stream[1:].view(20, per_part)
    losses, num_clipped = [], 0
    for epoch in range(1, 14):
        rate = 1.0 if epoch <= 4 else 0.5 ** (epoch - 4)
        state = None
        for i in range(0, per_part, 20):
            outputs, state = lstm(embed(x[:, i : i + 20]), state)
            state = (state[0].detach(), state[1].detach())
            logits = head(outputs).flatten(0, 1)
            loss = F.cross_entropy(logits, y[:, i : i + 20].flatten(), reduction="sum") / 20
            model.zero_grad()
            loss.backward()
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), 5.0))
            num_clipped += norm > 5.0
            with torch.no_grad():
                for p in model.parameters():
                    if p.grad is not None:
                        p -= rate * p.grad
            losses.append(float(loss.detach()))
    return losses, num_clipped


def test_thirteen_epochs_end_with_the_weights_of_a_plain_loop_of_the_paper() -> None:
    tokens = np.random.default_rng(0).integers(0, V, 800)
    tokens[1::2] = (tokens[::2] * 3 + 1) % V
    config = configure("lstm", {"hidden_size": 12}, preset="zaremba-small")
    torch.manual_seed(0)
    ours = build_model(config, V, BOUNDARY).double()
    assert isinstance(ours, Recurrent)
    embed, head = nn.Embedding(V, 12), nn.Linear(12, V)
    lstm = nn.LSTM(12, 12, 2, batch_first=True)
    plain = nn.ModuleList([embed, lstm, head]).double()
    with torch.no_grad():
        for theirs, mine in zip(plain.parameters(), ours.parameters(), strict=True):
            mine.mul_(10)  # steep enough that gradients are clipped
            theirs.copy_(mine)
    losses, num_clipped = as_the_paper_writes_it(plain, embed, lstm, head, torch.tensor(tokens))
    assert 0 < num_clipped < len(losses) == 26
    history = fit(ours, Stream(tokens), None, recipe("zaremba-small", precision="float32"))
    assert history.steps_done == 26
    for theirs, mine in zip(plain.parameters(), ours.parameters(), strict=True):
        # torch clips to 5 / (norm + 1e-6), and our norm is a 20th of the paper's.
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)
    assert losses[-1] < 0.9 * losses[0]


# ---- one command --------------------------------------------------------------------------------


def test_one_command_trains_it_on_words_as_the_treebank_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream of words whose line ends are symbols; `<unk>` in the text is the unknown word."""
    lines = [" the <unk> of N years \n", " no <unk> said the man \n", " years of the man \n"]
    for name, repeats in (("train", 60), ("valid", 10), ("test", 10)):
        (tmp_path / name).write_text("".join(lines * repeats))
    out = tmp_path / "model"
    parts = [str(tmp_path / name) for name in ("train", "valid", "test")]
    model = ["-m", "lstm", "--preset", "zaremba-small", "--hidden-size", "8", "--symbols", "word"]
    where = ["--out", str(out), "--json", "--quiet"]
    main(["fit", parts[0], "--valid", parts[1], "--test", parts[2], *model, *where])
    record = json.loads(capsys.readouterr().out)
    fitted, trained = record["training"]["fit"], record["training"]["data"]["train"]
    # the <unk> of N years no said man, and the line end
    assert record["symbols"]["number"] == 9
    assert trained["symbols"] == 60 * 17
    assert fitted["options"]["learning_rate"] == 20.0
    assert fitted["options"]["epochs"] == 13
    assert fitted["carried"]
    assert fitted["steps_done"] == 13 * fitted["steps_per_epoch"]
    assert record["model"]["options"]["init_uniform"] == 0.1
