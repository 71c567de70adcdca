"""The API's document: made from the operations, valid, and true about who may call what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from groupspaces.web import openapi
from groupspaces.web.operations import Operation
from tests.support.site import open_site
from tests.unit.test_operations import OPERATIONS


@pytest.fixture(scope="module")
def operations() -> tuple[Operation, ...]:
    return (*OPERATIONS, *openapi.documentation(OPERATIONS))


@pytest.fixture(scope="module")
def document(operations: tuple[Operation, ...]) -> dict[str, Any]:
    return openapi.document(operations)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(references(inner) for inner in value))
    return set()


def test_every_operation_is_there_with_its_words(
    document: dict[str, Any], operations: tuple[Operation, ...]
) -> None:
    assert document["openapi"] == "3.1.0"
    for op in operations:
        described = document["paths"][op.path][op.method.lower()]
        assert described["summary"] == op.summary
        assert str(op.status) in described["responses"]
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids)) == len(operations)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)
    assert found
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_public_operations_say_so_and_others_do_not(
    document: dict[str, Any], operations: tuple[Operation, ...]
) -> None:
    assert document["security"] == [{"session": []}, {"token": []}]
    for op in operations:
        described = document["paths"][op.path][op.method.lower()]
        assert (described.get("security") == []) is not op.needs_session, op.path
        assert ("401" in described["responses"]) is (op.needs_session or op.rate == "auth"), op.path


def test_parameters_are_those_that_are_checked(document: dict[str, Any]) -> None:
    one = document["paths"]["/api/spaces/{space_id}"]["get"]["parameters"]
    assert one[0] == {
        "name": "space_id",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    }
    listed = {p.get("name"): p for p in document["paths"]["/api/spaces"]["get"]["parameters"]}
    assert listed["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    created = document["paths"]["/api/spaces"]["post"]["parameters"]
    assert created == [{"$ref": f"#/components/parameters/{name}"} for name in ("GS-User", "Idempotency-Key")]


def test_bodies_refuse_unknown_fields_in_the_document_too(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["NewSpace"]["additionalProperties"] is False
    assert document["components"]["schemas"]["NewSpace"]["required"] == ["name"]


def test_texts_of_requests_are_described_as_they_are_checked(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for schema in (
        schemas["NewSpace"]["properties"]["name"],
        schemas["Inner"]["properties"]["tags"]["items"],
    ):
        assert re.search(schema["pattern"], "a\tb\nc é")
        assert not re.search(schema["pattern"], "a\x00b")
        assert not re.search(schema["pattern"], "a\x85b")
    assert "pattern" not in schemas["Space"]["properties"]["name"]


async def test_the_document_and_its_page_are_public(
    tmp_path: Path, operations: tuple[Operation, ...]
) -> None:
    async with open_site(tmp_path) as site, site.mount(OPERATIONS).client() as client:
        served = await client.get("/api/openapi.json")
        assert served.json()["paths"].keys() == {op.path for op in operations}
        page = await client.get("/api/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        for op in operations:
            assert f"<code>{op.path}</code>" in page.text
        assert "<script" not in page.text
        assert " style=" not in page.text
