"""Writes JSON; values of subclasses of `str`, `int` and `float` are written as values of those types."""

import msgspec


def _plain(value: object) -> str | int | float:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


encode_json = msgspec.json.Encoder(enc_hook=_plain).encode
