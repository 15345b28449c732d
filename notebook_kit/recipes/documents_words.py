"""What the pages of `notebook_kit.recipes.documents` say: labels, questions and values, some of which no training page shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["COST", "FIELDS", "FORM", "INVOICE", "QUANTITY", "RECEIPT", "SELLER", "SUMS", "Field", "Part", "Values"]

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Field:
    """A line of a page.

    Attributes:
        labels: Texts in front of or above the value.
        questions: Questions that the value answers.
        value: The kind of the value, a method of `Values`.
    """

    labels: tuple[str, ...]
    questions: tuple[str, ...]
    value: str


FIELDS: dict[str, Field] = {
    "total": Field(
        ("Total", "Total due", "Amount due", "Grand total", "Balance due", "To pay"),
        ("What is the total?", "How much is the total?", "What is the total amount?", "How much has to be paid?"),
        "money",
    ),
    "subtotal": Field(
        ("Subtotal", "Sub-total", "Net amount", "Net"),
        ("What is the subtotal?", "How much is the subtotal?", "What is the net amount?"),
        "money",
    ),
    "tax": Field(
        ("Tax", "VAT", "Sales tax", "GST"),
        ("What is the tax?", "How much is the tax?", "How much tax was paid?"),
        "money",
    ),
    "date": Field(
        ("Date", "Invoice date", "Issued", "Order date", "Date of issue"),
        ("What is the date?", "When was it issued?", "What is the invoice date?", "When was this bought?"),
        "date",
    ),
    "due": Field(
        ("Due date", "Due", "Pay by", "Payment due"),
        ("What is the due date?", "When is the payment due?", "When does it have to be paid?"),
        "date",
    ),
    "number": Field(
        ("Invoice no.", "Receipt no.", "Order number", "Invoice number", "Number", "No."),
        ("What is the invoice number?", "What is the number?", "What is the order number?"),
        "number",
    ),
    "customer": Field(
        ("Bill to", "Customer", "Invoice for", "Sold to", "Client"),
        ("Who is the invoice for?", "Who is the customer?", "What is the name of the customer?", "Who has to pay?"),
        "person",
    ),
    "phone": Field(
        ("Phone", "Tel", "Telephone", "Phone number"),
        ("What is the phone number?", "What is the telephone number?", "Which number can be called?"),
        "phone",
    ),
    "email": Field(
        ("Email", "E-mail", "Mail"),
        ("What is the email address?", "What is the email?", "What is the e-mail address?"),
        "email",
    ),
    "payment": Field(
        ("Paid by", "Payment", "Payment method", "Method"),
        ("How was it paid?", "What is the payment method?", "What was used to pay?"),
        "payment",
    ),
    "cashier": Field(
        ("Cashier", "Served by", "Server", "Clerk"),
        ("Who is the cashier?", "Who served the customer?", "What is the name of the cashier?"),
        "first_name",
    ),
    "name": Field(
        ("Name", "Full name", "Applicant", "Name of applicant"),
        ("What is the name?", "Who is the applicant?", "What is the full name?", "Who filled in the form?"),
        "person",
    ),
    "birth": Field(
        ("Date of birth", "Born", "Birth date", "Born on"),
        ("What is the date of birth?", "When was the applicant born?", "What is the birth date?"),
        "date",
    ),
    "city": Field(
        ("City", "Town", "Place"),
        ("What is the city?", "Which city is it?", "In which town is it?"),
        "city",
    ),
    "address": Field(
        ("Address", "Street", "Street address"),
        ("What is the address?", "What is the street?", "What is the street address?"),
        "address",
    ),
    "postcode": Field(
        ("Postcode", "ZIP", "Postal code", "ZIP code"),
        ("What is the postcode?", "What is the postal code?", "What is the ZIP code?"),
        "postcode",
    ),
    "country": Field(
        ("Country", "Nationality", "Country of residence"),
        ("What is the country?", "Which country is it?", "What is the nationality?"),
        "country",
    ),
    "job": Field(
        ("Occupation", "Job", "Profession", "Job title"),
        ("What is the occupation?", "What is the job?", "What is the profession?"),
        "job",
    ),
    "employer": Field(
        ("Employer", "Company", "Name of employer"),
        ("Who is the employer?", "What is the company?", "What is the name of the employer?"),
        "company",
    ),
}
SUMS = ("subtotal", "tax", "total")
RECEIPT = ("date", "number", "cashier", "payment", "phone", "customer")
INVOICE = ("date", "due", "number", "customer", "phone", "email", "address", "city", "payment")
FORM = (
    "name",
    "birth",
    "city",
    "address",
    "postcode",
    "country",
    "job",
    "employer",
    "phone",
    "email",
    "date",
    "number",
)
SELLER = ("Who is the seller?", "Which shop is it?", "Who issued it?", "What is the name of the shop?")
COST = ("How much is the {}?", "What does the {} cost?", "What is the price of the {}?", "How much was the {}?")
QUANTITY = ("What is the quantity of the {}?", "How many {} were bought?", "How many {} are there?")

# Words before the bar occur in training, those after it only in tests.
_WORDS = {
    "first": "Anna Ben Carla David Elena Frank Grace Hugo Ines Jakob Kavya Liam Maria Noah Olga Peter Ravi Sara Tom Vera "
    "Yusuf Zoe Amir Lakshmi Chen Fatima George Hana Ivan Julia | Mira Oscar Priya Samuel Leila Victor Nadia Arjun",
    "last": "Adams Brown Costa Dubois Evans Fischer Garcia Hansen Ito Jensen Kumar Lopez Meyer Novak Olsen Patel Quinn Rossi "
    "Smith Tanaka Usman Vogel Wagner Young Reddy Singh Moreau Larsen Kim Silva | Schmidt Rao Bianchi Walker Santos Nguyen Becker",
    "city": "Berlin Madrid Paris Lima Oslo Chennai Tokyo Boston Dublin Vienna Prague Cairo Lagos Sydney Toronto Warsaw "
    "Lisbon Athens Helsinki Geneva | Hyderabad Porto Seattle Zagreb Bergen Leeds",
    "street": "Oak Maple River Hill Garden Station Church Market Park Lake Mill King Queen Forest Bridge School Castle | "
    "Willow Harbour Meadow Orchard Temple",
    "shop": "Corner Golden Green City Sunny Blue Old Royal Fresh Urban Little Happy Silver Central | Northern Crystal Velvet",
    "trade": "Bakery Market Books Foods Tools Garden Kitchen Sports Music Flowers Toys Electronics Pharmacy Café | "
    "Stationery Bicycles Grocers",
    "item": "coffee tea bread milk cheese butter apple banana soup salad pizza pasta juice water cake cookie sandwich "
    "rice eggs honey pen notebook paper lamp chair desk hammer nails paint brush shirt socks shoes hat scarf cable mouse "
    "keyboard battery book map ticket soap towel candle rope seeds | lemonade muffin ruler stapler mango yogurt gloves "
    "charger bucket curry kettle olives",
    "adjective": "red large small fresh green hot iced white black wooden | purple giant",
    "country": "Germany Spain France Peru Norway India Japan Ireland Austria Egypt Nigeria Canada Poland Portugal Greece | "
    "Italy Croatia Kenya Sweden",
    "job": "teacher nurse engineer farmer driver cook painter lawyer student baker doctor tailor clerk gardener | "
    "plumber librarian pilot chemist",
    "payment": "cash card Visa transfer cheque Mastercard invoice voucher | PayPal Maestro",
}
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
_RIMES = [
    "a",
    "e",
    "i",
    "o",
    "u",
    "an",
    "el",
    "in",
    "or",
    "us",
    "ak",
    "et",
    "il",
    "om",
    "er",
    "ane",
    "ith",
    "ol",
    "ea",
    "ing",
]


class Values:
    """Random values, each a text.

    Args:
        part: Training values have words from before the bars above, and half of their names and items are made up, so that a
            model learns to look rather than to remember. Test values have words from after the bars.
        chance: The source of random numbers.
    """

    def __init__(self, part: Part, chance: np.random.Generator) -> None:
        self.part, self.chance = part, chance
        self.date_style, self.money_style, self.number_style = (int(chance.integers(5)) for _ in range(3))

    def __call__(self, kind: str) -> str:
        return getattr(self, kind)()

    def pick(self, *choices: str) -> str:
        """One of the choices."""
        return choices[self.chance.integers(len(choices))]

    def word(self, kind: str) -> str:
        """A word of a kind; in training sometimes a word made up of syllables."""
        known, held_out = (half.split() for half in _WORDS[kind].split("|"))
        if self.part == "test":
            return self.pick(*held_out)
        if kind in ("item", "last", "city", "shop", "first") and self.chance.random() < 0.5:
            count = self.chance.integers(2, 4)
            made_up = "".join(self.pick(*_ONSETS) + self.pick(*_RIMES) for _ in range(count))
            return made_up if kind == "item" else made_up.capitalize()
        return self.pick(*known)

    def digits(self, count: int) -> str:
        return "".join(str(digit) for digit in self.chance.integers(0, 10, count))

    def amount(self, cents: int) -> str:
        """An amount as this page writes amounts."""
        text = f"{cents // 100}.{cents % 100:02d}"
        return (f"${text}", text, text.replace(".", ","), f"€{text}", f"{text}€")[self.money_style]

    def money(self) -> str:
        return self.amount(int(self.chance.integers(100, 90_000)))

    def date(self) -> str:
        year, month, day = self.chance.integers((1950, 1, 1), (2031, 13, 29)).tolist()
        return (
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}/{month:02d}/{year}",
            f"{day} {_MONTHS[month - 1]} {year}",
            f"{_MONTHS[month - 1]} {day}, {year}",
            f"{day:02d}.{month:02d}.{year % 100:02d}",
        )[self.date_style]

    def number(self) -> str:
        code = self.digits(4)
        prefix = self.pick("INV", "A", "R", "NO")
        return (code, f"{prefix}-{code}", f"#{code}", f"{prefix}{code}{self.digits(2)}", f"{code}/{self.digits(2)}")[
            self.number_style
        ]

    def first_name(self) -> str:
        return self.word("first")

    def person(self) -> str:
        return f"{self.word('first')} {self.word('last')}"

    def phone(self) -> str:
        return self.pick("", "+") + "-".join(self.digits(count) for count in (3, 3, 4))

    def email(self) -> str:
        return f"{self.word('first')}@{self.word('shop')}.{self.pick('com', 'org', 'net')}".lower()

    def payment(self) -> str:
        return self.word("payment")

    def city(self) -> str:
        return self.word("city")

    def address(self) -> str:
        kind = self.pick("Street", "Road", "Lane", "Avenue")
        return f"{self.chance.integers(1, 200)} {self.word('street')} {kind}"

    def postcode(self) -> str:
        return self.digits(5)

    def country(self) -> str:
        return self.word("country")

    def job(self) -> str:
        return self.word("job")

    def company(self) -> str:
        return f"{self.word('shop')} {self.word('trade')}"

    def item(self) -> str:
        """A thing to buy, of one or two words."""
        return f"{self.word('adjective')} {self.word('item')}" if self.chance.random() < 0.3 else self.word("item")
