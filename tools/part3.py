"""
Part 3 of the assignment (2021), answered with measured figures: (a) why pretraining lifts the accuracy, (b) two reasons why fluent made-up
answers are a concern, (c) what the model does with a name that it never read.
"""
import statistics

import analysis
from pieces import below, counted, having, in_words, name_of, percent, prose, shown, table


ENOUGH = 100  # questions, below which shares say too little


def essay(by_data):
    """
    The lines of the page, with the figures of the first data set that shows what is to be explained: more right answers with pretraining
    than without, beyond the intervals. None if there is no such data set.
    """
    for data, runs in by_data.items():
        if shows_the_lift(runs):
            return ["## Part 3 of the assignment, answered with these figures", "",
                    f"Figures are those of {name_of(data)} where nothing else is said, of the pretrained vanilla model.", "",
                    *why_pretraining(runs), *why_concern(runs, by_data), *what_strategy(runs, by_data)]
    return []


def shows_the_lift(runs):
    before, after = ([run.rows[row].correct() for run in having(runs, row)] for row in ("vanilla.nopretrain", "vanilla.pretrain"))
    if not before or not after or len(runs[0].questions) < ENOUGH or all(map(all, after)):
        return False
    return analysis.accuracy_interval(before)[1][1] < analysis.accuracy_interval(after)[1][0]


def accuracy(runs, row):
    return percent(statistics.fmean(c for run in having(runs, row) for c in run.rows[row].correct()))


def why_pretraining(runs):
    known = runs[0].facts["dev people in finetuning"]
    text = prose(f"""
        Because the answers are in the text that it was pretrained on. Of the {len(runs[0].questions)} people of the dev questions
        {known or 'none'} {'is' if known == 1 else 'are'} among those of the finetuning examples, so a model that has only these can learn
        what an answer looks like and how places are spelled, and then has to guess: {accuracy(runs, 'vanilla.nopretrain')}. Span
        corruption asks for a place again and again, given the rest of its document, the name first; what links the name to the place is
        what lowers the loss.
        Finetuning then need not teach who was born where, only what is asked: {accuracy(runs, 'vanilla.pretrain')}.""")
    paragraphs = [f"**(a) Why does pretraining lift the accuracy?** {text}", *known_before(runs), *by_what_was_offered(runs)]
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def by_what_was_offered(runs):
    """That the answers' places are those that were read, where the split says so."""
    shares = analysis.split(runs, "vanilla.pretrain", lambda question: question["document"] == "early")
    early, others = shares.get(True), shares.get(False)
    texts = []
    if early and others:
        few = f", though on only {others.total // others.seeds} questions" if others.total // others.seeds < ENOUGH else ""
        texts.append(f"""{f'The split points to recall{few}: where' if below(others, early) else 'Where'} the place stands within the first
            112 characters of the person's document, {early.count} of {early.total} answers are right ({percent(early.value)}); where
            pretraining never reads it there, whether it stands later or not at all, {others.count} of {others.total}
            ({percent(others.value)}).""")
    shown_places = analysis.split(runs, "vanilla.pretrain", lambda question: question["finetuning"] > 0)
    if True in shown_places and False in shown_places and below(shown_places[False], shown_places[True]):
        yes, no = shown_places[True], shown_places[False]
        texts.append(f"""Of places that are the answer of a finetuning example {percent(yes.value)} are answered, of others {no.count} of
            {no.total} ({percent(no.value)}).""")
        yes, no = (analysis.known_from_document(runs, "vanilla.pretrain", lambda facts: (facts["finetuning"] > 0) == shown)
                   for shown in (True, False))
        if yes.total and no.total and below(no, yes):
            texts.append(f"""That need not be finetuning's doing: these others are rarer places, and already before it the pretrained model
                goes on with fewer of them after the document, {no.count} of {no.total} against {yes.count} of {yes.total}.""")
    guessed = analysis.expected_of_guesses(runs, "vanilla.pretrain")
    if guessed is not None:
        texts.append(f"""By the known probabilities of this world, {percent(guessed)} of the same answers would be right if names were all
            that the model knew.""")
    return [prose(" ".join(texts))] if texts else []


