"""The prompts that ask for a summary: right if it keeps the facts and leaves the rest out.

The easy texts come first: short, with the facts at the start.
"""

from examples.demo.grading import Mentions
from examples.demo.prompts import Prompt

WORDS = 30  # the longest summary that counts; every text below is longer


def _summary(text: str, *facts: str, never: tuple[str, ...] = ()) -> Prompt:
    ask = "Summarise this text in one sentence of at most 25 words."
    return Prompt("summary", f"{ask}\n\n{text}", Mentions(*facts, never=never, max_words=WORDS))


SUMMARIES = (
    _summary(
        "The library on Mill Street will close on Friday for repairs to its roof. Rain had come "
        "in during the winter and damaged some shelves. Readers can use the branch at the "
        "station in the meantime.",
        "library",
        "close|closes|closed|closing|closure",
        "roof",
    ),
    _summary(
        "A fire broke out in a bakery in Leeds on Sunday morning. Nobody was hurt, as the shop "
        "was still empty at that hour. Firefighters put out the flames within forty minutes and "
        "say that an old oven was to blame.",
        "fire",
        "bakery",
    ),
    _summary(
        "The new bridge over the river Tarn was opened on Monday after four years of work. It "
        "cost 90 million euros and carries two lanes of cars, a tram line and a path for "
        "cyclists. The mayor was the first to cross it.",
        "bridge",
        "opened|opens|open|opening|completed",
        "Tarn|90 million|four years|four-year|4 years",
    ),
    _summary(
        "Honey bees tell each other where to find flowers by dancing in the hive. The angle of "
        "the dance shows the direction from the sun, and its length shows how far away the "
        "flowers are. Karl von Frisch described it in the 1940s.",
        "bees|bee",
        "dance|dances|dancing",
        "flowers|flower|food",
    ),
    _summary(
        "Scientists at the University of Ghent have bred a potato that needs a third less water. "
        "They crossed a common kind with a wild one from Peru. Farmers in Spain will test it on "
        "forty fields next spring before it is sold.",
        "potato|potatoes",
        "water",
    ),
    _summary(
        "The ferry between Aros and Lund was cancelled for three days because of a storm. About "
        "2,000 passengers had to wait or take the train. The company will pay back all tickets, "
        "and service starts again on Thursday.",
        "ferry",
        "storm",
        "cancelled|canceled|cancellation|suspended",
    ),
    _summary(
        "Sales of electric bicycles rose by 40 percent last year, while sales of ordinary ones "
        "fell slightly. Shops say that many buyers are over sixty and that most of them want a "
        "bicycle for short trips in town rather than for sport.",
        "electric",
        "40 percent|40%|rose|increased|grew",
    ),
    _summary(
        "Nina Holt won the marathon in Trieste on her first attempt. She ran it in two hours and "
        "thirty-one minutes, although she had fallen in the second kilometre. Last year's "
        "winner, Clara Moss, came in third and congratulated her at the finish.",
        "Holt|Nina",
        "marathon",
        "won|wins|winning|win|winner|victory",
    ),
    _summary(
        "After a long debate the council voted on Tuesday, by nine votes to four, against the "
        "plan to build a car park in Linden Square. The square will become a small park with "
        "benches and trees instead. Work is to begin in autumn.",
        "Linden|council",
        "against|rejected|rejects|reject|instead",
        "park with|small park|benches|trees",
    ),
    _summary(
        "When the clock in the tower of Hallen stopped last week, nobody could say why. A "
        "clockmaker from Bern climbed up and found that a family of jackdaws had built a nest "
        "in the gears. The clock will stay silent until the young birds have left.",
        "clock",
        "nest|jackdaws|birds",
    ),
    _summary(
        "Many people think that the company lost money because of its new phone. The report "
        "published today says otherwise: the phone sold well, and it was the failed purchase of "
        "a chain of cinemas that caused the loss of 70 million dollars.",
        "cinemas|cinema",
        "loss|lost|losses",
        "70 million",
    ),
    _summary(
        "Although the vaccine was at first tested on adults only, the agency has now allowed it "
        "for children from the age of five. It had asked for a study of 3,000 children, which "
        "found no serious side effects. Schools will offer it from March on.",
        "vaccine",
        "children",
        "allowed|allows|approved|approves|five|5",
    ),
)
