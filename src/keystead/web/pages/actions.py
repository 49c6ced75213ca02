"""What the pages do: show what a link would change and who requested it, and carry it out when its form is posted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from keystead.authentication import email_verification, links, magic_link, password_change
from keystead.authentication.links import LinkPreview
from keystead.context import Context
from keystead.crypto.password_rules import SHORTEST
from keystead.crypto.secrets import Secret, SecretKind
from keystead.errors import BadUserInput, TokenInvalid
from keystead.mail.request_headers import device_of
from keystead.policy import require_feature
from keystead.sessions.model import Device
from keystead.users.one_time_tokens.model import TokenPurpose
from keystead.web.pages.csrf import FormSeal, choose_target, require_own_origin
from keystead.web.pages.rendering import Wording, choose_wording, render
from keystead.web.pages.responses import Answer

LONGEST_PRODUCT = 40
FIELDS = frozenset(("token", "seal", "redirect"))
RESET_FIELDS = FIELDS | {"password", "repeated"}
_REASONS = frozenset(("length", "character", "common", "context"))
_FEATURES: dict[SecretKind, tuple[str, ...]] = {
    SecretKind.magic: ("magic_login",),
    SecretKind.reset: ("password_reset", "password_login"),
}
_PRODUCT = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_PRODUCT}}}/[0-9][0-9.]{{0,9}}(?![^ ])", re.ASCII)
_JOINS = (TokenPurpose.verify, TokenPurpose.claim)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request to the page of a link that is valid."""

    ctx: Context
    path: str
    secret: Secret
    link: LinkPreview
    asked_redirect: str | None
    wording: Wording
    seal: str = field(repr=False)

    @property
    def target(self) -> str | None:
        """Where the browser is redirected afterwards."""
        return choose_target(self.asked_redirect, self.link.brand.redirect_urls)


async def find_visit(
    ctx: Context, path: str, kind: SecretKind, secret: Secret | None, asked_redirect: str | None, seals: FormSeal
) -> Visit:
    """Look up the link of a token without consuming it.

    :raises TokenInvalid: for every token that is not valid now, or of another kind.
    :raises Forbidden: when the brand has disabled the link's feature.
    """
    link = await links.preview(ctx, secret)
    if secret is None or link.token.purpose is TokenPurpose.handed_over:
        # A token that a page has passed on to an app is accepted from the app alone.
        raise TokenInvalid
    for feature in _FEATURES.get(kind, ()):
        require_feature(link.brand.features, feature)
    wording = choose_wording(ctx.request.accept_language, link.brand.policy.mail_language)
    return Visit(ctx, path, secret, link, asked_redirect, wording, seals.seal(secret))


def show(visit: Visit, *, wrong: Sequence[str] = ()) -> Answer:
    """The page with the link's effects and its form; ``wrong`` lists the errors of the previous submission."""
    link, wording, brand = visit.link, visit.wording, visit.link.brand
    name, target = link.token.purpose.value, visit.target
    text = render(
        "reset" if link.token.purpose is TokenPurpose.reset else "confirm",
        wording,
        brand=brand.name,
        title=wording.say(f"{name}.title", brand=brand.name),
        lead=wording.say(f"{name}.lead", brand=brand.name),
        button=wording.say(f"{name}.button"),
        facts=_facts(link, wording),
        consequences=_consequences(link, wording),
        # Relative: works wherever the brand's base URL is mounted, and depends on no request header.
        page=visit.path.rpartition("/")[2],
        token=visit.secret.reveal(),
        seal=visit.seal,
        redirect=target if target == visit.asked_redirect else None,
        address=link.current_address or link.token.email,
        minimum=_minimum(link),
        wrong=wrong,
    )
    leads_to = target if visit.secret.kind is SecretKind.magic else None
    return Answer(400 if wrong else 200, text, form_leads_to=leads_to, base_url=brand.base_url)


