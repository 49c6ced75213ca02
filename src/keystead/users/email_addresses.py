"""Parse, normalise and compare e-mail addresses, and detect look-alikes. Security §13.

Mail goes to the address as its owner wrote it, never to one of the two other forms, which are only compared.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from dataclasses import dataclass

from keystead.crypto.master_key import MasterKey
from keystead.errors import BadUserInput

LONGEST = 254
"""Characters of a whole address: RFC 5321 §4.5.3.1.3, as corrected by erratum 1690 of RFC 3696."""
LONGEST_LOCAL = 64
"""Octets of the local part (RFC 5321 §4.5.3.1.1)."""
LONGEST_DOMAIN = 253
"""Octets of the domain (RFC 1035 §2.3.4, without the root's dot)."""

# RFC 5321 "Dot-string", with the letters, marks and digits of RFC 6532. Quoted local parts, comments and address
# literals are valid in mail and rejected here: spaces, quotes and brackets can smuggle a second address in.
_ATOM_SYMBOLS = frozenset("!#$%&'*+-/=?^_`{|}~")
# "=?" begins an encoded word (RFC 2047 §2): some mail software decodes it here, into another recipient.
_ENCODED_WORD = "=?"
# "--" as third and fourth character is reserved by IDNA (RFC 5891 §4.2.3.1): such labels are parsed by ``idna``.
_PLAIN_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN_DOMAIN = re.compile(rf"(?:{_PLAIN_LABEL}\.)+{_PLAIN_LABEL}", re.ASCII)
# Invisible letters and marks (Default_Ignorable_Code_Point): two addresses would look the same.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """One e-mail address in its three forms."""

    display: str
    """As its owner writes it (NFC): shown to readers and used for mail."""
    canonical: str
    """Lower-cased, the domain in ASCII: equal for all spellings of an address. A login looks this up."""
    skeleton: str
    """Equal for addresses that look alike to a reader (NFKC, case-folded): they cannot both be logins."""

    @property
    def local_part(self) -> str:
        """The part before the @, lower-cased."""
        return self.canonical.rpartition("@")[0]

    def pseudonym(self, master_key: MasterKey, brand_id: str) -> str:
        """The address in the audit log (security §16): 32 hexadecimal digits, equal for equal addresses of a brand.

        Without the master key it cannot be traced back to the address.
        """
        key = master_key.derive("audit-address")
        return hmac.new(key, f"{brand_id}\0{self.canonical}".encode(), "sha256").hexdigest()[:32]


def parse(raw: object, field: str = "email") -> EmailAddress:
    """Parse ``raw`` as exactly one address.

    :raises BadUserInput: for anything else (lists, several addresses, white space, control characters, quotes, a domain
        without a dot, more than 254 characters); names ``field``.
    """
    if not isinstance(raw, str) or len(raw) > LONGEST or raw.count("@") != 1:
        raise _invalid(field)
    display = unicodedata.normalize("NFC", raw)
    local, _, domain = display.partition("@")
    folded = _fold(local)
    # The folded form too: folding may produce characters that an address must not contain ("⑴" becomes "(1)").
    if not _is_local_part(local) or not _is_local_part(folded):
        raise _invalid(field)
    ascii_domain = _ascii_domain(domain)
    if ascii_domain is None:
        raise _invalid(field)
    canonical = unicodedata.normalize("NFC", local.lower())
    return EmailAddress(display, f"{canonical}@{ascii_domain}", f"{folded}@{ascii_domain}")


def _is_local_part(local: str) -> bool:
    if _INVISIBLE.search(local) or not all(local.split(".")) or not all(map(_is_local_character, local)):
        return False
    if _ENCODED_WORD in local:
        return False
    # Only now: lone surrogates, which cannot be encoded, have been rejected above.
    return len(local.encode()) <= LONGEST_LOCAL and not unicodedata.combining(local[0])


def _is_local_character(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _ATOM_SYMBOLS or character == "."
    return unicodedata.category(character)[0] in "LMN"


def _ascii_domain(domain: str) -> str | None:
    """The domain in lower-case ASCII, or None if invalid: IDNA 2008 (RFC 5891), at least two labels."""
    domain = unicodedata.normalize("NFC", domain.lower())
    if not _PLAIN_DOMAIN.fullmatch(domain):
        found = _encoded_domain(domain)
        if found is None:
            return None
        domain = found
    # A last label of digits would be an IPv4 address, not a name (RFC 1123 §2.1).
    is_name = "." in domain and len(domain) <= LONGEST_DOMAIN and not domain.rpartition(".")[2].isdigit()
    return domain if is_name else None


def _encoded_domain(domain: str) -> str | None:
    # Imported lazily: its tables take megabytes, and few domains need them.
    import idna

    if domain.endswith("."):
        return None
    try:
        return idna.encode(domain, strict=True).decode("ascii")
    except UnicodeError:  # idna.IDNAError is one, and so is what a lone surrogate raises
        return None


def _fold(text: str) -> str:
    """Compatibility caseless form (Unicode D146), via upper case: "ı" and "i" share the capital "I"."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).upper().casefold())
    return unicodedata.normalize("NFKC", text.upper().casefold())


def _invalid(field: str) -> BadUserInput:
    return BadUserInput("This is not an e-mail address that can be used here.", field=field)
