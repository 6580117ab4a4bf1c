"""Error statuses: the first row that fits decides, and the last one fits everything.

Sources: the error tables of the Gemini API (https://ai.google.dev/gemini-api/docs/troubleshooting) and of DeepSeek
(https://api-docs.deepseek.com/quick_start/error_codes), and what their users report.
"""

from policies.failure_rows import (
    BAD_IMAGE,
    BAD_REQUEST,
    DEEPSEEK,
    GEMINI,
    PROVIDER_ERROR,
    RELEASED,
    SHED,
    THROTTLED,
    LaneEffect,
    StatusRow,
)

FLEX = "FLEX"
PER_DAY = "PerDay"

_DEPLETED = "Billing of the provider's account is depleted: {words}"
_RETIRED = "The provider does not offer the model any more: {words}"
_REFUSED = "The provider refuses this executor: {words}"

# "check your plan and billing details" is said of every limit, so the word billing alone says nothing.
_DEPLETED_WORDS = ("credits are depleted", "prepayment credit", "prepaid credit", "monthly spending cap")
_RETIRED_WORDS = ("is not found for api version", "no longer available")
_IMAGE_WORDS = ("input image", "provided image", "image is not valid", "image format", "unsupported mime type")
_SIZE_WORDS = ("payload size", "request size", "too large")

_LIMITS = (
    StatusRow(
        name="payment_required",
        comes="402: the credit is used up",
        first=402,
        last=402,
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.STOP,
        stop=_DEPLETED,
    ),
    StatusRow(
        name="credit_depleted",
        provider=GEMINI,
        comes="429 whose message speaks of depleted credits or of the spending cap",
        first=429,
        last=429,
        words=_DEPLETED_WORDS,
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.STOP,
        stop=_DEPLETED,
    ),
    StatusRow(
        name="daily_quota",
        provider=GEMINI,
        comes="429 with a quota of a day among those that are used up; what it names as a time is of another one",
        first=429,
        last=429,
        quota=PER_DAY,
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.DAY,
    ),
    StatusRow(
        name="throttled",
        comes="429 that names a time: the longest of RetryInfo and Retry-After counts",
        first=429,
        last=429,
        timed=True,
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.PROVIDER_TIME,
    ),
    StatusRow(
        name="throttled_bare",
        comes="429 that names no time",
        first=429,
        last=429,
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.BACKOFF,
    ),
)

_KEYS = (
    StatusRow(
        name="key_invalid",
        provider=GEMINI,
        comes="400 with reason API_KEY_INVALID: a bad key is no 401 here",
        first=400,
        last=400,
        reason="API_KEY_INVALID",
        kind=RELEASED,
        retryable=True,
        message=_REFUSED,
    ),
    StatusRow(
        name="place_not_served",
        provider=GEMINI,
        comes='400 FAILED_PRECONDITION, as "User location is not supported for the API use."',
        first=400,
        last=400,
        canonical="FAILED_PRECONDITION",
        kind=RELEASED,
        retryable=True,
        message=_REFUSED,
    ),
    StatusRow(
        name="unauthenticated",
        comes="401",
        first=401,
        last=401,
        kind=RELEASED,
        retryable=True,
        message=_REFUSED,
    ),
    StatusRow(
        name="forbidden",
        comes="403: the key was reported as leaked, is restricted, or its project may not use the API",
        first=403,
        last=403,
        kind=RELEASED,
        retryable=True,
        message=_REFUSED,
    ),
)

_MODELS = (
    StatusRow(
        name="model_retired",
        provider=GEMINI,
        comes='404 "is not found for API version", or "no longer available"',
        first=404,
        last=404,
        words=_RETIRED_WORDS,
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.STOP,
        stop=_RETIRED,
    ),
    StatusRow(
        name="deepseek_model_unknown",
        provider=DEEPSEEK,
        comes='400 "Model Not Exist"',
        first=400,
        last=400,
        words=("model not exist",),
        kind=THROTTLED,
        retryable=True,
        lane=LaneEffect.STOP,
        stop=_RETIRED,
    ),
)

_REQUESTS = (
    StatusRow(
        name="bad_image",
        provider=GEMINI,
        comes='400 "Unable to process input image", "Provided image is not valid"',
        first=400,
        last=400,
        words=_IMAGE_WORDS,
        kind=BAD_IMAGE,
        retryable=False,
    ),
    StatusRow(
        name="payload_too_large",
        comes="413",
        first=413,
        last=413,
        kind=BAD_REQUEST,
        retryable=False,
    ),
    StatusRow(
        name="payload_too_large_400",
        comes="400 that says the payload is too large",
        first=400,
        last=400,
        words=_SIZE_WORDS,
        kind=BAD_REQUEST,
        retryable=False,
    ),
    StatusRow(
        name="schema_too_complex",
        provider=GEMINI,
        comes='400 "… too many states for serving"',
        first=400,
        last=400,
        words=("too many states",),
        kind=BAD_REQUEST,
        retryable=False,
        schema_suspected=True,
    ),
    StatusRow(
        name="schema_unknown_name",
        provider=GEMINI,
        comes='400 "Unknown name … Cannot find field."',
        first=400,
        last=400,
        words=("cannot find field",),
        kind=BAD_REQUEST,
        retryable=False,
        schema_suspected=True,
    ),
    StatusRow(
        name="invalid_argument_bare",
        provider=GEMINI,
        comes='400 "Request contains an invalid argument.", which is said of schemas as of images',
        first=400,
        last=400,
        words=("request contains an invalid argument",),
        kind=BAD_REQUEST,
        retryable=False,
        schema_suspected=True,
    ),
    StatusRow(
        name="deepseek_bad_format",
        provider=DEEPSEEK,
        comes="400",
        first=400,
        last=400,
        kind=BAD_REQUEST,
        retryable=False,
    ),
    StatusRow(
        name="deepseek_bad_parameters",
        provider=DEEPSEEK,
        comes="422",
        first=422,
        last=422,
        kind=BAD_REQUEST,
        retryable=False,
    ),
)

_TROUBLES = (
    StatusRow(
        name="request_timeout",
        comes="408",
        first=408,
        last=408,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
    StatusRow(
        name="cancelled_by_provider",
        comes='499 "The operation was cancelled."',
        first=499,
        last=499,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
    StatusRow(
        name="other_4xx",
        comes="any other status from 400 to 499",
        first=400,
        last=499,
        kind=BAD_REQUEST,
        retryable=False,
    ),
    StatusRow(
        name="internal",
        comes="500",
        first=500,
        last=500,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
    StatusRow(
        name="bad_gateway",
        comes="502, in JSON or HTML",
        first=502,
        last=502,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
    StatusRow(
        name="shed",
        provider=GEMINI,
        comes="503 to a call in the FLEX tier, which is served only where there is room",
        first=503,
        last=503,
        service_tier=FLEX,
        kind=SHED,
        retryable=True,
    ),
    StatusRow(
        name="unavailable",
        comes="503",
        first=503,
        last=503,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
    StatusRow(
        name="deadline_exceeded",
        comes="504",
        first=504,
        last=504,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
    StatusRow(
        name="other_status",
        comes="any other status but 200, a redirection among them",
        first=0,
        last=10_000,
        kind=PROVIDER_ERROR,
        retryable=True,
    ),
)

STATUS_ROWS = (*_LIMITS, *_KEYS, *_MODELS, *_REQUESTS, *_TROUBLES)
