"""Facts about the tokens of documents: they are stored in the indexes of words, so that they never change."""

from swarm_persistence.storage.document_indexes import token_of, tokens_of


def test_a_word_of_up_to_64_characters_is_its_own_token() -> None:
    assert token_of("w" * 64) == "w" * 64


def test_a_longer_word_has_a_digest_for_a_token() -> None:
    assert token_of("w" * 65) == "_w54ed1078533c8c985014b219"


def test_a_collection_and_each_above_it_has_a_token() -> None:
    collections = ("_ce19b3a8e59ddaf481805d483", "_c29690b973491b201f5b173c7")

    assert tokens_of(["b", "a", "b"], ("x", "y")) == ("b", "a", *collections)
