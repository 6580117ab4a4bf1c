"""The messages of generateContent: which fields there are, and of what kind.

Kinds: `string`, `bool`, `int`, `float`, `bytes`, `any`; the name of a message or an enumeration; `X*` repeats X, `X{}`
maps strings to X. UNSUPPORTED marks what the real server knows and the emulator has no answer for.
"""

from collections.abc import Mapping

UNSUPPORTED = "unsupported"

MESSAGES: Mapping[str, Mapping[str, str]] = {
    "GenerateContentRequest": {
        "model": "string",
        "contents": "Content*",
        "system_instruction": "Content",
        "generation_config": "GenerationConfig",
        "safety_settings": "SafetySetting*",
        "service_tier": "string",
        "store": "bool",
        "tools": UNSUPPORTED,
        "tool_config": UNSUPPORTED,
        "cached_content": UNSUPPORTED,
        "continuation_token": UNSUPPORTED,
    },
    "Content": {"parts": "Part*", "role": "string"},
    "Part": {
        "text": "string",
        "inline_data": "Blob",
        "media_resolution": "PartMediaResolution",
        "thought": "bool",
        "thought_signature": "bytes",
        "part_metadata": "any",
        "file_data": UNSUPPORTED,
        "function_call": UNSUPPORTED,
        "function_response": UNSUPPORTED,
        "executable_code": UNSUPPORTED,
        "code_execution_result": UNSUPPORTED,
        "video_metadata": UNSUPPORTED,
    },
    "Blob": {"mime_type": "string", "data": "bytes"},
    "PartMediaResolution": {"level": "PartMediaResolution.Level"},
    "SafetySetting": {"category": "string", "threshold": "string"},
    "GenerationConfig": {
        "temperature": "float",
        "top_p": "float",
        "top_k": "float",
        "candidate_count": "int",
        "max_output_tokens": "int",
        "presence_penalty": "float",
        "frequency_penalty": "float",
        "seed": "int",
        "response_mime_type": "string",
        "response_schema": "Schema",
        "response_json_schema": "any",
        "media_resolution": "GenerationConfig.MediaResolution",
        "thinking_config": "ThinkingConfig",
        "enable_enhanced_civic_answers": "bool",
        "stop_sequences": UNSUPPORTED,
        "response_logprobs": UNSUPPORTED,
        "logprobs": UNSUPPORTED,
        "response_modalities": UNSUPPORTED,
        "speech_config": UNSUPPORTED,
        "image_config": UNSUPPORTED,
        "audio_transcription_config": UNSUPPORTED,
    },
    "ThinkingConfig": {
        "include_thoughts": "bool",
        "thinking_budget": "int",
        "thinking_level": "ThinkingConfig.ThinkingLevel",
    },
    "Schema": {
        "type": "Type",
        "format": "string",
        "title": "string",
        "description": "string",
        "nullable": "bool",
        "default": "any",
        "example": "any",
        "enum": "string*",
        "items": "Schema",
        "min_items": "int",
        "max_items": "int",
        "properties": "Schema{}",
        "required": "string*",
        "property_ordering": "string*",
        "min_properties": "int",
        "max_properties": "int",
        "minimum": "float",
        "maximum": "float",
        "min_length": "int",
        "max_length": "int",
        "any_of": "Schema*",
        "pattern": UNSUPPORTED,
    },
}

ENUMERATIONS: Mapping[str, frozenset[str]] = {
    "Type": frozenset({"TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}),
    "GenerationConfig.MediaResolution": frozenset(
        {"MEDIA_RESOLUTION_UNSPECIFIED", "MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH"}
    ),
    "PartMediaResolution.Level": frozenset(
        {
            "MEDIA_RESOLUTION_UNSPECIFIED",
            "MEDIA_RESOLUTION_LOW",
            "MEDIA_RESOLUTION_MEDIUM",
            "MEDIA_RESOLUTION_HIGH",
            "MEDIA_RESOLUTION_ULTRA_HIGH",
        }
    ),
    "ThinkingConfig.ThinkingLevel": frozenset(
        {"THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"}
    ),
}

ONE_OF: Mapping[str, frozenset[str]] = {"Part": frozenset({"text", "inline_data"})}
"""Of these fields of a message, one may be set."""
