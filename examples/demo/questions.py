"""The prompts that are graded by what is said: facts, arithmetic, extraction.

Within each kind the easy ones come first. `never` lists what a reply that merely repeats the
text, or names every candidate, would contain.
"""

from examples.demo.grading import Json, Mentions, Number
from examples.demo.prompts import Prompt

SHORT = "Answer in one short sentence."
DIGITS = "Reply with the number only."


def _fact(question: str, *facts: str, never: tuple[str, ...] = ()) -> Prompt:
    return Prompt("facts", f"{question} {SHORT}", Mentions(*facts, never=never))


def _sum(question: str, value: float) -> Prompt:
    return Prompt("arithmetic", f"{question} {DIGITS}", Number(value))


def _find(question: str, text: str, *facts: str, never: tuple[str, ...] = ()) -> Prompt:
    check = Mentions(*facts, never=never, max_words=20)
    return Prompt("extraction", f"{question}\n\nText: {text}", check)


def _json(question: str, text: str, **fields: str | int) -> Prompt:
    keys = ", ".join(fields)
    ask = f"{question} Reply with one flat JSON object with the keys {keys} and nothing else."
    return Prompt("extraction", f"{ask}\n\nText: {text}", Json(fields))


FACTS = (
    _fact("What is the capital of Japan?", "Tokyo"),
    _fact("Which planet is the largest in our solar system?", "Jupiter", never=("Saturn",)),
    _fact("Who wrote the play Romeo and Juliet?", "Shakespeare"),
    _fact("How many legs does a spider have?", "8|eight"),
    _fact("What is the chemical symbol for gold?", "Au"),
    _fact("Which language do most people in Brazil speak?", "Portuguese"),
    _fact("In which year did humans first land on the Moon?", "1969"),
    _fact("Which city is the capital of Australia?", "Canberra", never=("Sydney",)),
    _fact("Who painted Guernica?", "Picasso"),
    _fact("Which element has the atomic number 26?", "iron"),
    _fact("What is the currency of Poland?", "zloty|złoty|zlotys"),
    _fact("Which country has Ulaanbaatar as its capital?", "Mongolia"),
)

ARITHMETIC = (
    _sum("What is 7 + 5?", 12),
    _sum("What is 9 times 6?", 54),
    _sum("What is 48 divided by 6?", 8),
    _sum("What is 100 - 37?", 63),
    _sum("What is 46 + 38?", 84),
    _sum("A box holds 12 eggs. How many eggs are in 5 boxes?", 60),
    _sum("How many minutes are in 3 hours?", 180),
    _sum("What is 25 percent of 80?", 20),
    _sum("What is (12 + 8) * 3 - 7?", 53),
    _sum("Tom has 15 apples, gives 4 away and then buys 9. How many apples does he have?", 20),
    _sum("A train goes 60 km per hour. How many km does it go in 2.5 hours?", 150),
    _sum("What is 23 * 14?", 322),
)

EXTRACTION = (
    _find(
        "What is the e-mail address in this text? Reply with the address only.",
        "For questions about your stay write to desk@harbourinn.example, or visit the lobby.",
        "desk@harbourinn.example",
    ),
    _find(
        "Which city is named in this text? Reply with the city only.",
        "The conference was held in Vienna, and about 300 people came to hear the talks.",
        "Vienna",
        never=("300",),
    ),
    _find(
        "What is the order number? Reply with the number only.",
        "Hello, my parcel has not come. The order number is 58213 and I live at 14 Elm Road.",
        "58213",
        never=("14",),
    ),
    _find(
        "What time does the meeting start? Reply with the time only.",
        "Lunch is at 12:30. The budget meeting starts at 14:15 and ends at 15:00.",
        "14:15",
        never=("12:30", "15:00"),
    ),
    _find(
        "What is the total to pay? Reply with the amount only.",
        "Invoice 4471. Net 240.00 EUR, tax 45.60 EUR, total to pay 285.60 EUR, due in 30 days.",
        "285.60",
        never=("240.00", "45.60"),
    ),
    _json(
        "Extract the person.",
        "Our new colleague Ada Lind is 36 and joins the team in Oslo.",
        name="Ada Lind",
        age=36,
        city="Oslo",
    ),
    _find(
        "What is the error code in this log line? Reply with the code only.",
        "2024-03-07 09:12:44 worker-3 WARN retry 2 failed with E1047 after 3000 ms",
        "E1047",
        never=("3000", "worker-3"),
    ),
    _find(
        "Which colours are named? Reply with the colours only, separated by commas.",
        "She packed a green coat, two grey hats and a pair of yellow gloves for the trip.",
        "green",
        "grey|gray",
        "yellow",
        never=("coat", "gloves"),
    ),
    _json(
        "Extract the product.",
        "The Nimbus kettle (model K-200) is back in stock; each costs 49 dollars.",
        product="Nimbus kettle",
        model="K-200",
        price=49,
    ),
    _find(
        "Who sent the package? Reply with the name only.",
        "Maria signed for the package that Peter had sent; Jonas carried it upstairs.",
        "Peter",
        never=("Maria", "Jonas"),
    ),
    _find(
        "Which product is the cheapest? Reply with its name only.",
        "Alpha costs 19 dollars, Beta costs 12 dollars, Gamma costs 15 dollars.",
        "Beta",
        never=("Alpha", "Gamma"),
    ),
    _find(
        "Write the date of the delivery as YYYY-MM-DD. Reply with the date only.",
        "The order was placed on 2 May 2023 and delivered on 9 June 2023.",
        "2023-06-09",
    ),
)