async def carry_out(visit: Visit, form: dict[str, str]) -> Answer:
    """Consume the link and do what it is for.

    :raises OriginRefused: when the form was sent from another origin.
    :raises TokenInvalid: when a concurrent request has consumed the link, or it is no longer valid.
    :raises Overload: when the server cannot do it now; the link stays valid.
    """
    settings = visit.ctx.server.settings
    require_own_origin(visit.ctx.request.origin, settings.base_url, visit.link.brand.base_url)
    match visit.secret.kind:
        case SecretKind.verify:
            await email_verification.verify_email(visit.ctx, visit.secret)
            return _done(visit, "done_verify")
        case SecretKind.magic:
            return _handed_over(visit, await magic_link.hand_over(visit.ctx, visit.secret))
        case _:
            return await _reset(visit, form)


async def _reset(visit: Visit, form: dict[str, str]) -> Answer:
    password = form.get("password", "")
    if password != form.get("repeated", ""):
        too_short = [_wrong(visit, "length")] if len(password) < _minimum(visit.link) else []
        return show(visit, wrong=[*too_short, _wrong(visit, "differ")])
    try:
        await password_change.reset_password(visit.ctx, visit.secret, password, field="password")
    except BadUserInput as error:
        reason = error.extensions.get("reason")
        return show(visit, wrong=[_wrong(visit, reason if reason in _REASONS else "other")])
    return _done(visit, "done_reset")


def _wrong(visit: Visit, name: str) -> str:
    return visit.wording.say(f"wrong.{name}", minimum=_minimum(visit.link))


def _handed_over(visit: Visit, fresh: Secret) -> Answer:
    """Redirect to the brand's app with a fresh token in the fragment, which neither logs nor ``Referer`` contain."""
    base_url = visit.link.brand.base_url
    if visit.target is not None:
        location = f"{visit.target}#token={fresh.reveal()}"
        return Answer(303, location=location, form_leads_to=visit.target, base_url=base_url)
    say, brand = visit.wording.say, visit.link.brand.name
    title, lead = say("code.title"), say("code.lead", brand=brand)
    text = render("code", visit.wording, brand=brand, title=title, lead=lead, code=fresh.reveal())
    return Answer(200, text, base_url=base_url)


def _done(visit: Visit, name: str) -> Answer:
    say, brand = visit.wording.say, visit.link.brand.name
    lead = say(f"{name}.lead", brand=brand, address=visit.link.token.email)
    text = render("done", visit.wording, brand=brand, title=say(f"{name}.title"), lead=lead, onward=visit.target)
    return Answer(200, text, base_url=visit.link.brand.base_url)


def _minimum(link: LinkPreview) -> int:
    return max(link.brand.policy.password_minimum, SHORTEST)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the table on the page."""

    label: Markup
    text: Markup | str


def _facts(link: LinkPreview, wording: Wording) -> list[Fact]:
    """Account, address, time and device of the request that the link belongs to."""
    say = wording.say
    found = [Fact(say("fact.account"), _account(link, wording))]
    if link.token.purpose in _JOINS:
        found.insert(0, Fact(say("fact.address"), link.token.email))
    found.append(Fact(say("fact.asked"), wording.moment(link.requested_at or link.token.created_at)))
    if link.requested_from is not None:
        found.append(Fact(say("fact.device"), _device(link.requested_from, wording)))
    return found


def _consequences(link: LinkPreview, wording: Wording) -> list[Markup]:
    """Side effects: a new password, ended sessions."""
    notes = [wording.say("note.password")] if link.sets_password else []
    if link.ends_all_sessions:
        notes.append(wording.say("note.sessions"))
    elif link.token.purpose in _JOINS:
        notes.append(wording.say("note.others"))
    return notes


def _account(link: LinkPreview, wording: Wording) -> Markup | str:
    return link.current_address or wording.say("fact.guest", moment=wording.moment(link.user_created_at))


def _device(device: Device, wording: Wording) -> Markup | str:
    """The device that opened the session; its network may have changed since."""
    place, agent = device.ip_prefix, _agent_name(device.user_agent or "")
    if place and agent:
        return wording.say("fact.from_there", place=place, device=agent)
    return place or agent or wording.say("fact.unknown")


def _agent_name(user_agent: str) -> str:
    """Browser and system, or a bare product token. Never more of the header: its sender could address the reader."""
    product = _PRODUCT.match(user_agent)
    return device_of(user_agent) or (product[0] if product else "")
