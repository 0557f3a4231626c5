"""A model on an OpenAI-compatible server: what is sent, what is believed, and what becomes of a server that fails."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from node import images
from node.config import FindingsModelSection, ModelServer
from node.demo.phantom_dicom import drawn_dataset
from node.domain import Abilities, Likelihood, ModelImage, Question
from node.errors import ConfigurationError, ModelOutputError, ModelServerError, ModelServerRefused, NotAuthorised
from node.inference import model_server as http
from node.inference.api_key import ApiKey, api_key
from node.inference.circuit_breaker import CircuitBreaker
from node.inference.medgemma import MedGemma
from node.inference.openai_chat import OpenAIChat
from node.inference.probe import WORD
from node.inference.prompt_sets import load_findings_prompt
from node.interfaces import VisionLanguageModel
from tests.tools.chat_server import Answer, ChatServer, completion, logprobs, refusal, serving

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": False}
PORTABLE = {"model", "messages", "max_tokens", "temperature", "response_format", "logprobs", "top_logprobs"}
SECRET = "sk-do-not-tell"


def image(*, may_identify: bool = False) -> ModelImage:
    """Not square in its values, so that order and orientation are seen."""
    pixels = np.arange(48 * 48 * 3, dtype=np.uint32).reshape(48, 48, 3).astype(np.uint8)
    return ModelImage(
        pixels=pixels, sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="1.2.3.4.777",
        series_instance_uid="1.2.3.888", may_identify=may_identify)


def question(*content: ModelImage | str, schema: dict[str, Any] | None = None, system: str | None = None) -> Question:
    return Question(content=content or (image(), "Report."), max_new_tokens=60, json_schema=schema, system=system)


def able(body: dict[str, Any]) -> Answer:
    """A server as vLLM is: it obeys a schema, tells likelihoods, takes several images."""
    if body.get("logprobs"):
        return completion("Yes", logprobs=logprobs(Yes=-0.5, No=-1.5, maybe=-3.0, **{" yes": -2.5}))
    if schema := body.get("response_format", {}).get("json_schema", {}).get("schema"):
        key, values = next(iter(schema["properties"].items()))
        return completion(json.dumps({key: values["enum"][0]}))
    return completion("Hello.")


def plain(body: dict[str, Any]) -> Answer:
    """A server as ``transformers serve`` is: what it does not know it passes over."""
    return completion("Hello.")


def section(url: str, **server: Any) -> FindingsModelSection:
    return FindingsModelSection(backend="openai", url=url, checkpoint="tiny/model", server=ModelServer(
        **{"image_side": 48, "timeout_seconds": 5.0, "tries": 1} | server))


@contextmanager
def model(answer: Any = able, **server: Any) -> Iterator[tuple[OpenAIChat, ChatServer]]:
    with serving(answer) as chat:
        one = OpenAIChat.of(section(chat.url, **server), {"KEY": SECRET})
        one._server._pause = lambda seconds: None
        yield one, chat
        one.close()


def test_a_reply_is_what_the_server_wrote() -> None:
    with model() as (one, chat):
        asked: VisionLanguageModel = one
        reply = asked.ask(question(image(), "SLICE 1", image(), "Report.", system="Be brief."))
        (sent,) = chat.asked
    assert (reply.text, reply.truncated, reply.cost.prompt, reply.cost.written) == ("Hello.", False, 11, 7)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    kinds = [part["type"] for part in sent["messages"][1]["content"]]
    assert kinds == ["image_url", "text", "image_url", "text"]


def test_only_what_every_server_understands_is_sent() -> None:
    with model() as (one, chat):
        one.ask(question(schema=SCHEMA))
        one.likelihood_of_yes(question())
    assert set().union(*chat.asked) <= PORTABLE
    assert {body["temperature"] for body in chat.asked} == {0}


def test_an_image_travels_inside_the_request_with_every_pixel() -> None:
    with model() as (one, chat):
        one.ask(question())
    (part, _) = chat.asked[0]["messages"][0]["content"]
    scheme, _, content = part["image_url"]["url"].partition(",")
    assert scheme == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as received:
        assert received.info == {}
        np.testing.assert_array_equal(np.asarray(received), image().pixels)


def test_what_the_server_is_able_to_do_is_found_out_by_asking() -> None:
    with model() as (one, chat):
        assert one.abilities == Abilities(json_schema=True, logprobs=True, several_images=True)
        assert "held to JSON schema" in one.identity("00" * 32).engine
        one.ask(question(schema=SCHEMA))
        assert chat.asked[-1]["response_format"]["json_schema"]["schema"] == SCHEMA
    with model(plain) as (one, chat):
        assert one.abilities == Abilities(json_schema=False, logprobs=False, several_images=True)
        one.ask(question(schema=SCHEMA))
        assert "response_format" not in chat.asked[-1]
        with pytest.raises(ModelOutputError, match="does not tell"):
            one.likelihood_of_yes(question())


def test_a_server_for_one_image_is_known_as_such() -> None:
    def one_image(body: dict[str, Any]) -> Answer:
        many = sum(part["type"] == "image_url" for part in body["messages"][-1]["content"]) > 1
        return refusal(400, "At most 1 image(s) may be provided in one prompt.") if many else plain(body)

    with model(one_image) as (one, _):
        assert not one.abilities.several_images
        with pytest.raises(ModelServerRefused, match="At most 1 image"):
            one.ask(question(image(), image(), "Compare."))


def test_a_server_that_takes_no_image_is_refused() -> None:
    def blind(body: dict[str, Any]) -> Answer:
        seen = any(part["type"] == "image_url" for part in body["messages"][-1]["content"])
        return refusal(400, "not a multimodal model") if seen else plain(body)

    with model(blind) as (one, _), pytest.raises(ModelServerRefused, match="takes no images"):
        one.ask(question(schema=SCHEMA))


def test_a_probe_word_is_no_word() -> None:
    assert WORD not in ("yes", "no", "hello")


def test_the_likelihood_of_yes_is_against_no_in_any_spelling() -> None:
    with model() as (one, _):
        likely = one.likelihood_of_yes(question(image(), "Effusion?"))
    yes, no = np.exp(-0.5) + np.exp(-2.5), np.exp(-1.5)
    assert likely == Likelihood(yes=pytest.approx(yes / (yes + no)), cost=likely.cost)


@pytest.mark.parametrize(("answer", "error", "tells"), [
    (refusal(404, "The model `tiny/model` does not exist."), ModelServerRefused, "tiny/model` does not exist"),
    (refusal(401, "Unauthorized"), ModelServerRefused, "HTTP 401: Unauthorized"),
    (refusal(400, "This model's maximum context length is 32768 tokens."), ModelServerRefused, "32768 tokens"),
    ((307, b""), ModelServerRefused, "never followed"),
    ((422, b'{"detail":[{"loc":["body"],"input":"JANE DOE"}]}'), ModelServerRefused, "HTTP 422: no words"),
    (refusal(503, "loading"), ModelServerError, "HTTP 503: loading"),
    ((200, b"<html>It works!</html>"), ModelServerError, "is no JSON"),
    ((200, b"[]"), ModelServerError, "no JSON object"),
    ((200, b'{"choices": []}'), ModelServerError, "no chat completion"),
    ((200, b'{"choices": [7]}'), ModelServerError, "no chat completion"),
    ((200, b"[" * 200_000), ModelServerError, "is no JSON"),
    ((200, b" " * (http.LONGEST_ANSWER + 1)), ModelServerError, "longer than"),
    (completion(None), ModelOutputError, "has no text"),
])
def test_an_answer_that_is_none_is_an_error_of_the_node(answer: Answer, error: type[Exception], tells: str) -> None:
    with model(lambda body: answer) as (one, _), pytest.raises(error, match=tells) as raised:
        one.ask(question())
    assert type(raised.value) is error
    assert "JANE" not in str(raised.value)


def test_a_reply_that_was_cut_off_says_so() -> None:
    with model(lambda body: completion("The he", finish="length")) as (one, _):
        assert one.ask(question()).truncated


def test_what_may_pass_is_tried_again_and_a_refusal_is_not() -> None:
    with model(plain, tries=3) as (one, chat):
        chat.once += [refusal(503, "loading"), (200, b"garbage")]
        assert one.ask(question()).text == "Hello."
        assert len(chat.raw) == 3
        chat.once += [refusal(400, "no")]
        with pytest.raises(ModelServerRefused):
            one.ask(question())
        assert len(chat.raw) == 4


def test_a_server_that_keeps_everybody_waiting_costs_no_more_than_the_time_limit() -> None:
    with serving(plain, released=False) as chat:
        one = OpenAIChat.of(section(chat.url, timeout_seconds=0.05), {})
        with pytest.raises(ModelServerError, match=r"no answer within 0\.05 s"):
            one.ask(question())


def test_a_server_that_drips_is_cut_off() -> None:
    ticking = iter(range(1000))
    server = http.ModelServer("http://127.0.0.1:9", http.Patience(seconds=3, tries=1), ApiKey(),
                              clock=lambda: float(next(ticking)))

    class Dripping:
        def iter_raw(self) -> Iterator[bytes]:
            while True:
                yield b" "

    with pytest.raises(ModelServerError, match="no whole answer within 3 s"):
        server._body(Dripping())  # type: ignore[arg-type]


def test_where_nobody_listens_the_error_may_pass_by_itself() -> None:
    one = OpenAIChat.of(section("http://127.0.0.1:9/v1"), {})
    with pytest.raises(ModelServerError, match="is the model server running") as raised:
        one.ask(question())
    assert raised.value.retryable


def test_a_server_that_keeps_failing_is_left_alone_and_then_tried_by_one() -> None:
    now = [0.0]
    breaker = CircuitBreaker(failures=2, open_seconds=30.0, clock=lambda: now[0])
    for _ in range(2):
        assert breaker.closed_in() == 0
        breaker.failed()
    assert breaker.closed_in() == 30.0
    now[0] = 31.0
    assert breaker.closed_in() == 0  # this one tries
    assert breaker.closed_in() > 0  # nobody else meanwhile
    breaker.failed()
    assert breaker.closed_in() == 30.0
    now[0] = 62.0
    assert breaker.closed_in() == 0
    breaker.succeeded()
    assert breaker.closed_in() == breaker.closed_in() == 0


def test_an_open_breaker_sends_nothing() -> None:
    with model(lambda body: refusal(500, "broken")) as (one, chat):
        for _ in range(http.FAILURES):
            with pytest.raises(ModelServerError, match="broken"):
                one.ask(question())
        with pytest.raises(ModelServerError, match="left alone"):
            one.ask(question())
        assert len(chat.raw) == http.FAILURES


def test_nobody_goes_on_trying_once_the_breaker_is_open() -> None:
    with model(lambda body: refusal(500, "broken"), tries=http.FAILURES + 3) as (one, chat):
        with pytest.raises(ModelServerError, match="broken"):
            one.ask(question())
        assert len(chat.raw) == http.FAILURES


def test_refusals_do_not_open_the_breaker() -> None:
    with model(lambda body: refusal(400, "no")) as (one, chat):
        for _ in range(http.FAILURES + 2):
            with pytest.raises(ModelServerRefused):
                one.ask(question())
        assert len(chat.raw) == http.FAILURES + 2


def test_pixels_that_may_name_the_patient_stay_on_this_machine() -> None:
    away = OpenAIChat.of(section("http://192.0.2.1:8000/v1"), {})
    with pytest.raises(NotAuthorised, match=r"server\.trusted"):
        away.ask(question(image(may_identify=True), "Report."))
    with model() as (local, chat):
        assert local.ask(question(image(may_identify=True), "Report.")).text == "Hello."
        assert len(chat.raw) == 1


def test_a_trusted_server_may_see_them() -> None:
    trusted = OpenAIChat.of(section("http://192.0.2.1:8000/v1", trusted=True), {})
    assert trusted._body(question(image(may_identify=True), "Report."))["messages"]


def test_nothing_of_the_patient_or_the_study_is_in_a_request(tmp_path: Path) -> None:
    identity = {
        "PatientName": "Quixote^Alonso^X=Kijote^Alonso", "PatientID": "MRN-7788123", "PatientBirthDate": "19470321",
        "AccessionNumber": "ACC-5550199", "StudyID": "STU-4242", "InstitutionName": "Hospital La Mancha",
        "ReferringPhysicianName": "Panza^Sancho", "OtherPatientIDs": "ALT-991", "PatientAddress": "Molino 1",
        "StudyDescription": "Chest of Alonso", "StudyDate": "20260102", "StudyTime": "030405",
    }
    file = tmp_path / "chest.dcm"
    dataset = drawn_dataset(6_100_000)
    for keyword, value in identity.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file, enforce_file_format=True)
    uids = [element.value for element in dataset.iterall() if element.VR == "UI"]
    prompt = load_findings_prompt("demo-chest-findings")
    with model(plain, tries=2) as (one, chat):
        with pytest.raises(ModelOutputError):
            MedGemma(one, prompt).describe([images.projection(file)])
        sent = b"".join(chat.raw)
    words = {part for value in identity.values() for part in (value, *re.split(r"[\^= ]", value)) if len(part) > 3}
    assert [word for word in (*words, *uids) if word.encode() in sent] == []
    headers = {line.split(b":")[0].decode().lower() for raw in chat.raw for line in raw.split(b"\n")[1:-2]}
    assert headers == {"host", "user-agent", "accept", "accept-encoding", "connection", "content-type",
                       "content-length"}


def test_an_image_may_name_the_patient_until_somebody_looked() -> None:
    assert ModelImage(pixels=image().pixels, sop_class_uid="1", sop_instance_uid="2",
                      series_instance_uid="3").may_identify


def test_the_key_comes_from_the_environment_or_a_file_and_is_shown_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    for settings in (ModelServer(api_key_env="KEY"), ModelServer(api_key_file=tmp_path / "key")):
        key = api_key(settings, {"KEY": SECRET})
        assert key.headers == {"Authorization": f"Bearer {SECRET}"}
        assert SECRET not in f"{key!r} {settings!r}"
    caplog.set_level("DEBUG")
    with model(lambda body: refusal(500, "broken"), api_key_env="KEY", tries=2) as (one, chat):
        with pytest.raises(ModelServerError) as raised:
            one.ask(question())
        assert f"Authorization: Bearer {SECRET}".encode() in chat.raw[0]
    assert SECRET not in caplog.text + str(raised.value)


@pytest.mark.parametrize("settings", [
    ModelServer(api_key_env="NOT_SET"), ModelServer(api_key_env="EMPTY"), ModelServer(api_key_env="TWO_LINES"),
    ModelServer(api_key_file=Path("/nowhere/key")),
])
def test_a_key_that_is_not_there_is_named_at_start(settings: ModelServer) -> None:
    with pytest.raises(ConfigurationError, match="api_key") as raised:
        api_key(settings, {"EMPTY": " ", "TWO_LINES": f"{SECRET}\nX-Other: 1"})
    assert SECRET not in str(raised.value)


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.ca"):
        OpenAIChat.of(section("https://127.0.0.1:1/v1", ca=tmp_path / "absent.pem"), {})


def test_callers_may_share_a_server() -> None:
    with model() as (one, chat):
        threads = [threading.Thread(target=one.ask, args=(question(schema=SCHEMA),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        probes = sum("response_format" in body and "probe" in str(body["response_format"]) for body in chat.asked)
    assert probes == 1


def test_another_model_or_prompt_is_another_device() -> None:
    one = OpenAIChat.of(section("http://127.0.0.1:9/v1"), {})
    other = OpenAIChat.of(section("http://127.0.0.1:9/v1").model_copy(update={"checkpoint": "tiny/other"}), {})
    identities = one.identity("00" * 32), one.identity("01" * 32), other.identity("00" * 32)
    assert len({identity.device_uid for identity in identities}) == 3
    assert not one.identity("00" * 32).demo


def test_the_demo_checkpoint_stays_a_demo_model_on_a_server() -> None:
    served = OpenAIChat.of(section("http://127.0.0.1:9/v1").model_copy(update={"checkpoint": "demo"}), {})
    assert served.identity("00" * 32).demo