def known_before(runs):
    """That pretraining put it in and finetuning did not, where the figures say so: what the model goes on with before it is ever asked."""
    rungs = analysis.ladder(runs, "vanilla.pretrain")
    if not rungs or not below(rungs["question"], rungs["document"]):
        return []
    document, own, sentence, question, finetuned = (rungs[rung] for rung in (
        "document", "document_other_own", "sentence", "question", "finetuned_document"))
    text = f"""That the knowledge is there before finetuning can be seen without a question: of the people whose place stands early, the
        pretrained model goes on with it after their own document up to the place for {counted(document)}"""
    if own.total and below(own, document):
        text += f", with another person's name put into the same texts for {counted(own)}: it goes by the name"
    text += f". Of the name alone, in the sentence “NAME. NAME was born in”, it finds {counted(sentence)}"
    if below(question, sentence):
        text += f"; the question that finetuning teaches finds fewer, {counted(question)}."
    elif below(sentence, question):
        text += f"; the question that finetuning teaches finds more, {counted(question)}."
    else:
        text += f", and the question that finetuning teaches as many within the intervals, {counted(question)}."
    by_name = analysis.by_name_alone(runs, "vanilla.pretrain")
    if below(sentence, by_name) and below(question, by_name) and below(by_name, document):
        text += f""" These are other people in part, and with the name in somebody else's document counted in, at least one of three such
            texts finds {counted(by_name)}: whether a name calls up its place depends on the text around it and on where it stands."""
    if below(finetuned, document):
        text += f""" Finetuning teaches nothing about these people, and costs some of what was known or of the way to it: after the same
            documents the finetuned model goes on with the place for {counted(finetuned)}."""
    return [prose(text)]


def why_concern(runs, by_data):
    pairs = analysis.pooled(runs, "vanilla.pretrain")
    wrong = sum(not correct for _, correct in pairs)
    sure = [correct for p, correct in pairs if p > 0.5]
    places = analysis.kinds(runs, "vanilla.pretrain")["in finetuning"].count
    text = prose(f"""
        Of all answers {percent(wrong / len(pairs))} are wrong, and of the wrong ones at least {percent(places / wrong)} are places that
        are the right answer for somebody else in the finetuning examples: they read no worse than the right ones. Two reasons why that is
        a concern wherever people are shown such answers:""")
    first = prose("""
        *For whoever reads the answers:* a right place and a wrong one read alike, so that each would have to be looked up. What is not
        looked up is believed and passed on, into a form, a biography, a search result, and into the texts that the next model learns
        from.""")
    second = prose("""
        *For whoever runs the model, or is described by it:* nothing in an answer says whether it was recalled or made up, nor what it was
        read in. Wrong answers can neither be sorted out nor traced to a cause, and whoever is described wrongly is given no reason.""")
    second += " " + prose(f"""The model's own probability helps in part only: it gives {len(sure)} of {len(pairs):,} answers more than ½,
        and {percent(1 - statistics.fmean(sure))} of these are wrong.""") if sure else ""
    return ["**(b) Two reasons why fluent made-up answers are a concern.** " + text, "", f"1. {first}", f"2. {second}", "",
            prose("""The answers of the pretrained vanilla model with the highest probabilities, first seed: the wrong ones, and the right
            ones of the project's own corpora. Right is only what has the same words: a part of a city is wrong where the city is
            expected. Names and places of other files are not printed."""), "",
            surest_answers(by_data), ""]


def surest_answers(by_data, row="vanilla.pretrain", count=4):
    """A table of the wrong and of the right answers with the highest probability; of data not our own the wrong ones, by their line."""
    lines = []
    for data, runs in by_data.items():
        if not having(runs, row):
            continue
        run = having(runs, row)[0]
        answers = run.rows[row].answers
        for correct in (0, 1) if run.invented_world else (0,):
            of_kind = [i for i in range(len(answers)) if answers[i]["correct"] == correct]
            for i in sorted(of_kind, key=lambda i: -answers[i]["probability"])[:count]:
                question, answer, place = run.questions[i], answers[i], run.rows[row].predictions["dev"][i]
                lines.append([name_of(data), "right" if correct else "wrong",
                              question.get("name", f"line {answer['line']} of birth_dev.tsv"), shown(place),
                              f"{answer['probability']:.3f}", question.get("place", "–"), answer["kind"]])
    return table(["data", "", "asked about", "answer", "probability", "true place", "the answer is"], *lines)


