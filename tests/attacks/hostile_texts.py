"""Texts that mean something to a mail server, a mail program, a browser, a template or a shell."""

from __future__ import annotations

HOSTILE = (
    "x\r\nBcc: eve@example.org", "x\nBcc: eve@example.org", "x\rBcc: eve@example.org", "x\r\n\r\n<h1>Hello</h1>",
    "x\r\n.\r\nMAIL FROM:<eve@example.org>\r\nRCPT TO:<eve@example.org>\r\nDATA\r\nhello", "x\n.\nRSET", "\0",
    "\x1b[2J", "x\u2028Bcc: eve@example.org", "x\u0085Bcc: eve@example.org", "x\vBcc: e\fTo: e",
    "=?utf-8?q?x=0d=0aBcc:_eve?=", "=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5vcmc=?=", "\u202eelpmaxe", "\ud800",
    "x" * 100_000, "é" * 20_000, " " * 5000, "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>',
    "</a><a href='https://evil.example'>", "<!--", "]]>", "'\"><svg/onload=alert(1)>", "&lt;script&gt;",
    "javascript:alert(1)", "https://evil.example/", "--=_boundary--", "{{ 7 * 7 }}", "{{7*7}}", "{% raw %}",
    "{% include '/etc/passwd' %}", "{{ link }}", "{{ self.__class__ }}", "{#", "}}", "${7*7}", "#{7*7}", "%(link)s",
    "{link}", "{0.__class__}", "../../../etc/passwd", "en\r\nX: y", "en/../de", "%s%s%n",
)  # fmt: skip
"""What might be put into whatever a mail shows."""

ADDRESSES = (
    "{{7*7}}@example.com",
    "{%raw%}@example.com",
    "{#x#}@example.com",
    "${7*7}@example.com",
    "#{7*7}@example.com",
    "a&b'c@example.com",
    "a=0d=0abcc=3aeve=40example.org?=@example.com",
    "utf-8?b?eA0KQmNjOiBl?=@example.com",
    "%s%n@example.com",
    "a%0d%0ab@example.com",
    "-oProxy=x@example.com",
    "`id`@example.com",
    "|id@example.com",
    "ünïcödé@example.com",
    "a@bücher.example",
    "'or'1'='1@example.com",
)
"""Addresses, all of them: RFC 5321 allows more than one would like."""

REACHES = (
    "{{ ''.__class__.__mro__ }}", "{{ self.__init__.__globals__ }}", "{{ brand.__class__ }}", "{{ brand['x'] }}",
    "{{ cycler.__init__ }}", "{{ lipsum() }}", "{{ namespace() }}", "{{ joiner() }}", "{{ link|attr('x') }}",
    "{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% from 'x' import y %}",
    "{% extends '/etc/passwd' %}", "{% for i in range(10 ** 9) %}x{% endfor %}", "{{ 'x' * 10 ** 9 }}",
    "{{ range(10 ** 9) }}", "{{ config }}", "{{ link|safe }}", "{{ brand|map('x') }}", "{% set x = 1 %}",
    "{% macro m() %}{% endmacro %}", "{{ '%c' % 0x41 }}", "{{ '{0.__class__}'.format(brand) }}", "{{ token }}",
    "{{ master_key }}", "{{ user }}", "{% autoescape false %}",
)  # fmt: skip
"""Templates that would reach further than to the values that they may show."""
