"""A server of a model of each kind, for all tests of a file."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serve.running import all_models, serving


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of a server of all models."""
    with serving(all_models()) as running:
        yield running
