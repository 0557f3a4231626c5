"""Heat maps of a study: made after its flag, checked, kept with their image, and never in anybody's way."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from node import heat_maps
from node.config import RetentionSection
from node.database import audit_event, connect, heat_map, instance, metadata, run, transaction
from node.domain import Box, EntryState, OperatingPoint, ReportState
from node.errors import ModelOutputError, NotAuthorised, StorageError
from node.housekeeping.retention import Retention
from node.web.application import create_app
from node.web.server import serve
from tests.tools.fakes import FakeExplainer, FakeLocaliser
from tests.tools.instances import chest
from tests.tools.node_in_process import CHAIN, StraightNode

CHROMIUM = "/usr/bin/chromium"
STUDY = "1.2.3"
Make = Callable[..., StraightNode]


def explaining(engine: sa.Engine, data_dir: Path, **sections: Any) -> StraightNode:
    """A node that sees an effusion and a nodule and can say where."""
    node = StraightNode(engine, data_dir, **sections)
    node.triage.present = {"effusion", "nodule"}
    node.triage.explains = FakeExplainer(identity=node.triage.identity)
    return node


@pytest.fixture
def make(sqlite_url: str, tmp_path: Path) -> Iterator[Make]:
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    yield lambda **sections: explaining(engine, tmp_path, **sections)
    engine.dispose()


@pytest.fixture
def node(make: Make) -> StraightNode:
    return make()


def explainer(node: StraightNode) -> FakeExplainer:
    assert node.triage.explains is not None
    return node.triage.explains


def rows(node: StraightNode) -> dict[str, sa.Row[Any]]:
    with node.engine.connect() as connection:
        return {row.finding: row for row in connection.execute(sa.select(heat_map).order_by(heat_map.c.version))}


def web(node: StraightNode, language: str = "en") -> TestClient:
    return TestClient(create_app(node.engine, node.data_dir, lambda: (True, {}), language=language))


def told(node: StraightNode) -> dict[str, Any]:
    return {one["finding"]: one for one in web(node).get(f"/api/studies/{STUDY}").json()["heat_maps"]}


def test_what_is_present_is_explained_after_everything_else(engine: sa.Engine, tmp_path: Path) -> None:
    node = explaining(engine, tmp_path)
    node.take(chest(STUDY))
    ran = node.complete()
    assert ran[-1] == "localise" and ran.index("rank") < ran.index("deliver")
    uid = node.entry(STUDY).findings[0].sop_instance_uid
    assert sorted(explainer(node).calls) == [(uid, "effusion"), (uid, "nodule")]
    found = rows(node)["effusion"]
    assert (found.state, found.method, found.sop_instance_uid, found.frame) == ("reliable", "single_token", uid, 1)
    assert (found.deletion_drop, found.needed_drop) == (3.0, 1.0)
    assert found.model["sha256"] == node.triage.identity.sha256
    assert np.frombuffer(found.cells, "<f4").reshape(4, 4)[0, 0] == 3.0


def test_state_and_audit_event_are_written_together(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    assert node.actions(STUDY).count("stage.localise") == 1
    with node.engine.connect() as connection:
        detail = connection.scalars(sa.select(audit_event.c.detail).where(
            audit_event.c.action == "stage.localise")).one()
    assert '"effusion":{"deletion_drop":3.0' in detail and "cells" not in detail


def test_a_map_that_fails_its_check_is_no_localisation_with_its_reason(node: StraightNode) -> None:
    explainer(node).unreliable = {"nodule"}
    node.evaluate(chest(STUDY))
    nodule = told(node)["nodule"]
    assert (nodule["state"], sorted(nodule["pictures"])) == ("unreliable", ["frame", "seen"])
    page = web(node).get(f"/studies/{STUDY}").text
    assert "No reliable localisation" in page and "the score falls as much elsewhere" in page


@pytest.mark.parametrize("error", [ModelOutputError("not a number"), ValueError("a bug")])
def test_an_explanation_that_fails_leaves_flag_and_report_as_they_are(node: StraightNode, error: Exception) -> None:
    explainer(node).errors = {"effusion": error}
    entry = node.evaluate(chest(STUDY))
    assert (entry.state, entry.report_state) == (EntryState.CONFIRMED, ReportState.WRITTEN)
    assert node.run_of(STUDY).state == "done"
    assert rows(node)["effusion"].state == "failed" and rows(node)["effusion"].reason


def test_a_disk_that_stays_away_is_given_up_with_the_reason(node: StraightNode) -> None:
    explainer(node).errors = {"effusion": StorageError("disk away")}
    node.evaluate(chest(STUDY))
    assert {row.state for row in rows(node).values()} == {"failed"}
    assert node.actions(STUDY).count("stage.deferred") == 6


def test_triage_only_shows_no_localisation(make: Make) -> None:
    node = make(reports={"profile": "triage_only"})
    node.evaluate(chest(STUDY))
    assert (rows(node), explainer(node).calls, told(node)) == ({}, [], {})


def test_a_rank_that_is_committed_where_its_model_is_gone_stands(node: StraightNode) -> None:
    rank = node.jobs.stages["rank"]
    gone = replace(rank, commit=lambda *told: (node.desk.triage_models.clear(), rank.commit(*told)))
    node.jobs.stages["rank"] = gone
    assert node.evaluate(chest(STUDY)).state is EntryState.CONFIRMED
    assert rows(node) == {}


def test_a_model_without_an_explainer_is_asked_nothing(node: StraightNode) -> None:
    node.triage.explains = None
    node.evaluate(chest(STUDY))
    assert rows(node) == {}


def test_between_the_cut_offs_a_quick_method_explains_too_and_shadow_mode_nothing(make: Make) -> None:
    node = make()
    node.triage.operating_points["edema"] = OperatingPoint(present_above=0.6, absent_below=0.05)
    node.evaluate(chest(STUDY))
    assert sorted(rows(node)) == ["edema", "effusion", "nodule"]
    node.triage.in_shadow()
    node.evaluate(chest("1.2.4"))
    assert {row.study_instance_uid for row in rows(node).values()} == {STUDY}


def test_a_box_of_the_findings_model_is_set_beside_the_map_and_shown(make: Make) -> None:
    localiser = FakeLocaliser()
    node = make(localiser=localiser)
    explainer(node).unreliable = {"nodule"}
    node.evaluate(chest(STUDY, ImageType=["ORIGINAL", "PRIMARY"]))
    assert sorted(localiser.calls) == [("Lung nodule", False), ("Pleural effusion", False)]
    found = told(node)["effusion"]["localisation"]
    # 32 rows and 24 columns with 4 columns of padding at each side: of 12 columns 4 are padding.
    assert (found["state"], found["boxes"], found["model"]["name"]) == ("agrees", [[0, 0, 8, 8]], "fake-findings")
    assert told(node)["nodule"]["localisation"]["state"] == "unconfirmed"
    page = web(node).get(f"/studies/{STUDY}").text
    assert "lies where the score comes from" in page and "0–8 × 0–8" in page and "unconfirmed" in page
    with node.engine.connect() as connection:
        detail = connection.scalars(sa.select(audit_event.c.detail).where(
            audit_event.c.action == "stage.localise")).one()
    assert '"state":"agrees"' in detail


@pytest.mark.parametrize("error", [ModelOutputError("boxes: none"), NotAuthorised("it may name the patient")])
def test_a_box_that_cannot_be_had_leaves_the_map_as_it_is(make: Make, error: Exception) -> None:
    node = make(localiser=FakeLocaliser(error=error))
    node.evaluate(chest(STUDY))
    found = told(node)["effusion"]
    told_of_box = found["localisation"]
    assert (found["state"], told_of_box["state"], told_of_box["boxes"]) == ("reliable", "failed", [])
    assert told_of_box["reason"] == str(error)


def test_a_box_in_the_padding_is_refused(make: Make) -> None:
    node = make(localiser=FakeLocaliser(box=Box(top=0.0, left=0.0, bottom=1.0, right=0.1)))
    node.evaluate(chest(STUDY))
    assert told(node)["effusion"]["localisation"]["reason"] == "boxes: none of them lies in the image"


def test_a_model_that_gives_no_boxes_or_a_profile_without_localisation_asks_for_none(make: Make) -> None:
    node = make()
    node.evaluate(chest(STUDY))
    assert told(node)["effusion"]["localisation"] is None
    localiser = FakeLocaliser()
    make(localiser=localiser, reports={"profile": "triage_only"}).evaluate(chest("1.2.4"))
    assert localiser.calls == []


def test_a_repeated_job_gives_the_same_result(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    stage = node.jobs.stages["localise"]
    arguments = {"study_instance_uid": STUDY, "version": 1, "priority": 95 - 45}
    before = {path: path.read_bytes() for path in (node.data_dir / "heat_maps").rglob("*.png")}
    first, second = stage.work(arguments), stage.work(arguments)
    assert first == second and len(first["maps"]) == 2
    assert {path: path.read_bytes() for path in (node.data_dir / "heat_maps").rglob("*")
            if path.is_file()} == before
    assert list((node.data_dir / "work").glob("*")) == []  # the run is over: what was decoded again is removed


def test_a_newer_version_is_explained_and_the_older_one_left(node: StraightNode) -> None:
    node.take(chest(STUDY))
    node.quiet()
    node.versions.complete_due()
    with transaction(node.engine) as connection:
        connection.execute(sa.update(run).values(state="running"))
    node.jobs.run()
    node.evaluate(chest(STUDY, 2))
    with node.engine.connect() as connection:
        states = connection.execute(sa.select(heat_map.c.version, heat_map.c.state).distinct()).all()
    assert sorted(tuple(row) for row in states) == [(1, "reliable"), (2, "reliable")]
    page = web(node).get(f"/studies/{STUDY}").text
    assert "/heat-maps/2/effusion/" in page and "/heat-maps/1/" not in page


def test_pictures_are_served_by_the_row_and_marked(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    pictures = told(node)["effusion"]["pictures"]
    assert sorted(pictures) == ["frame", "overlay", "seen"]
    sizes = set()
    for view, address in pictures.items():
        answer = web(node).get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), view
        assert answer.headers["cache-control"] == "no-store"
        sizes.add(Image.open(io.BytesIO(answer.content)).size)
    assert len(sizes) == 1
    page = web(node).get(f"/studies/{STUDY}").text
    assert all(f'src="{address}"' in page for address in pictures.values())
    assert "not a segmentation" in page
    korean = web(node, language="ko").get(f"/studies/{STUDY}").text
    assert "병변의 분할이 아닙니다" in korean and "흉막 삼출" in korean.partition("heat-maps")[2]


@pytest.mark.parametrize("asked", [
    "/studies/..%2F..%2Fetc/heat-maps/1/effusion/overlay.png", "/studies/1.2.3/heat-maps/1/..%2Fx/overlay.png",
    "/studies/1.2.3/heat-maps/2/effusion/overlay.png", "/studies/1.2.4/heat-maps/1/effusion/overlay.png",
    "/studies/1.2.3/heat-maps/1/effusion/other.png", "/studies/1.2.3/heat-maps/99999999999999999999/effusion/seen.png",
    "/studies/1.2.3'--/heat-maps/1/effusion/overlay.png"])
def test_what_has_no_row_is_not_served(node: StraightNode, asked: str) -> None:
    node.evaluate(chest(STUDY))
    assert web(node).get(asked).status_code in (404, 422)


def test_maps_and_pictures_go_with_their_image(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    address = told(node)["effusion"]["pictures"]["overlay"]
    with transaction(node.engine) as connection:
        connection.execute(sa.update(instance).values(received_at=0.0))
    keeper = Retention(node.engine, node.data_dir, CHAIN, RetentionSection(days=30), [])
    assert sum(keeper.expire()) == 1
    assert list((node.data_dir / "heat_maps").rglob("*.png")) == []
    assert (told(node), web(node).get(address).status_code) == ({}, 404)


def test_an_image_stays_while_its_map_is_to_be_made(node: StraightNode) -> None:
    node.evaluate(chest(STUDY))
    with transaction(node.engine) as connection:
        connection.execute(sa.update(instance).values(received_at=0.0))
        connection.execute(sa.update(heat_map).values(state="pending"))
    keeper = Retention(node.engine, node.data_dir, CHAIN, RetentionSection(days=30), [])
    assert sum(keeper.expire()) == 0
    with transaction(node.engine) as connection:
        heat_maps.give_up(connection, STUDY, 1, "no worker")
    assert sum(keeper.expire()) == 1


def test_a_browser_shows_the_pictures_beside_each_other(node: StraightNode, tmp_path: Path) -> None:
    explainer(node).unreliable = {"nodule"}
    node.evaluate(chest(STUDY))
    app = create_app(node.engine, node.data_dir, lambda: (True, {}))
    answered: dict[str, int] = {}

    async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered[scope["path"]] = message["status"]
            await send(message)

        await app(scope, receive, noted)

    recorded.state = app.state  # type: ignore[attr-defined]
    server = serve(recorded, "127.0.0.1", 0)  # type: ignore[arg-type]
    try:
        shown = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
             "--window-size=1500,4000", f"--screenshot={tmp_path / 'page.png'}",
             f"http://127.0.0.1:{server.port}/studies/{STUDY}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, check=False)
    finally:
        server.stop()
    assert shown.returncode == 0
    pictures = {path for path in answered if "/heat-maps/" in path}
    assert pictures == {f"/studies/{STUDY}/heat-maps/1/{name}.png" for name in (
        "effusion/frame", "effusion/overlay", "effusion/seen", "nodule/frame", "nodule/seen")}
    assert {answered[path] for path in pictures} == {200}
    colours = Image.open(tmp_path / "page.png").convert("HSV").resize((375, 1000)).getcolors(375 * 1000)
    assert colours is not None
    assert sum(count for count, (_, saturation, value) in colours if saturation > 100 and value > 120) > 300
