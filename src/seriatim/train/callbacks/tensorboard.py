"""A log of training for TensorBoard.

Knows the progress of a run and torch's writer of event files; knows no model. The package
`tensorboard` is imported only when a log is created.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from seriatim.errors import MissingExtraError
from seriatim.train.callbacks.history import Progress

_CURVES = ("train_nats", "valid_nats", "learning_rate", "gradient_norm", "tokens_per_second")


class TensorBoard:
    """A progress callback that writes event files; use it in a `with`, or close it."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: the folder of the event files, created at the first write.

        Raises:
            MissingExtraError: if `tensorboard` is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "a log for TensorBoard needs the package tensorboard: pip install tensorboard"
            ) from None
        self._make: Callable[..., Any] = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def __call__(self, progress: Progress) -> None:
        """Write a point of each curve, under its name in `Progress`; losses are nats per symbol."""
        if self._writer is None:
            # In a resumed run, what was written after its last checkpoint is dropped.
            purge = progress.step + 1 if progress.step else None
            self._writer = self._make(str(self._folder), purge_step=purge)
        for name in _CURVES:
            value = getattr(progress, name)
            if value is not None and (progress.is_evaluation or name != "valid_nats"):
                self._writer.add_scalar(name, value, progress.step)
        for note in progress.notes:
            self._writer.add_text("notes", note, progress.step)
        if progress.is_evaluation:
            self._writer.flush()

    def close(self) -> None:
        """Write what is pending, and close the files."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
