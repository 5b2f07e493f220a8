"""
Beam search: the most probable answer as a whole. Greedy decoding may miss it, since the best first
character need not begin the best place.

Shapes: Q prompts that are still searched, N = beam, V ids.
"""

import math


def beam_search(
    decoder, next_ids: list[int], stop_id: int, max_new: list[int], beam: int
) -> list[tuple[list[int], float, bool]]:
    """
    For each row of the decoder (fast.decoding.CachedDecoder) the most probable answer that the
    search finds: its ids without stop_id, its log-probability, and whether it is proven that no
    other answer is more probable. next_ids: what each row reads first. max_new: the most ids of
    each answer.

    Each step follows the `beam` most probable unfinished answers of a prompt. An answer is
    complete at stop_id, or at max_new ids. An unfinished answer that is less probable than a
    complete one is dropped: more ids only make it less probable.
    """
    best = [([], -math.inf)] * len(next_ids)  # the complete answers so far, and log-probabilities
    # The most probable unfinished answer that was dropped because the beam was full.
    dropped = [-math.inf] * len(next_ids)
    rows, beams = list(range(len(next_ids))), [([], 0.0) for _ in next_ids]  # unfinished answers
    while rows:
        logits = decoder.next_logits(next_ids)
        # On the CPU, since not every device has float64; the tensors are small.
        V, scores = logits.size(-1), logits.log_softmax(dim=-1).cpu().double()
        scores += scores.new_tensor([score for _, score in beams])[:, None]
        prompts = sorted(set(rows))
        slots = [  # of each decoder row: its prompt, and its number among the prompt's beams
            (prompts.index(row), place - rows.index(row)) for place, row in enumerate(rows)
        ]
        table = scores.new_full((len(prompts), beam, V), -math.inf)  # (Q, N, V)
        table[[prompt for prompt, _ in slots], [slot for _, slot in slots]] = scores
        for place, (row, ended) in enumerate(zip(rows, scores[:, stop_id].tolist(), strict=True)):
            if ended > best[row][1]:
                best[row] = beams[place][0], ended
        # One more than the beam, to know what is dropped. Complete answers are among them, and
        # none is above `best`.
        found = table.flatten(1).topk(min(beam + 1, beam * V), dim=1)
        place_of = {slot: place for place, slot in enumerate(slots)}
        next_ids, next_places, next_rows, next_beams = [], [], [], []
        for prompt, row in enumerate(prompts):
            values, indices = found.values[prompt].tolist(), found.indices[prompt].tolist()
            dropped[row] = max([dropped[row], *values[beam:]])
            for value, index in zip(values[:beam], indices[:beam], strict=True):
                if value <= best[row][1]:
                    break
                place = place_of[prompt, index // V]
                written = beams[place][0] + [index % V]
                if len(written) == max_new[row]:
                    best[row] = written, value
                    break  # the others are less probable
                next_ids.append(index % V)
                next_places.append(place)
                next_rows.append(row)
                next_beams.append((written, value))
        rows, beams = next_rows, next_beams
        if rows:
            decoder.take(next_places)
    return [
        (ids, log_probability, log_probability >= bound)
        for (ids, log_probability), bound in zip(best, dropped, strict=True)
    ]
