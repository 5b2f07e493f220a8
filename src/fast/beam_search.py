"""
Beam search: the most probable answer as a whole. Greedy decoding may miss it, since the best first
character need not begin the best place.

Shapes: N unfinished answers of a prompt, at most `beam`; V ids.
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
    # Of each prompt the unfinished answers; the decoder's rows are these, one after another.
    beams = {prompt: [([], 0.0)] for prompt in range(len(next_ids))}
    while beams:
        # On the CPU, since not every device has float64; the tensors are small.
        log_probabilities = decoder.next_logits(next_ids).log_softmax(dim=-1).cpu().double()
        next_ids, next_rows, next_beams, first = [], [], {}, 0
        for prompt, answers in beams.items():
            scores = log_probabilities[first : first + len(answers)]  # (N, V)
            scores = scores + scores.new_tensor([score for _, score in answers])[:, None]
            for (ids, _), ended in zip(answers, scores[:, stop_id].tolist(), strict=True):
                if ended > best[prompt][1]:
                    best[prompt] = ids, ended
            # One more than the beam, to know what is dropped. Complete answers are among them, and
            # none is above `best`.
            found = scores.flatten().topk(min(beam + 1, scores.numel()))
            values, indices = found.values.tolist(), found.indices.tolist()
            dropped[prompt] = max([dropped[prompt], *values[beam:]])
            for value, index in zip(values[:beam], indices[:beam], strict=True):
                if value <= best[prompt][1]:
                    break
                number, next_id = divmod(index, scores.size(1))
                ids = answers[number][0] + [next_id]
                if len(ids) == max_new[prompt]:
                    best[prompt] = ids, value
                    break  # the others are less probable
                next_ids.append(next_id)
                next_rows.append(first + number)
                next_beams.setdefault(prompt, []).append((ids, value))
            first += len(answers)
        beams = next_beams
        if beams:
            decoder.take(next_rows)
    return [
        (ids, log_probability, log_probability >= bound)
        for (ids, log_probability), bound in zip(best, dropped, strict=True)
    ]
