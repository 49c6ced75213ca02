"""What the three pages do: show a link, and carry out what its form asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keystead.authentication import magic_login, open_links, proof, recovery
from keystead.authentication.open_links import OpenLink
from keystead.context import Context
from keystead.crypto import secrets
from keystead.crypto.password_rules import SHORTEST
from keystead.crypto.secrets import Secret, SecretKind
from keystead.errors import BadUserInput, TokenInvalid
from keystead.policy import require_feature
from keystead.users.one_time_tokens.model import TokenPurpose
from keystead.web.pages.intent import FormSeal, require_own_origin
from keystead.web.pages.redirects import choose_target
from keystead.web.pages.rendering import render
from keystead.web.pages.responses import Answer
from keystead.web.pages.showing import consequences, facts
from keystead.web.pages.wording import Wording, choose_wording

FIELDS = frozenset(("token", "seal", "redirect"))
RESET_FIELDS = FIELDS | {"password", "repeated"}
_REASONS = frozenset(("length", "character", "common", "context"))
_FEATURES: dict[SecretKind, tuple[str, ...]] = {
    SecretKind.magic: ("magic_login",),
    SecretKind.reset: ("password_reset", "password_login"),
}


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody at the page of a link that is good at this moment."""

    ctx: Context
    path: str
    secret: Secret
    link: OpenLink
    asked_redirect: str | None
    wording: Wording
    seal: str = field(repr=False)

    @property
    def target(self) -> str | None:
        """Where this visit leads to in the end."""
        return choose_target(self.asked_redirect, self.link.brand.redirect_urls)


async def find_visit(
    ctx: Context, path: str, kind: SecretKind, raw: str | None, asked_redirect: str | None, seals: FormSeal
) -> Visit:
    """The visit to the page of this token, which is not consumed.

    :raises TokenInvalid: for every token that is not good at this moment, or of another kind.
    :raises Forbidden: when the brand has switched off what the link is for.
    """
    secret = secrets.parse(raw, kind)
    link = None if secret is None else await open_links.look_at(ctx, secret.reveal(), kind)
    if secret is None or link is None or link.token.purpose is TokenPurpose.handed_over:
        # What a page has handed to an app is for that app alone.
        raise TokenInvalid
    for feature in _FEATURES.get(kind, ()):
        require_feature(link.brand.features, feature)
    wording = choose_wording(ctx.request.accept_language, link.brand.policy.mail_language)
    return Visit(ctx, path, secret, link, asked_redirect, wording, seals.seal(secret))


def show(visit: Visit, *, wrong: Sequence[str] = ()) -> Answer:
    """The page that says what the link would do, with the form that does it; ``wrong`` is what was wrong last time."""
    link, wording, brand = visit.link, visit.wording, visit.link.brand
    name, target = link.token.purpose.value, visit.target
    text = render(
        "reset" if link.token.purpose is TokenPurpose.reset else "confirm",
        wording,
        brand=brand.name,
        title=wording.say(f"{name}.title", brand=brand.name),
        lead=wording.say(f"{name}.lead", brand=brand.name),
        button=wording.say(f"{name}.button"),
        facts=facts(link, wording),
        consequences=consequences(link, wording),
        # Relative, so that it holds wherever the brand's base URL is mounted; no header of the request has a say.
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
    """Does what the link is for, once.

    :raises OriginRefused: when the form comes from elsewhere.
    :raises TokenInvalid: when somebody else was quicker, and whenever the link does not work any more.
    :raises Overload: when the server cannot do it now; the link stays good.
    """
    settings = visit.ctx.server.settings
    require_own_origin(visit.ctx.request.origin, settings.base_url, visit.link.brand.base_url)
    match visit.secret.kind:
        case SecretKind.verify:
            await proof.verify_email(visit.ctx, visit.secret.reveal())
            return _done(visit, "done_verify")
        case SecretKind.magic:
            return _handed_over(visit, await magic_login.hand_over(visit.ctx, visit.secret.reveal()))
        case _:
            return await _reset(visit, form)


async def _reset(visit: Visit, form: dict[str, str]) -> Answer:
    password = form.get("password", "")
    if password != form.get("repeated", ""):
        too_short = [_wrong(visit, "length")] if len(password) < _minimum(visit.link) else []
        return show(visit, wrong=[*too_short, _wrong(visit, "differ")])
    try:
        await recovery.reset_password(visit.ctx, visit.secret.reveal(), password, field="password")
    except BadUserInput as error:
        reason = error.extensions.get("reason")
        return show(visit, wrong=[_wrong(visit, reason if reason in _REASONS else "other")])
    return _done(visit, "done_reset")


def _wrong(visit: Visit, name: str) -> str:
    return visit.wording.say(f"wrong.{name}", minimum=_minimum(visit.link))


def _handed_over(visit: Visit, fresh: Secret) -> Answer:
    """Leads to the brand's app with a fresh token where no server and no ``Referer`` sees it: in the fragment."""
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


def _minimum(link: OpenLink) -> int:
    return max(link.brand.policy.password_minimum, SHORTEST)