def what_strategy(runs, by_data):
    found, same = analysis.guessing(runs, "vanilla.pretrain"), analysis.same_name(runs, "vanilla.pretrain")
    text, examples = "It has the name alone to go by, and how often each place was an answer.", []
    if found is not None:
        most = ", ".join(f"{shown(place)} ({percent(share, 0)})" for place, share in list(found.shares.items())[:3])
        text = prose(f"""
            Asked about {found.asked:,} invented people, it answers all the same: {len(found.shares)} different places, most often {most},
            with a median probability of {found.median_probability:.3f}.""")
        examples = [prose("""The answers about invented people with the highest probabilities, first seed; nobody of them exists, so that
            every place is made up:"""), "", surest_inventions(runs), ""]
    if same is not None:
        text += " " + prose(f"""*The strategy:* {'the name is taken for a clue to where somebody comes from'
            if same.same.value > same.most_by_chance else 'that it uses the name cannot be shown'}. Two of these people who share the first word of
            their names get the same answer in {percent(same.same.value)} of {same.same.total:,} pairs; answers dealt out at random agree in
            {percent(same.by_chance)}, in 2,000 deals at most in {percent(same.most_by_chance)}.""")
    for data, group in by_data.items():
        guesses = analysis.guessing(group, "vanilla.pretrain") if group[0].invented_world else None
        if guesses is not None:
            text += " " + prose(f"""
                On {name_of(data)}, whose probabilities are known, its answers about such people would be right for
                {percent(guesses.expected)} of those who could bear the name (95% interval {in_words(guesses.expected_interval)}),
                {'more' if guesses.gain_interval[0] > 0 else 'not measurably more'} than the {percent(guesses.shuffled)}
                ({in_words(guesses.shuffled_interval)}) of the same answers exchanged among them
                {'but far from' if guesses.expected < guesses.best / 2 else 'and of'} the {percent(guesses.best)} that the best guess from
                the name reaches.""")
    return [f"**(c) What does it do with a name that it never read?** {text}", "", *examples, *like_strangers(runs), prose("""
        *Why that is a concern:* such a guess is a stereotype. Whoever has a name that sounds of one country is said to come from a
        place there, with the same assurance as if that had been read; those who moved, or whose parents did, are described wrongly more often
        than others."""), ""]


def surest_inventions(runs, row="vanilla.pretrain", count=8):
    answers = having(runs, row)[0].rows[row].invented
    return table(["asked about", "answer", "probability"], *(
        [one["question"].removeprefix("Where was ").removesuffix(" born?"), shown(one["prediction"]), f"{one['probability']:.3f}"]
        for one in sorted(answers, key=lambda one: -one["probability"])[:count]))


def like_strangers(runs):
    """How answers about people who could be read of compare with those about invented people, by their probabilities."""
    right, wrong, lucky = (analysis.told_apart(runs, row, correct) for row, correct in (
        ("vanilla.pretrain", 1), ("vanilla.pretrain", 0), ("vanilla.nopretrain", 1)))
    if right is None or wrong is None:
        return []
    text = f"""The text of an answer does not show that it is a guess. Its probability is higher for a right answer about somebody whose
        place could be read than for one about an invented person in {percent(right[0], 0)} of all pairs ({in_words(right[1], 0)}), for a
        wrong one in {percent(wrong[0], 0)} ({in_words(wrong[1], 0)})"""
    text += "."
    if lucky is not None:
        text += f""" For the model without pretraining, whose right answers are lucky guesses, the former is {percent(lucky[0], 0)}
            ({in_words(lucky[1], 0)}): """
        text += ("so the probability tells in part what was recalled." if right[1][0] > lucky[1][1] else
                 "so a right answer's probability need not come from recall, lucky guesses are the more probable ones as well.")
    known = analysis.crossed(runs, "vanilla.pretrain", "document", "question")
    if known.total > known.count and wrong[1][0] <= 0.5 <= wrong[1][1]:
        text += f""" Wrong answers are like those about strangers, though there was something to recall: of the {known.total:,} people whose
            place the pretrained model goes on with after their own document, {known.total - known.count:,} are answered wrong. Where the
            question does not reach what was read, it seems to guess as for somebody new."""
    return [prose(text), ""]
