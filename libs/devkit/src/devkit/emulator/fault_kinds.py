"""The kinds of faults, which provider knows each, and what can be said of it. What it does to a call is elsewhere."""

import enum
from collections.abc import Mapping

GEMINI = "gemini"
DEEPSEEK = "deepseek"
PROVIDERS = frozenset({GEMINI, DEEPSEEK})


class FaultKind(enum.StrEnum):
    """What can go wrong; `docs/emulator.md` has a line on each.

    A number is an HTTP status, and nothing is billed. Other kinds are billed, but for `html`, `hang` and `reset-before`.
    `slow` and `hold` only take time.
    """

    BARE_ARGUMENT = "400"
    TOO_MANY_STATES = "400-states"
    UNKNOWN_NAME = "400-name"
    UNREADABLE_IMAGE = "400-image"
    INVALID_IMAGE = "400-image-invalid"
    LOCATION = "400-location"
    INVALID_KEY = "400-key"
    PAYLOAD_SIZE = "400-size"
    UNAUTHENTICATED = "401"
    PAYMENT_REQUIRED = "402"
    INSUFFICIENT_BALANCE = "insufficient-balance"
    PERMISSION_DENIED = "403"
    LEAKED_KEY = "403-leaked"
    SERVICE_DISABLED = "403-disabled"
    RETIRED = "404"
    NEW_USERS = "404-new-users"
    REQUEST_TIMEOUT = "408"
    TOO_LARGE = "413"
    UNPROCESSABLE = "422"
    MINUTE_QUOTA = "429"
    TOKEN_QUOTA = "429-tokens"
    DAY_QUOTA = "429-day"
    SEVERAL_QUOTAS = "429-several"
    BARE_QUOTA = "429-bare"
    HELP_QUOTA = "429-help"
    BILLING = "429-billing"
    HEADER_SECONDS = "429-header"
    HEADER_DATE = "429-header-date"
    FRACTIONAL_DELAY = "429-fractional"
    HUGE_DELAY = "429-huge"
    NEGATIVE_DELAY = "429-negative"
    ABSURD_DELAY = "429-absurd"
    CANCELLED = "499"
    INTERNAL = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    SERVICE_UNAVAILABLE = "503-service"
    DEADLINE_UNAVAILABLE = "503-deadline"
    LIST_WRAPPED = "503-list"
    DEADLINE = "504"
    HTML = "html"
    RAW = "raw"
    HANG = "hang"
    SLOW = "slow"
    HOLD = "hold"
    TRICKLE = "trickle"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    NOT_JSON = "not-json"
    ODD_UTF8 = "odd-utf8"
    HUGE_BODY = "huge"
    GZIP_BOMB = "gzip-bomb"
    BLOCKED = "blocked"
    NO_CANDIDATES = "no-candidates"
    NO_CONTENT = "no-content"
    NO_PARTS = "no-parts"
    NO_USAGE = "no-usage"
    THOUGHTS_ONLY = "thoughts-only"
    WHITESPACE = "whitespace"
    MAX_TOKENS = "max-tokens"
    MAX_TOKENS_NO_PARTS = "max-tokens-no-parts"
    LOOPING = "looping"
    SAFETY = "safety"
    RECITATION = "recitation"
    LANGUAGE = "language"
    OTHER = "other"
    UNKNOWN_REASON = "unknown-reason"
    FINISH_REASON = "finish-reason"
    CONTINUATION = "continuation"
    CONTENT_FILTER = "content-filter"
    INSUFFICIENT_RESOURCE = "insufficient-resource"
    FENCED_JSON = "fenced-json"
    PREFIXED_JSON = "prefixed-json"
    CUT_JSON = "cut-json"
    DEEP_JSON = "deep-json"
    LONE_SURROGATE = "lone-surrogate"
    WRONG_SCHEMA = "wrong-schema"
    WRONG_VALUE = "wrong-value"
    REROUTED = "rerouted"
    DOWNGRADED = "downgraded"


_K = FaultKind

_OF_GEMINI = frozenset(
    {
        *(_K.TOO_MANY_STATES, _K.UNKNOWN_NAME, _K.UNREADABLE_IMAGE, _K.INVALID_IMAGE, _K.LOCATION, _K.INVALID_KEY),
        *(_K.PAYLOAD_SIZE, _K.PERMISSION_DENIED, _K.LEAKED_KEY, _K.SERVICE_DISABLED, _K.RETIRED, _K.NEW_USERS),
        *(_K.TOKEN_QUOTA, _K.DAY_QUOTA, _K.SEVERAL_QUOTAS, _K.BARE_QUOTA, _K.HELP_QUOTA, _K.BILLING),
        *(_K.FRACTIONAL_DELAY, _K.HUGE_DELAY, _K.NEGATIVE_DELAY, _K.ABSURD_DELAY, _K.CANCELLED, _K.LIST_WRAPPED),
        *(_K.SERVICE_UNAVAILABLE, _K.DEADLINE_UNAVAILABLE, _K.DEADLINE, _K.BLOCKED, _K.SAFETY, _K.RECITATION),
        *(_K.LANGUAGE, _K.OTHER, _K.CONTINUATION, _K.DOWNGRADED),
    }
)
_OF_DEEPSEEK = frozenset(
    {
        *(_K.UNAUTHENTICATED, _K.INSUFFICIENT_BALANCE, _K.UNPROCESSABLE, _K.WHITESPACE, _K.CONTENT_FILTER),
        _K.INSUFFICIENT_RESOURCE,
    }
)

_FIELDS: Mapping[FaultKind, frozenset[str]] = {
    _K.MINUTE_QUOTA: frozenset({"retry_seconds", "retry_delay"}),
    _K.TOKEN_QUOTA: frozenset({"retry_seconds", "retry_delay"}),
    _K.DAY_QUOTA: frozenset({"retry_seconds", "retry_delay"}),
    _K.SEVERAL_QUOTAS: frozenset({"retry_seconds", "retry_delay"}),
    _K.HEADER_SECONDS: frozenset({"retry_seconds"}),
    _K.HEADER_DATE: frozenset({"retry_seconds"}),
    _K.SLOW: frozenset({"seconds"}),
    _K.TRICKLE: frozenset({"seconds"}),
    _K.HUGE_BODY: frozenset({"size_bytes"}),
    _K.GZIP_BOMB: frozenset({"size_bytes"}),
    _K.REROUTED: frozenset({"served_model"}),
    _K.BLOCKED: frozenset({"reason"}),
    _K.FINISH_REASON: frozenset({"reason"}),
    _K.RAW: frozenset({"status", "body", "headers", "billed"}),
}


def providers_of(kind: FaultKind) -> frozenset[str]:
    """Return who can fail like that."""
    if kind in _OF_GEMINI:
        return frozenset({GEMINI})
    return frozenset({DEEPSEEK}) if kind in _OF_DEEPSEEK else PROVIDERS


def fields_of(kind: FaultKind) -> frozenset[str]:
    """Return the fields of a fault that say something of this kind and not of every kind."""
    return _FIELDS.get(kind, frozenset())
