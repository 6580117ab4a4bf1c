"""What can be wrong with a 200, and with the way to it: the rows, and how each provider calls its endings.

https://ai.google.dev/api/generate-content#FinishReason
https://api-docs.deepseek.com/api/create-chat-completion
"""

from collections.abc import Mapping
from types import MappingProxyType

from policies.failure_rows import (
    BAD_REQUEST,
    BLOCKED,
    CANCELLED,
    DEEPSEEK,
    GEMINI,
    INVALID_OUTPUT,
    PROVIDER_ERROR,
    TIMEOUT,
    Paid,
    Row,
)
from policies.ladder import Flaw

UNSENDABLE = Row(
    name="unsendable",
    comes="nothing: the request cannot be put into the provider's words",
    kind=BAD_REQUEST,
    retryable=False,
)
NOT_CONNECTED = Row(
    name="not_connected",
    comes="no connection; nothing was sent",
    kind=PROVIDER_ERROR,
    retryable=True,
)
CONNECTION_BROKEN = Row(
    name="connection_broken",
    comes="the connection broke after the request began to be sent",
    kind=PROVIDER_ERROR,
    retryable=True,
    paid=Paid.MAYBE,
)
TIMED_OUT = Row(
    name="timed_out",
    comes="no answer within the job's timeout",
    kind=TIMEOUT,
    retryable=True,
    paid=Paid.MAYBE,
    message="The attempt took longer than {words}.",
)
CALL_CANCELLED = Row(
    name="call_cancelled",
    comes="the job is no longer wanted while its call is under way; the executor hangs up",
    kind=CANCELLED,
    retryable=True,
    paid=Paid.MAYBE,
)
UNREADABLE = Row(
    name="unreadable",
    comes="200 whose body is not JSON, not an object, longer than 2 MiB, or compressed and undecipherable",
    kind=PROVIDER_ERROR,
    retryable=True,
    paid=Paid.YES,
)

BLOCKED_PROMPT = Row(
    name="blocked_prompt",
    provider=GEMINI,
    comes="200 without text, with a blockReason",
    kind=BLOCKED,
    retryable=False,
    paid=Paid.YES,
    message="The provider blocked the request: {words}.",
)
EMPTY = Row(
    name="empty",
    comes="200 without candidates or choices, or with an empty body",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.EMPTY,
    message="The answer is empty.",
)
LOOPING = Row(
    name="looping",
    comes="MAX_TOKENS or length, and the end of the text is one piece again and again",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.LOOPING,
    message="The answer repeats itself up to the limit of output tokens.",
)
TRUNCATED = Row(
    name="truncated",
    comes="MAX_TOKENS or length, also where the text is JSON",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.TRUNCATED,
    message="The answer was cut off: it reached the limit of output tokens, thinking included.",
)
BLOCKED_OUTPUT = Row(
    name="blocked_output",
    comes="an ending for safety: SAFETY, BLOCKLIST, PROHIBITED_CONTENT, SPII, MODEL_ARMOR, IMAGE_…, content_filter",
    kind=BLOCKED,
    retryable=False,
    paid=Paid.YES,
    message="The provider blocked the answer: {words}.",
)
RECITATION = Row(
    name="recitation",
    provider=GEMINI,
    comes="RECITATION",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.RECITATION,
    message="The answer was withheld: it repeats protected text.",
)
NO_RESOURCES = Row(
    name="deepseek_no_resources",
    provider=DEEPSEEK,
    comes="insufficient_system_resource",
    kind=PROVIDER_ERROR,
    retryable=True,
    paid=Paid.YES,
    message="The provider ran out of resources in the middle of the answer.",
)
UNFINISHED = Row(
    name="unfinished",
    comes="any other ending: LANGUAGE, OTHER, MALFORMED_RESPONSE, CONTINUATION, tool_calls, unknown ones",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.UNFINISHED,
    message="The answer ended with {words}.",
)
NO_TEXT = Row(
    name="no_text",
    provider=GEMINI,
    comes="STOP without parts, with thoughts only, or with blanks only",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.NO_TEXT,
    message="The answer has no text.",
)
BLANK = Row(
    name="deepseek_blank",
    provider=DEEPSEEK,
    comes="stop with blanks only: in JSON mode they stand for what was no JSON",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.EMPTY,
    message="The answer is blank.",
)
TOO_LONG = Row(
    name="too_long",
    comes="a text of more than 512 Ki characters, which is more than a model's most output tokens hold",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.UNFINISHED,
    message="The answer is longer than 524288 characters.",
)
NOT_JSON = Row(
    name="not_json",
    comes="a complete text that is not JSON",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.NOT_JSON,
    message="The answer is not JSON: {words}",
)
SCHEMA_MISMATCH = Row(
    name="schema_mismatch",
    comes="JSON that the caller's full schema does not allow",
    kind=INVALID_OUTPUT,
    retryable=True,
    paid=Paid.YES,
    flaw=Flaw.SCHEMA_MISMATCH,
    message="The answer does not satisfy the schema: {words}",
)

TRANSPORT_ROWS = (UNSENDABLE, NOT_CONNECTED, CONNECTION_BROKEN, TIMED_OUT, CALL_CANCELLED, UNREADABLE)
ANSWER_ROWS = (
    BLOCKED_PROMPT,
    EMPTY,
    LOOPING,
    TRUNCATED,
    BLOCKED_OUTPUT,
    RECITATION,
    NO_RESOURCES,
    UNFINISHED,
    NO_TEXT,
    BLANK,
    TOO_LONG,
    NOT_JSON,
    SCHEMA_MISMATCH,
)

COMPLETE = frozenset({"", "STOP", "FINISH_REASON_UNSPECIFIED", "stop"})
"""Endings of an answer that was said to its end."""

LIMITED = frozenset({"MAX_TOKENS", "length"})
"""Endings at the limit of output tokens."""

OTHER_ENDINGS: Mapping[str, Row] = MappingProxyType(
    {
        "SAFETY": BLOCKED_OUTPUT,
        "BLOCKLIST": BLOCKED_OUTPUT,
        "PROHIBITED_CONTENT": BLOCKED_OUTPUT,
        "SPII": BLOCKED_OUTPUT,
        "MODEL_ARMOR": BLOCKED_OUTPUT,
        "IMAGE_SAFETY": BLOCKED_OUTPUT,
        "IMAGE_PROHIBITED_CONTENT": BLOCKED_OUTPUT,
        "IMAGE_RECITATION": BLOCKED_OUTPUT,
        "IMAGE_OTHER": BLOCKED_OUTPUT,
        "content_filter": BLOCKED_OUTPUT,
        "RECITATION": RECITATION,
        "insufficient_system_resource": NO_RESOURCES,
    }
)
"""The row of every other ending that is known; the providers' names for them have none in common."""
