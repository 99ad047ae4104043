import numpy as np

from export.proof.batches import Text, batches

TEXT = Text(vocabulary=50, pad_id=1, position_offset=2, max_tokens=256)


def test_rows_of_one_two_and_five_are_padded_on_both_sides_and_packed() -> None:
    cases = {batch.case for batch in batches(TEXT)}
    for layout in ("right-padded", "left-padded", "packed"):
        assert {f"{layout}, batch {rows}" for rows in (1, 2, 5)} <= cases


def test_sequences_are_the_segments_in_row_order() -> None:
    for batch in batches(TEXT):
        found = [
            batch.input_ids[row][batch.segment_ids[row] == segment]
            for row in range(len(batch.input_ids))
            for segment in range(1, batch.segment_ids[row].max() + 1)
        ]
        assert [list(ids) for ids in found] == [list(one.ids) for one in batch.sequences]
        placed = [batch.input_ids[place] for place in batch.places]
        assert [list(ids) for ids in placed] == [list(one.ids) for one in batch.sequences]


def test_positions_restart_behind_the_offset_in_every_segment() -> None:
    for batch in batches(TEXT):
        first = batch.position_ids[(np.diff(batch.segment_ids, prepend=0) != 0)]
        assert set(first) == {TEXT.position_offset}


def test_padding_is_on_the_side_that_the_case_names() -> None:
    for batch in batches(TEXT):
        if batch.case.startswith("left-padded"):
            assert not batch.segment_ids[:, 0].any()
            assert batch.segment_ids[:, -1].all()
        elif not batch.case.startswith("single"):
            assert not batch.segment_ids[:, -1].any()
            assert batch.segment_ids[:, 0].all()


def test_sequences_avoid_the_padding_id_and_stay_in_the_vocabulary() -> None:
    ids = np.concatenate([one.ids for batch in batches(TEXT) for one in batch.sequences])
    assert TEXT.pad_id not in ids
    assert ids.min() == 0
    assert ids.max() < TEXT.vocabulary


def test_no_sequence_is_longer_than_the_model_takes() -> None:
    short = Text(vocabulary=50, pad_id=0, position_offset=0, max_tokens=8)
    longest = max(len(one.ids) for batch in batches(short) for one in batch.sequences)
    assert longest == short.max_tokens


def test_one_sequence_reaches_beyond_a_local_window() -> None:
    text = Text(vocabulary=50, pad_id=0, position_offset=0, max_tokens=4096)
    longest = max(len(one.ids) for batch in batches(text, window=512) for one in batch.sequences)
    assert longest > 512


def test_pairs_have_types_and_masked_texts_a_mask() -> None:
    text = Text(50, 0, 0, 64, has_types=True, mask_id=7)
    for batch in batches(text):
        assert batch.token_type_ids is not None
        for place, one in zip(batch.places, batch.sequences, strict=True):
            assert 7 in one.ids
            assert one.types is not None
            np.testing.assert_array_equal(batch.token_type_ids[place], one.types)
            # The second text of a pair follows the first.
            assert (np.diff(one.types) >= 0).all()
