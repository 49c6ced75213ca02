"""Mail templates: the shipped ones, and a brand's own.

A template is a Jinja source for one kind of mail in one language, with three blocks: ``subject``, ``text``, ``html``.
``keystead mail template show`` prints the shipped one to start from. Variables, syntax and layout: docs/mail.md.

**Variables** (``model.Values``) are strings. Always set: ``brand``, ``address`` (the recipient), ``when`` (time of the
event: ``2026-01-01 12:00 UTC``) and ``language``. In verify_email, change_email, magic_login and reset_password:
``link``, and its lifetime in ``hours``, or below one hour in ``minutes``; the other one is empty. Empty when unknown:
``ip_prefix`` (network of the request; in session_reused, of the request that opened the session), ``device`` (likewise:
``Firefox, Linux``) and, in address_changed, ``new_address`` (masked).

**Syntax** (``grammar``): ``{{ variable }}``, ``if``/``elif``/``else``, conditional expressions, comparisons, ``and``,
``or``, ``not``, ``~``, comments, some filters and tests. No loops, calls, attributes or numbers. Values in ``html`` are
escaped. Inside a tag only ``link`` can be used, with optional parameters after it:
``<a href="{{ link }}&amp;redirect=https://app.example.com/welcome">``.

**Layout**: with ``{% extends "layout" %}`` the block ``html`` is placed in the shipped page, above the button. More
blocks: ``title`` (default: the subject), ``preheader`` (an inbox shows it after the subject), ``button`` (its label),
``by_hand`` (the words before the link below it), ``closing`` and ``footer``. Otherwise ``html`` is the whole HTML part.

**Limits**: 64 KiB of source, 2,000 syntax nodes, 256 KiB of output.
"""
