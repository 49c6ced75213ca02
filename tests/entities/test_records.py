"""Records: what each act answers, and to whom. Every allowed act stands beside a refused one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keystead.context import ActiveBrand, Anonymous, BrandTokenPrincipal, Context, Server
from keystead.entities import definition_service, record_service
from keystead.entities.registry import RecordType, get_record_type
from keystead.errors import (
    Conflict,
    Forbidden,
    KeysteadError,
    NotFound,
    ServiceUnavailable,
    Unauthenticated,
    ValidationError,
)
from keystead.pagination import PageRequest
from tests.clocks import ManualClock
from tests.entities.callers import ANN, BEN, key, user
from tests.make import make_context, make_entity

UNKNOWN = "01900000-0000-7000-8000-0000000000ff"
SHOWN = frozenset(("id", "name", "email", "status", "created_by"))
ID = frozenset(("id",))


@pytest.fixture
async def brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, brand)


@pytest.fixture
async def kind(server: Server, brand: ActiveBrand) -> RecordType:
    return await get_record_type(server.db, brand, "customer")


async def names(ctx: Context, kind: RecordType) -> list[str]:
    page = await record_service.list_records(ctx, kind, PageRequest(per_page=100), frozenset(("name",)))
    return [record["name"] for record in page.items]


async def create(ctx: Context, kind: RecordType, name: str = "Ann") -> str:
    record = await record_service.create_record(ctx, kind, {"name": name}, ID)
    return str(record["id"])


async def refuse(error: type[KeysteadError], *acts: Awaitable[Any], **extensions: str) -> None:
    """Check that each act raises the error, with these extensions."""
    for act in acts:
        with pytest.raises(error) as refused:
            await act
        assert refused.value.extensions.items() >= extensions.items()


async def test_a_record_is_made_found_changed_and_deleted(
    server: Server, brand: ActiveBrand, kind: RecordType, clock: ManualClock
) -> None:
    ctx = key(server, brand, "read", "write")
    made = await record_service.create_record(
        ctx, kind, {"name": "Ann", "email": "ann@example.com"}, SHOWN | {"integer_id"}
    )
    assert made["integer_id"] == 1
    assert (made["name"], made["status"], made["created_by"]) == ("Ann", "active", None)
    clock.advance(seconds=60)
    changed = await record_service.update_record(ctx, kind, made["id"], {"name": "Anna", "email": None})
    assert set(changed) == {"id", "integer_id", "created_at", "updated_at"}
    assert (changed["updated_at"] - changed["created_at"]).total_seconds() == 60
    found = await record_service.find_record(ctx, kind, made["id"], SHOWN)
    assert found == {**{name: made[name] for name in SHOWN}, "name": "Anna", "email": None}
    await record_service.delete_records(ctx, kind, [made["id"]])
    assert await record_service.find_record(ctx, kind, made["id"], SHOWN) is None


async def test_a_user_is_the_maker_of_their_records(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    ctx = user(server, brand, ANN, "read", "write")
    made = await record_service.create_record(ctx, kind, {"name": "x"}, frozenset(("created_by",)))
    assert made == {"created_by": ANN}


@pytest.mark.parametrize("record_id", [UNKNOWN, "", "1", "x" * 36, "'; DROP TABLE users; --", "\0", "\ud800"])
async def test_a_malformed_id_is_an_unknown_one(
    server: Server, brand: ActiveBrand, kind: RecordType, record_id: str
) -> None:
    ctx = key(server, brand, "read", "write")
    assert await record_service.find_record(ctx, kind, record_id, SHOWN) is None
    await refuse(NotFound, record_service.update_record(ctx, kind, record_id, {"name": "x"}))
    await refuse(NotFound, record_service.delete_records(ctx, kind, [record_id]))


async def test_deleting_is_all_or_nothing(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    ctx = key(server, brand, "read", "write")
    ids = [await create(ctx, kind, name) for name in ("a", "b", "c")]
    await refuse(NotFound, record_service.delete_records(ctx, kind, [ids[0], UNKNOWN]))
    assert await names(ctx, kind) == ["a", "b", "c"]
    await record_service.delete_records(ctx, kind, [ids[0], ids[0], ids[2]])
    await record_service.delete_records(ctx, kind, [])
    assert await names(ctx, kind) == ["b"]


@pytest.mark.parametrize(
    ("values", "field", "error"),
    [
        ({"name": None}, "name", ValidationError),
        ({"name": "x" * 201}, "name", ValidationError),
        ({"name": "x", "status": "gone"}, "status", ValidationError),
        ({"name": "x", "email": "no address"}, "email", ValidationError),
        ({"name": "x", "email": "taken@example.com"}, "email", Conflict),
    ],
)
async def test_a_broken_rule_names_its_field_and_writes_nothing(
    server: Server, brand: ActiveBrand, kind: RecordType, values: dict[str, Any], field: str, error: type[KeysteadError]
) -> None:
    ctx = key(server, brand, "read", "write")
    await record_service.create_record(ctx, kind, {"name": "first", "email": "taken@example.com"})
    second = await create(ctx, kind, "second")
    await refuse(error, record_service.create_record(ctx, kind, values), field=field)
    await refuse(error, record_service.update_record(ctx, kind, second, values), field=field)
    await refuse(ValidationError, record_service.create_record(ctx, kind, {}), field="name")
    assert await names(ctx, kind) == ["first", "second"]


@pytest.mark.attack("A92")
@pytest.mark.parametrize("name", ["id", "integer_id", "created_at", "updated_at", "created_by", "brand_id", "nothing"])
async def test_system_fields_and_strangers_are_not_set(
    server: Server, brand: ActiveBrand, kind: RecordType, name: str
) -> None:
    ctx = make_context(server, brand)
    record_id = await create(ctx, kind)
    create_it = record_service.create_record(ctx, kind, {"name": "x", name: "1"})
    await refuse(
        ValidationError, create_it, record_service.update_record(ctx, kind, record_id, {name: "1"}), field=name
    )


async def test_pages_follow_each_other(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    ctx = make_context(server, brand)
    for number in range(5):
        await create(ctx, kind, f"n{number}")
    pages = [
        await record_service.list_records(ctx, kind, PageRequest(number, 2), frozenset(("name",)), with_total=True)
        for number in (1, 2, 3, 4, 10_000)
    ]
    assert [[record["name"] for record in page.items] for page in pages] == [["n0", "n1"], ["n2", "n3"], ["n4"], [], []]
    assert [page.has_more_pages for page in pages] == [True, True, False, False, False]
    assert {page.total for page in pages} == {5}
    uncounted = await record_service.list_records(ctx, kind, PageRequest(), ID)
    assert uncounted.total is None


Act = Callable[[Context, RecordType, str], Awaitable[Any]]

ACTS: dict[str, Act] = {
    "list": lambda ctx, kind, _: record_service.list_records(ctx, kind, PageRequest(), ID),
    "find": lambda ctx, kind, record_id: record_service.find_record(ctx, kind, record_id, ID),
    "create": lambda ctx, kind, _: record_service.create_record(ctx, kind, {"name": "new"}),
    "update": lambda ctx, kind, record_id: record_service.update_record(ctx, kind, record_id, {"name": "new"}),
    "delete": lambda ctx, kind, record_id: record_service.delete_records(ctx, kind, [record_id]),
}
READS = {"list", "find"}
WRITES = {"create", "update", "delete"}
ALLOWED: dict[str, set[str]] = {
    "admin": READS | WRITES, "read": READS, "write": WRITES, "customer:read": READS, "customer:write": WRITES,
    "customer:create": {"create"}, "customer:update": {"update"}, "customer:delete": {"delete"}, "order:read": set(),
    "order:write": set(), "operator": set(), "": set(),
}  # fmt: skip


@pytest.mark.attack("A68")
@pytest.mark.parametrize("permission", ALLOWED)
async def test_a_permission_allows_its_acts_and_no_other(
    server: Server, brand: ActiveBrand, kind: RecordType, permission: str
) -> None:
    system = make_context(server, brand)
    caller = key(server, brand, *permission.split())
    for name, act in ACTS.items():
        record_id = await create(system, kind, "old")
        before = await names(system, kind)
        if name in ALLOWED[permission]:
            await act(caller, kind, record_id)
        else:
            expected = "customer:read" if name in READS else f"customer:{name}"
            await refuse(Forbidden, act(caller, kind, record_id), permission=expected)
            assert await names(system, kind) == before


async def test_without_a_credential_nothing_is_allowed(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    record_id = await create(make_context(server, brand), kind)
    for principal in (Anonymous(), BrandTokenPrincipal(brand.id, "token-1")):
        ctx = make_context(server, brand, principal)
        await refuse(Unauthenticated, *(act(ctx, kind, record_id) for act in ACTS.values()))


async def test_who_may_only_write_sees_no_more_than_system_fields(
    server: Server, brand: ActiveBrand, kind: RecordType
) -> None:
    writer, system = key(server, brand, "write"), make_context(server, brand)
    seen = frozenset(("id", "integer_id", "created_at", "updated_at"))
    made = await record_service.create_record(writer, kind, {"name": "Ann"}, seen)
    await record_service.update_record(writer, kind, made["id"], {"name": "Anna"}, seen)
    for hidden in ("name", "created_by"):
        await refuse(
            Forbidden,
            record_service.create_record(writer, kind, {"name": "x"}, seen | {hidden}),
            record_service.update_record(writer, kind, made["id"], {"name": "x"}, seen | {hidden}),
            permission="customer:read",
        )
    assert await names(system, kind) == ["Anna"]


async def test_a_field_with_its_own_list_is_for_that_list(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    admin, member = key(server, brand, "admin"), key(server, brand, "read", "write")
    notes, name = frozenset(("notes",)), frozenset(("name",))
    made = await record_service.create_record(admin, kind, {"name": "Ann", "notes": "odd"}, notes | {"id"})
    assert made["notes"] == "odd"
    await refuse(
        Forbidden,
        record_service.list_records(member, kind, PageRequest(), notes),
        record_service.find_record(member, kind, made["id"], notes),
        record_service.create_record(member, kind, {"name": "x", "notes": "y"}, name),
        record_service.create_record(member, kind, {"name": "x"}, notes),
        record_service.update_record(member, kind, made["id"], {"notes": "y"}, name),
        record_service.update_record(member, kind, made["id"], {"name": "y"}, notes),
        permission="admin",
    )
    assert await names(admin, kind) == ["Ann"]
    await record_service.update_record(member, kind, made["id"], {"name": "Anna"}, name)
    assert await record_service.find_record(admin, kind, made["id"], notes) == {"notes": "odd"}


@pytest.mark.attack("A98")
async def test_own_rows_are_the_only_ones_there_are(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    own = ("customer:read:own", "customer:write:own")
    ann, ben, machine = user(server, brand, ANN, *own), user(server, brand, BEN, *own), key(server, brand, *own)
    hers, his = await create(ann, kind, "hers"), await create(ben, kind, "his")
    assert (await names(ann, kind), await names(ben, kind), await names(machine, kind)) == (["hers"], ["his"], [])
    page = await record_service.list_records(ann, kind, PageRequest(), ID, with_total=True)
    assert page.total == 1
    for stranger in (ben, machine):
        assert await record_service.find_record(stranger, kind, hers, SHOWN) is None
        await refuse(NotFound, record_service.update_record(stranger, kind, hers, {"name": "mine"}))
        await refuse(NotFound, record_service.delete_records(stranger, kind, [hers]))
    await refuse(NotFound, record_service.delete_records(ann, kind, [hers, his]))
    await refuse(Forbidden, create(machine, kind))
    await record_service.update_record(ann, kind, hers, {"name": "still hers"}, SHOWN)
    await record_service.delete_records(ann, kind, [hers])
    assert await names(make_context(server, brand), kind) == ["his"]


async def test_a_result_shows_no_row_that_may_not_be_read(server: Server, brand: ActiveBrand, kind: RecordType) -> None:
    """Writing everything and reading one's own: another's row may be changed, but not shown."""
    ann = user(server, brand, ANN, "customer:write", "customer:read:own")
    other, hers = await create(make_context(server, brand), kind, "other"), await create(ann, kind, "hers")
    await record_service.update_record(ann, kind, other, {"name": "changed"}, ID)
    await record_service.update_record(ann, kind, hers, {"name": "changed"}, SHOWN)
    await refuse(NotFound, record_service.update_record(ann, kind, other, {"name": "again"}, SHOWN))
    machine = key(server, brand, "customer:write", "customer:read:own")
    await refuse(Forbidden, record_service.create_record(machine, kind, {"name": "x"}, SHOWN))
    assert await names(make_context(server, brand), kind) == ["changed", "changed"]


@pytest.mark.attack("A99")
async def test_a_request_that_a_schema_change_overtakes_is_asked_to_come_again(
    server: Server, brand: ActiveBrand, kind: RecordType
) -> None:
    ctx, email = make_context(server, brand), frozenset(("email",))
    record_id = await create(ctx, kind)
    await record_service.list_records(ctx, kind, PageRequest(), email)
    fields = {"name": {"type": "string", "required": True}, "added": {"type": "text"}}
    await definition_service.define_entities(ctx, brand.id, {"customer": {"fields": fields}}, allow_data_loss=True)
    assert await names(ctx, kind) == ["Ann"]
    await record_service.update_record(ctx, kind, record_id, {"name": "Anna"})
    await refuse(
        ServiceUnavailable,
        record_service.list_records(ctx, kind, PageRequest(), email),
        record_service.find_record(ctx, kind, record_id, email),
        record_service.create_record(ctx, kind, {"name": "x"}),
        record_service.update_record(ctx, kind, record_id, {"email": "a@example.com"}),
        record_service.update_record(ctx, kind, record_id, {"name": "x"}, email),
    )
    await definition_service.delete_entities(ctx, brand.id, ["customer"], allow_data_loss=True)
    await refuse(ServiceUnavailable, *(act(ctx, kind, record_id) for act in ACTS.values()))
    assert await record_service.find_record(ctx, kind, "malformed", ID) is None
