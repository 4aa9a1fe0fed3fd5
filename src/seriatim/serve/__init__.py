"""A server of fitted models: completions, scores, labels, translations, sessions, and a page."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.serve.app import make_app as make_app
    from seriatim.serve.keys import Keys as Keys
    from seriatim.serve.served import Served as Served
    from seriatim.serve.served import load_models as load_models
    from seriatim.serve.settings import ServeSettings as ServeSettings

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "app": ["make_app"],
        "keys": ["Keys"],
        "served": ["Served", "load_models"],
        "settings": ["ServeSettings"],
    },
)
