"""The contract with OpenAI's own client, unchanged, and a server started as a user starts it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.served_process import served
from tests.serve.running import language_model

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow
KEY = "a-key-of-the-acceptance-test"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("served")
    keys = folder / "keys"
    keys.write_text(KEY + "\n")
    keys.chmod(0o600)
    tasks = {name: language_model(name) for name in ("lstm", "markov", "transformer")}
    with (
        served(tasks, folder, "--api-key-file", str(keys)) as process,
        openai.OpenAI(base_url=f"{process.address}/v1", api_key=KEY, max_retries=0) as one,
    ):
        yield one


def test_models_are_listed(client: Any) -> None:
    assert [m.id for m in client.models.list()] == ["lstm", "markov", "transformer"]
    assert client.models.retrieve("markov").object == "model"


@pytest.mark.parametrize("name", ["lstm", "markov", "transformer"])
def test_completions_are_those_of_python(client: Any, name: str) -> None:
    answer = client.completions.create(
        model=name,
        prompt=["the c", "a "],
        n=2,
        seed=5,
        max_tokens=15,
        temperature=0.8,
        extra_body={"top_k": 7, "min_p": 0.01},
    )
    expected = language_model(name).generate(
        ["the c", "a "], 15, samples=2, seed=5, temperature=0.8, top_k=7, min_p=0.01
    )
    prompts = ["the c", "the c", "a ", "a "]
    texts = [p + c.text for p, c in zip(prompts, answer.choices, strict=True)]
    assert texts == [text for some in expected for text in some]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("name", ["lstm", "markov", "transformer"])
def test_a_stream_says_the_same(client: Any, name: str) -> None:
    options = {"model": name, "prompt": "once ", "seed": 2, "max_tokens": 20, "logprobs": 3}
    whole = client.completions.create(**options)
    chunks = list(
        client.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    said = [chunk.choices[0] for chunk in chunks[:-1]]
    assert "".join(choice.text for choice in said) == whole.choices[0].text
    tokens = [token for choice in said for token in choice.logprobs.tokens]
    assert tokens == whole.choices[0].logprobs.tokens
    assert said[-1].finish_reason == whole.choices[0].finish_reason


def test_echo_offsets_point_at_the_symbols(client: Any) -> None:
    (choice,) = client.completions.create(
        model="lstm", prompt="the cat", echo=True, logprobs=0, max_tokens=5, seed=1
    ).choices
    found = choice.logprobs
    assert choice.text.startswith("the cat") and found.token_logprobs[0] is None
    for token, at in zip(found.tokens, found.text_offset, strict=True):
        is_named = token == "\n" or token.startswith("token_id:")  # the end, and what is unknown
        assert is_named or choice.text[at : at + len(token)] == token


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "none", "prompt": "a"}, "NotFoundError"),
        ({"model": "lstm", "prompt": "a", "n": 0}, "BadRequestError"),
        ({"model": "lstm", "prompt": "a", "max_tokens": 10**6}, "BadRequestError"),
        ({"model": "lstm", "prompt": "a", "suffix": "b"}, "BadRequestError"),
    ],
)
def test_refusals_are_the_clients_errors(client: Any, options: Any, error: str) -> None:
    with pytest.raises(getattr(openai, error)) as refused:
        client.completions.create(**options)
    assert refused.value.body["message"]


def test_a_wrong_key_and_chat_are_refused(client: Any) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="/v1/completions"):
        client.chat.completions.create(model="lstm", messages=[{"role": "user", "content": "a"}])


def test_the_command_refuses_what_it_cannot_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from seriatim.cli import main

    language_model("markov").save(tmp_path / "a")
    assert main(["serve", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    assert "two models are called a" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "none")]) == 4
    assert main(["serve", str(tmp_path / "a"), "--port", "99999"]) == 2
