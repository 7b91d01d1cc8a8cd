"""Facts about documents in a browser."""

import json

from browser.conftest import OpenTab
from chromium.tabs import Tab
from swarm_persistence.engines.rows.indexeddb.stored_bytes import PIECE_BYTES

PIECES_OF_LONG = [PIECE_BYTES, PIECE_BYTES, 7]


def test_bytes_are_kept_as_bytes_and_not_in_the_text_of_their_row(open_tab: OpenTab, name: str) -> None:
    tab = open_tab()

    kinds = json.loads(tab.call("documents.kinds_of_stored_bytes", name))

    assert [each for each, _ in kinds] == [["Uint8Array", "Uint8Array"], [], ["Uint8Array"]]
    assert max(length for _, length in kinds) < 500


def test_long_bytes_are_stored_in_pieces_and_read_back_in_every_way(tab: Tab, name: str) -> None:
    pieces = tab.call("documents.round_trip_of_long_bytes", name)

    assert pieces == sorted(3 * PIECES_OF_LONG, reverse=True)


def test_no_change_leaves_a_piece_that_no_document_has(tab: Tab, name: str) -> None:
    pieces = tab.call("documents.pieces_after_each_change", name)

    assert pieces == {
        "put": PIECES_OF_LONG,
        "put again": [PIECE_BYTES, 1],
        "touch": [PIECE_BYTES, 1],
        "update that is rolled back": [PIECE_BYTES, 1],
        "update in a transaction": PIECES_OF_LONG,
        "copy": sorted(2 * PIECES_OF_LONG, reverse=True),
        "take": PIECES_OF_LONG,
        "put of short bytes": [],
        "put of two": sorted(2 * PIECES_OF_LONG, reverse=True),
        "delete of one": PIECES_OF_LONG,
        "prune of what has expired": [],
    }


def test_long_bytes_of_version_10_are_moved_into_pieces(tab: Tab, name: str) -> None:
    before, after, steps = tab.call("documents.long_bytes_of_version_10", name)

    assert (before, steps) == ([], ["past claims of tasks", "long bytes in pieces"])
    assert after == sorted(12 * PIECES_OF_LONG, reverse=True)


def test_bytes_that_lack_a_piece_are_refused(tab: Tab, name: str) -> None:
    assert "a piece of the bytes of a stored document is missing" in tab.call("documents.read_without_a_piece", name)


def test_the_event_loop_goes_on_between_pieces(tab: Tab, name: str) -> None:
    counts = tab.call("documents.pieces_in_turns", name)

    # The end of a put is told by a call without a piece.
    assert {callback: sum(of_turns) for callback, of_turns in counts.items()} == {"_on_piece": 21, "_on_receive": 20}
    assert max(counts["_on_piece"] + counts["_on_receive"]) <= 3
