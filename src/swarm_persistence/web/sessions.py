"""Signs the session cookie of a browser, and its CSRF token."""

import hashlib
import hmac
import secrets
import time

import msgspec

LIFETIME_SECONDS = 7 * 86_400
"""After so long, a browser must log in again."""


class BrowserSession(msgspec.Struct, frozen=True):
    """One browser, logged in or not."""

    id: str
    is_logged_in: bool
    expires_at: int


class Sessions:
    """Makes and reads cookies. Nothing is stored: a cookie carries its session and a signature.

    With a token, the key is derived from it, so that logins survive a restart, and end when the token is replaced.
    """

    def __init__(self, token: str | None) -> None:
        self._key = secrets.token_bytes(32) if token is None else _digest(b"swarm-persistence session", token.encode())

    def new(self, *, is_logged_in: bool) -> BrowserSession:
        """Return a new session."""
        return BrowserSession(secrets.token_urlsafe(16), is_logged_in, int(time.time()) + LIFETIME_SECONDS)

    def cookie(self, session: BrowserSession) -> str:
        """Return the text of the cookie."""
        text = f"{session.id}.{int(session.is_logged_in)}.{session.expires_at}"
        return f"{text}.{self._signature('session', text)}"

    def read(self, cookie: str) -> BrowserSession | None:
        """Return the session of a cookie, or `None` if it is not ours or has expired."""
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature("session", text).encode()):
            return None
        id, is_logged_in, expires_at = text.split(".")
        return BrowserSession(id, is_logged_in == "1", int(expires_at)) if int(expires_at) > time.time() else None

    def csrf_token(self, session: BrowserSession) -> str:
        """Return the CSRF token that each change from a page of this session must carry."""
        return self._signature("csrf", session.id)

    def is_csrf_token(self, session: BrowserSession, token: str) -> bool:
        """Tell, in constant time, whether a token belongs to the session."""
        return hmac.compare_digest(token.encode(), self.csrf_token(session).encode())

    def _signature(self, purpose: str, text: str) -> str:
        return _digest(self._key, f"{purpose}:{text}".encode()).hex()


def _digest(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)
