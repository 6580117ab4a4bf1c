"""Takes keys out of text that others wrote: a library's message, a traceback, a provider's words."""

import re

# Keys of callers, whose id may be shown, and of the providers: two forms of Google's, the one of DeepSeek and of many
# gateways, and whatever stands in an Authorization header.
_KEYS = re.compile(
    r"\b(vj_[0-9a-f]{12}_)[0-9a-f]{64}\b"
    r"|\bAIza[0-9A-Za-z_-]{35}"
    r"|\bAQ\.[0-9A-Za-z_-]{30,}"
    r"|\bsk-[0-9A-Za-z_-]{16,}"
    r"|\b(Bearer )(?!vj_)[0-9A-Za-z._~+/-]{16,}=*"
)

REDACTED = "[redacted]"


def redacted(text: str, *secrets: str) -> str:
    """Return the text without keys.

    Args:
        text: Any.
        secrets: Taken out too, wherever they stand as they are; "" is none.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, REDACTED)
    return _KEYS.sub(lambda found: f"{found[1] or found[2] or ''}{REDACTED}", text)
