"""The code table against the dictionary of PS3.16 that pydicom carries."""

from __future__ import annotations

import re

import pytest
from pydicom.sr._concepts_dict import concepts

from node.domain import CodedConcept, Presence, Priority, Side
from sr_writer.codes import PRESENCE, PRIORITY, PRIVATE_SCHEME, SIDE, Code, Verified, is_known


def meanings(concept: CodedConcept) -> set[str]:
    """Meanings the dictionary gives the code, SNOMED's semantic tags such as "(attribute)" left out."""
    listed = concepts.get(concept.scheme, {}).values()
    return {re.sub(r" \([a-z ]+\)$", "", named[concept.code][0]) for named in listed if concept.code in named}


def groups(concept: CodedConcept) -> set[int]:
    """Context groups the dictionary lists the code in."""
    return {cid for named in concepts.get(concept.scheme, {}).values() for cid in named.get(concept.code, ("", []))[1]}


@pytest.mark.parametrize("code", [code for code in Code if code.value.verified is Verified.DICTIONARY])
def test_dictionary_rows_are_in_the_dictionary_with_the_same_meaning(code: Code) -> None:
    assert code.concept.meaning in meanings(code.concept)


@pytest.mark.parametrize("code", [code for code in Code if code.value.verified is Verified.DICTIONARY])
def test_the_context_group_of_a_dictionary_row_lists_it(code: Code) -> None:
    group = code.value.context_group
    assert not group or int(group.removeprefix("CID ")) in groups(code.concept)


@pytest.mark.parametrize("code", list(Code))
def test_a_row_fits_its_attributes(code: Code) -> None:
    scheme, value, meaning = code.concept
    assert 0 < len(value) <= 16 and 0 < len(meaning) <= 64 and 0 < len(scheme) <= 16


def test_only_private_rows_are_in_the_private_scheme() -> None:
    private = {code for code in Code if code.value.verified is Verified.PRIVATE}
    assert private == {code for code in Code if code.concept.scheme == PRIVATE_SCHEME}


def test_no_code_stands_twice() -> None:
    keys = [code.concept[:2] for code in Code]
    assert len(set(keys)) == len(keys) == len(Code)


def test_every_answer_side_and_priority_has_a_code() -> None:
    assert set(PRESENCE) == set(Presence)
    assert set(SIDE) == set(Side) - {Side.NONE}
    assert set(PRIORITY) == set(Priority) - {Priority.HISTORICAL}


def test_a_known_code_with_another_meaning_is_not_known() -> None:
    assert is_known(CodedConcept("SCT", "36118008", "Pneumothorax"))
    assert not is_known(CodedConcept("SCT", "36118008", "Pneumonia"))
    assert not is_known(CodedConcept("SCT", "999999", "Pneumothorax"))


def test_the_code_that_means_cardiomegaly_in_a_fetus_is_not_known() -> None:
    assert not is_known(CodedConcept("SCT", "287272002", "Cardiomegaly"))


def test_private_codes_of_others_are_theirs_to_verify_but_ours_are_not() -> None:
    assert is_known(CodedConcept("99SITE", "X1", "A finding of this site"))
    assert not is_known(CodedConcept(PRIVATE_SCHEME, "X1", "Not in the table"))
