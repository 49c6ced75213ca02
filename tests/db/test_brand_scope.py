"""A statement on a branded table compiles only when it is bound to a brand."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    column,
    delete,
    exists,
    false,
    func,
    insert,
    lateral,
    literal,
    literal_column,
    not_,
    or_,
    select,
    table,
    text,
    true,
    union_all,
    update,
)

from keystead.db.statements import Statement, UnboundBrand, any_of
from keystead.db.statements import insert as upsert

metadata = MetaData()
users = Table("users", metadata, Column("id", Text, primary_key=True), Column("brand_id", Text), Column("n", Integer))
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("brand_id", Text),
    Column("user_id", Text, ForeignKey("users.id")),
)
brands = Table("brands", metadata, Column("id", Text, primary_key=True), Column("name", Text))
records = Table("records", metadata, Column("id", Text, primary_key=True))

U, S = users.c, sessions.c
brand: Any = bindparam("brand_id")
mine = users.alias("mine")
of_brand = U.brand_id == brand
tied_users = select(U.id, U.brand_id).where(of_brand)
added = upsert(users).values(id=bindparam("id"), brand_id=brand)
changed = update(users).where(of_brand)
loose_users = select(U.id, U.brand_id)

BOUND: dict[str, Any] = {
    "equality": select(U.id).where(of_brand),
    "the other way round": select(U.id).where(brand == U.brand_id),
    "anded": select(U.id).where(and_(U.id == bindparam("id"), and_(of_brand, U.n > 0))),
    "another parameter's name": select(U.id).where(U.brand_id == bindparam("b")),
    "or beside it": select(U.id).where(or_(U.n == 1, U.n == 2), of_brand),
    "alias": select(mine.c.id).where(mine.c.brand_id == brand),
    "no branded table": select(brands.c.id, records.c.id).where(brands.c.id == records.c.id),
    "join on it": select(U.id).join(sessions, S.brand_id == U.brand_id).where(of_brand),
    "join, bound at the far end": select(U.id).join(sessions, S.brand_id == U.brand_id).where(S.brand_id == brand),
    "join, bound in ON": select(U.id).join(sessions, and_(S.brand_id == U.brand_id, S.brand_id == brand)),
    "outer join": select(U.id).outerjoin(sessions, S.brand_id == U.brand_id).where(of_brand),
    "outer join, both by parameter": select(U.id).outerjoin(sessions, S.brand_id == brand).where(of_brand),
    "self join": select(U.id).join(mine, mine.c.brand_id == U.brand_id).where(of_brand),
    "correlated exists": select(U.id).where(
        of_brand, exists(select(S.id).where(S.brand_id == U.brand_id, S.user_id == U.id))
    ),
    "scalar subquery": select(U.id, select(func.count()).where(S.brand_id == U.brand_id).scalar_subquery()).where(
        of_brand
    ),
    "in subquery": select(U.id).where(of_brand, U.id.in_(select(S.user_id).where(S.brand_id == brand))),
    "subquery": select(tied_users.subquery().c.id),
    "joined to a subquery": select(S.id).join(sub := tied_users.subquery(), sub.c.brand_id == S.brand_id),
    "cte": select((cte := tied_users.cte("tied")).c.id, S.id).where(S.brand_id == cte.c.brand_id),
    "union": union_all(tied_users, select(S.id, S.brand_id).where(S.brand_id == brand)),
    "lateral": select(U.id, (late := select(S.id).where(S.brand_id == brand, S.user_id == U.id).lateral()).c.id)
    .select_from(users.join(late, true()))
    .where(of_brand),
    "any_of": select(U.id).where(of_brand, any_of(U.id, "ids")),
    "literal one": select(literal_column("1")).where(exists(select(literal(1)).where(of_brand))),
    "update": update(users).where(of_brand).values(n=1),
    "update from": update(users).where(U.brand_id == S.brand_id, S.brand_id == brand).values(n=1),
    "update where exists": update(users)
    .where(of_brand, exists(select(S.id).where(S.brand_id == U.brand_id)))
    .values(n=1)
    .returning(U.id),
    "delete": delete(users).where(of_brand),
    "delete in": delete(users).where(of_brand, U.id.in_(select(S.user_id).where(S.brand_id == brand))),
    "insert all columns": insert(users),
    "insert": insert(users).values(id=bindparam("id"), brand_id=brand),
    "insert many": insert(users).values([{"id": bindparam("a"), "brand_id": brand}]),
    "insert from select": insert(sessions).from_select(["id", "brand_id"], tied_users),
    "insert from select of the parameter": insert(sessions).from_select(
        ["id", "brand_id"], select(records.c.id, brand)
    ),
    "upsert in the brand": added.on_conflict_do_update(index_elements=["brand_id", "id"], set_={"n": 1}),
    "upsert where": added.on_conflict_do_update(index_elements=["id"], set_={"n": 1}, where=of_brand),
    "upsert nothing": added.on_conflict_do_nothing(),
    "insert without a brand column": insert(brands).values(id=bindparam("id"), name=bindparam("name")),
}

_tree = tied_users.cte("tree", recursive=True)
BOUND["recursive cte"] = select(_tree.union_all(select(S.id, S.brand_id).where(S.brand_id == _tree.c.brand_id)).c.id)

LOOSE: dict[str, Any] = {
    "nothing": select(U.id),
    "id alone": select(U.id).where(U.id == bindparam("id")),
    "count": select(func.count()).select_from(users),
    "constant": select(U.id).where(U.brand_id == "fixed"),
    "null": select(U.id).where(U.brand_id == None),  # noqa: E711
    "itself": select(U.id).where(U.brand_id == U.brand_id),
    "another column": select(U.id).where(U.brand_id == U.id, U.id == brand),
    "other column by the parameter": select(U.id).where(U.id == brand),
    "or": select(U.id).where(or_(of_brand, U.n == 1)),
    "or inside and": select(U.id).where(and_(U.n == 1, or_(of_brand, true()))),
    "not": select(U.id).where(not_(of_brand)),
    "unequal": select(U.id).where(U.brand_id != brand),
    "like": select(U.id).where(U.brand_id.like(brand)),
    "in": select(U.id).where(any_of(U.brand_id, "brands")),
    "is not distinct": select(U.id).where(U.brand_id.is_not_distinct_from(brand)),
    "function": select(U.id).where(func.lower(U.brand_id) == brand),
    "having": select(U.brand_id).group_by(U.brand_id).having(of_brand),
    "alias beside the table": select(U.id, mine.c.id).where(of_brand),
    "join without it": select(U.id).join(sessions, S.user_id == U.id).where(of_brand),
    "outer join, bound in ON alone": select(U.id).outerjoin(sessions, and_(of_brand, S.brand_id == U.brand_id)),
    "outer join, bound at the far end": select(U.id).outerjoin(
        sessions, and_(S.brand_id == U.brand_id, S.brand_id == brand)
    ),
    "full join": select(U.id).join(sessions, S.brand_id == U.brand_id, full=True).where(of_brand),
    "comma join": select(U.id, S.id).where(of_brand),
    "exists": select(records.c.id).where(exists(select(U.id).where(U.id == records.c.id))),
    "exists of the same table": select(U.id).where(of_brand, exists(select(U.id).where(U.n == 1))),
    "correlated without it": select(U.id).where(of_brand, exists(select(S.id).where(S.user_id == U.id))),
    "correlated with a loose one": select(U.id).where(exists(select(S.id).where(S.brand_id == U.brand_id))),
    "bound only inside exists": select(U.id).where(exists(select(S.id).where(of_brand, S.brand_id == brand))),
    "not correlated": select(U.id).where(
        of_brand, exists(select(S.id).where(S.brand_id == U.brand_id).correlate(None))
    ),
    "scalar subquery": select(U.id, select(func.count(S.id)).scalar_subquery()).where(of_brand),
    "subquery inside a function": select(func.coalesce(select(func.count(S.id)).scalar_subquery(), 0))
    .select_from(users)
    .where(of_brand),
    "subquery in order by": select(U.id).where(of_brand).order_by(select(S.id).limit(1).scalar_subquery()),
    "subquery in limit": select(U.id).where(of_brand).limit(select(func.count(S.id)).scalar_subquery()),
    "in subquery": select(U.id).where(of_brand, U.id.in_(select(S.user_id))),
    "subquery": select(loose_users.subquery().c.id),
    "filter around a subquery": select((sub2 := loose_users.subquery()).c.id).where(sub2.c.brand_id == brand),
    "joined to a tied subquery of another name": select(S.id).join(
        sub3 := select(U.id, U.n.label("brand_id")).where(of_brand).subquery(), sub3.c.brand_id == S.brand_id
    ),
    "cte": select(loose_users.cte("loose").c.id),
    "cte that is only added": select(U.id).where(of_brand).add_cte(loose_users.cte("loose")),
    "union": union_all(tied_users, loose_users),
    "union in a subquery": select(union_all(tied_users, loose_users).subquery().c.id),
    "lateral": select(U.id)
    .select_from(users.join(lateral(select(S.id).where(S.user_id == U.id)), true()))
    .where(of_brand),
    "tablesample": select(users.tablesample(10).c.id),
    "text": text("SELECT id FROM users"),
    "text in where": select(U.id).where(of_brand, text("id IN (SELECT id FROM sessions)")),
    "text as a table": select(text("SELECT id FROM users").columns(column("id")).subquery().c.id),
    "literal column": select(literal_column("(SELECT id FROM sessions)")).where(of_brand),
    "table by name": select(table("users", column("id")).c.id),
    "update": update(users).where(U.id == bindparam("id")).values(n=1),
    "update all": update(users).values(n=1),
    "update to another brand": update(users).where(of_brand).values(brand_id=bindparam("other")),
    "update from": update(users).where(of_brand, S.user_id == U.id).values(n=1),
    "update by a subquery": update(users).where(of_brand).values(n=select(func.count(S.id)).scalar_subquery()),
    "update returning a subquery": changed.values(n=1).returning(select(func.count(S.id)).scalar_subquery()),
    "delete": delete(users).where(U.id == bindparam("id")),
    "delete nothing": delete(users).where(false()),
    "delete in": delete(users).where(of_brand, U.id.in_(select(S.user_id))),
    "insert": insert(users).values(id=bindparam("id")),
    "insert a constant": insert(users).values(id=bindparam("id"), brand_id="fixed"),
    "insert many, one without": insert(users).values(
        [{"id": bindparam("a"), "brand_id": brand}, {"id": bindparam("c"), "brand_id": None}]
    ),
    "insert from a loose select": insert(sessions).from_select(["id", "brand_id"], loose_users),
    "insert from select without it": insert(sessions).from_select(["id"], select(records.c.id)),
    "insert from select in wrong order": insert(sessions).from_select(["brand_id", "id"], tied_users),
    "insert with a loose subquery": insert(users).values(id=select(S.id).limit(1).scalar_subquery(), brand_id=brand),
    "upsert over another brand": added.on_conflict_do_update(index_elements=["id"], set_={"n": 1}),
    "upsert that moves": added.on_conflict_do_update(
        index_elements=["brand_id", "id"], set_={"brand_id": bindparam("other")}
    ),
}


@pytest.mark.parametrize("expression", BOUND.values(), ids=BOUND.keys())
def test_a_bound_statement_compiles(expression: Any) -> None:
    assert Statement(expression).compiled("postgresql").text


@pytest.mark.parametrize("expression", LOOSE.values(), ids=LOOSE.keys())
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_an_unbound_statement_does_not_compile(dialect: Any, expression: Any) -> None:
    statement = Statement(expression)
    for _ in range(2):
        with pytest.raises(UnboundBrand):
            statement.compiled(dialect)


def test_an_unbound_statement_gives_a_reason() -> None:
    loose = select(S.id).where(S.id == bindparam("id"))
    assert "sessions" in Statement(loose, unbranded="the digest names the row").compiled("sqlite").text
    for reason in (None, ""):
        with pytest.raises(UnboundBrand, match="sessions"):
            Statement(loose, unbranded=reason).compiled("sqlite")
