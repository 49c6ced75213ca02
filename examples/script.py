"""List the customers of a brand, page by page, with an API key.

KEYSTEAD_ENDPOINT=http://localhost:4000 KEYSTEAD_API_KEY=ks_sk_... python script.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from keystead_client import Client, KeysteadError, NetworkError
from keystead_client.errors import Forbidden, GraphQLValidationFailed, RateLimited, Unauthorized


def customers(client: Client, per_page: int = 50) -> Iterator[dict[str, Any]]:
    """Yield all of them; each page is fetched when it is needed."""
    number, has_more = 1, True
    while has_more:
        page = client.entity("customer").list(
            ["name", "email", "status"], pagination={"page": number, "per_page": per_page}
        )
        yield from page.data
        number, has_more = number + 1, page.has_more_pages


def main() -> str | None:
    """Print one line per customer; return an error message, or None."""
    missing = [name for name in ("KEYSTEAD_ENDPOINT", "KEYSTEAD_API_KEY") if not os.environ.get(name)]
    if missing:
        return f"Please set {' and '.join(missing)}."
    try:
        with Client() as client:
            for customer in customers(client):
                print(f"{customer['name']:30} {customer['email'] or '-':30} {customer['status'] or '-'}")
    except ValueError as error:
        return f"KEYSTEAD_ENDPOINT or KEYSTEAD_API_KEY cannot be used: {error}."
    except NetworkError as error:
        return f"{os.environ['KEYSTEAD_ENDPOINT']}: {error.message}. Is it running?"
    except Unauthorized:
        return "The server does not know this API key: was it revoked?"
    except Forbidden as error:
        return f"This API key lacks the permission {error.permission}."
    except GraphQLValidationFailed:
        return "The brand of this API key has no entity 'customer' with name, email and status."
    except RateLimited as error:
        return f"Too many requests. Try again in {error.retry_after or 60:.0f} seconds."
    except KeysteadError as error:
        return f"{error.message} (code {error.code}, reference {error.reference_id})"
    return None


if __name__ == "__main__":
    sys.exit(main())
