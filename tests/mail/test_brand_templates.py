"""A brand's own templates."""

from __future__ import annotations

import pytest

from keystead.audit import service as audit
from keystead.context import ActiveBrand, Server
from keystead.errors import BadUserInput, NotFound
from keystead.mail.model import MailKind
from keystead.mail.templates import service
from keystead.pagination import PageRequest
from tests.clocks import ManualClock
from tests.mail.wording import make_source
from tests.make import make_brand, make_context

KIND = MailKind.password_changed


async def own(server: Server, brand: ActiveBrand, language: str = "en", kind: MailKind = KIND) -> str:
    """Sets a template that says in which language it is; returns its source."""
    source = make_source(subject=f"ours in {language}")
    await service.set_template(make_context(server), brand.id, kind, language, source)
    return source


async def languages(server: Server, brand: ActiveBrand, *wanted: str) -> list[tuple[str, bool]]:
    """The languages of the wordings found, the best first, and which are the brand's own."""
    found = await service.find_wordings(server.db.reads, brand.id, KIND, wanted)
    return [(wording.language, wording.is_own) for wording in found]


async def test_a_template_is_set_and_replaced(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    ctx = make_context(server)
    await own(server, brand)
    clock.advance(seconds=60)
    template = await service.set_template(ctx, brand.id, KIND, "EN", make_source("Another"))
    page = await service.list_templates(ctx, brand.id, PageRequest())
    assert list(page.items) == [template]
    assert (template.kind, template.language, template.updated_at) == (KIND, "en", clock.now())
    assert (await service.show_wording(ctx, brand.id, KIND, "En")).source == template.source


async def test_a_template_is_removed(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server)
    source = await own(server, brand, "fr")
    assert (await service.show_wording(ctx, brand.id, KIND, "fr")).source == source
    await service.remove_template(ctx, brand.id, KIND, "FR")
    with pytest.raises(NotFound):
        await service.show_wording(ctx, brand.id, KIND, "fr")
    with pytest.raises(NotFound):
        await service.remove_template(ctx, brand.id, KIND, "fr")
    assert await languages(server, brand, "fr") == [("en", False)]


async def test_ours_is_shown_where_there_is_none(server: Server, brand: ActiveBrand) -> None:
    wording = await service.show_wording(make_context(server), brand.id, KIND, "de")
    assert (wording.language, wording.is_own) == ("de", False)
    assert "Ihr Passwort" in wording.source


async def test_templates_are_listed_by_kind_and_language(server: Server, brand: ActiveBrand) -> None:
    for kind, language in ((KIND, "fr"), (MailKind.address_taken, "it"), (KIND, "de-at"), (KIND, "de")):
        await own(server, brand, language, kind)
    page = await service.list_templates(make_context(server), brand.id, PageRequest(1, 3))
    found = [(template.kind.value, template.language) for template in page.items]
    assert found == [("address_taken", "it"), ("password_changed", "de"), ("password_changed", "de-at")]
    assert page.has_more_pages


async def test_a_brand_sees_its_own_alone(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "otherBrand")
    await own(server, brand, "fr")
    assert await languages(server, other, "fr") == [("en", False)]
    assert list((await service.list_templates(make_context(server), other.id, PageRequest())).items) == []
    with pytest.raises(NotFound):
        await service.remove_template(make_context(server), other.id, KIND, "fr")


async def test_what_is_changed_is_recorded(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    ctx = make_context(server)
    clock.advance(seconds=1)
    await own(server, brand, "fr")
    clock.advance(seconds=1)
    await service.remove_template(ctx, brand.id, KIND, "fr")
    with pytest.raises(BadUserInput):
        await service.set_template(ctx, brand.id, KIND, "fr", "{{ unknown }}")
    events = (await audit.list_events(ctx, brand.id, PageRequest(1, 2))).items
    assert [event.event for event in events] == ["mail_template.removed", "mail_template.changed"]
    assert events[0].details == {"kind": "password_changed", "language": "fr"}


@pytest.mark.parametrize(
    ("language", "source", "field"),
    [
        ("../de", make_source(), "language"), ("", make_source(), "language"), ("de", "{{ ''.__class__ }}", "source"),
        ("de", "no blocks", "subject"), ("de", make_source(text=" "), "text"), ("de", "\ud800", "source"),
    ],
)  # fmt: skip
async def test_an_unsound_one_changes_nothing(
    server: Server, brand: ActiveBrand, language: str, source: str, field: str
) -> None:
    before = await own(server, brand, "de")
    with pytest.raises(BadUserInput) as refused:
        await service.set_template(make_context(server), brand.id, KIND, language, source)
    assert refused.value.extensions == {"field": field}
    assert (await service.show_wording(make_context(server), brand.id, KIND, "de")).source == before


async def test_the_first_language_that_there_is_wording_for_is_taken(server: Server, brand: ActiveBrand) -> None:
    await own(server, brand, "fr")
    await own(server, brand, "de-at")
    assert await languages(server, brand, "it", "fr-ca", "de") == [("fr", True), ("de", False), ("en", False)]
    assert await languages(server, brand, "de-at") == [("de-at", True), ("de", False), ("en", False)]
    assert await languages(server, brand, "de-ch", "fr") == [("de", False), ("fr", True), ("en", False)]
    assert await languages(server, brand) == [("en", False)]


async def test_the_brands_own_comes_before_ours_within_one_language(server: Server, brand: ActiveBrand) -> None:
    await own(server, brand, "en")
    assert await languages(server, brand, "de", "en") == [("de", False), ("en", True), ("en", False)]
    assert await languages(server, brand, "xx") == [("en", True), ("en", False)]
