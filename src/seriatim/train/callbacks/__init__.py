"""Callbacks of training: progress and history, logs, TensorBoard, loss curves, the monitor."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.train.callbacks.callbacks import CallbackError as CallbackError
    from seriatim.train.callbacks.callbacks import Callbacks as Callbacks
    from seriatim.train.callbacks.callbacks import StopTraining as StopTraining
    from seriatim.train.callbacks.history import Evaluation as Evaluation
    from seriatim.train.callbacks.history import History as History
    from seriatim.train.callbacks.history import Progress as Progress
    from seriatim.train.callbacks.history import TrainingStep as TrainingStep
    from seriatim.train.callbacks.log import JsonLines as JsonLines
    from seriatim.train.callbacks.log import call_all as call_all
    from seriatim.train.callbacks.loss_curve import draw_losses as draw_losses
    from seriatim.train.callbacks.monitor import Monitor as Monitor
    from seriatim.train.callbacks.tensorboard import TensorBoard as TensorBoard

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "callbacks": ["CallbackError", "Callbacks", "StopTraining"],
        "history": ["Evaluation", "History", "Progress", "TrainingStep"],
        "log": ["JsonLines", "call_all"],
        "loss_curve": ["draw_losses"],
        "monitor": ["Monitor"],
        "tensorboard": ["TensorBoard"],
    },
)
