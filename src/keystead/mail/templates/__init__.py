"""What mails say: the wording that comes with Keystead, and what a brand puts in its place.

A template is one Jinja source, for one kind of mail in one language. It has three blocks: ``subject``, ``text`` and
``html``. ``keystead mail template show`` prints ours, which is a good one to begin with.

**Variables**, each a text (``model.Values``). Always there: ``brand``, ``address`` (that the mail goes to), ``when``
(it happened or was asked for: ``2026-01-01 12:00 UTC``) and ``language`` (the tag of the wording). In verify_email,
change_email, magic_login and reset_password: ``link``, and how long it is good for, in ``hours`` from an hour up and in
``minutes`` below; the one that does not fit is empty. Empty where they are not known: ``ip_prefix`` (the network that
the request came from; in session_reused, that the session was opened from), ``device`` (the same: ``Firefox, Linux``)
and, in address_changed, ``new_address`` (a hint at it). What a kind of mail does not have is empty in it.

**What can be written**: ``{{ variable }}``, ``{% if %}`` with ``elif`` and ``else``, ``a if b else c``, comparisons,
``and``, ``or``, ``not``, ``~``, comments, the filters and tests of ``grammar``. No loops, calls, attributes or numbers:
they are refused (``grammar`` says why). In ``html`` every value is escaped. Inside a tag only ``link`` can be shown;
more parameters may follow it: ``<a href="{{ link }}&amp;redirect=https://app.example.com/welcome">``.

**The layout.** A template that begins with ``{% extends "layout" %}`` puts its block ``html`` into our page, above the
button. The page has more blocks: ``title`` (left out: the subject), ``preheader`` (what an inbox shows beside the
subject), ``button`` (its words; left out: ours), ``by_hand`` (the words before the link below it), ``closing`` and
``footer``. Without ``extends`` the block ``html`` is the whole HTML part. Other blocks are refused.

**Limits**: 64 KiB of source, 2,000 parts, 256 KiB of output.
"""
