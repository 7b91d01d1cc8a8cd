"""Facts about documents in a browser."""

import json

from browser.conftest import OpenTab


def test_bytes_are_kept_as_bytes_and_not_in_the_text_of_their_row(open_tab: OpenTab, name: str) -> None:
    tab = open_tab()

    kinds = json.loads(tab.call("documents.kinds_of_stored_bytes", name))

    assert [each for each, _ in kinds] == [["Uint8Array", "Uint8Array"], [], ["Uint8Array"]]
    assert max(length for _, length in kinds) < 500
