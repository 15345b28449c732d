"""What the voices say: the words of the commands, the words and sentences of the recognizer, and transcripts of recordings.

A capital letter is the letter itself, spoken by its name: "A B" is said as "ay bee", "a bee" as it is read. Transcripts are in
small letters without punctuation.
"""

from __future__ import annotations

import random

__all__ = ["ASTERISK", "COMMANDS", "LETTER_NAMES", "WORDS", "random_text", "transcript"]


def _words(text: str) -> list[str]:
    return text.split()


DIGITS = _words("zero one two three four five six seven eight nine")
COMMANDS = [*DIGITS, *_words("yes no up down left right go stop hello goodbye pause record next help")]
"""The labels of `tiny-commands`. Of the digits, "no", "hello", "goodbye", "pause" and "record" there are recordings of people."""

_NUMBERS = DIGITS + _words(
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety hundred thousand million"
)
_ORDER = _words("first second third last next")
_DAYS = _words("monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday")
_MONTHS = _words("january february march april may june july august september october november december")
_PHONETIC = _words(
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo sierra "
    "tango uniform victor whiskey xray yankee zulu"
)
_COLOURS = _words("red blue green yellow black white brown orange pink purple grey")
_ANIMALS = _words(
    "bear beaver bee bird bison bull camel cat cow crow deer dog dolphin donkey duck elephant fly fox frog giraffe goat "
    "gorilla grasshopper hen horse kangaroo koala lion mouse otter owl penguin pig pigeon rabbit ram rat tiger turkey "
    "whale wombat yak zebra"
)
_THINGS = _words(
    "apple bag ball bed boat book bottle box bread bus car chair clock coat cup door flower garden glass hat house key "
    "kitchen lamp letter light map milk moon music paper phone plane radio river road room ship star sun table train tree "
    "water window"
)
_TELEPHONE = _words(
    "activated added back calling cancelled close deleted disabled dollars dot enabled equals extension family first for "
    "friends from goodbye hello help hours invalid is location message messages minus minute minutes new no number off "
    "old on open password pause play please plus pound press record removed saved second seconds slash sorry space start "
    "stop time to transfer urgent with work yes you your"
)
_NAMES = _words("anna ben david emma jack john lucy mary peter sarah tom")
WORDS = sorted(
    {*_NUMBERS, *_ORDER, *_DAYS, *_MONTHS, *_PHONETIC, *_COLOURS, *_ANIMALS, *_THINGS, *_TELEPHONE, *COMMANDS}
)
"""The words that are also spoken alone."""

LETTER_NAMES = {
    "A": "ay",
    "B": "bee",
    "C": "see",
    "D": "dee",
    "E": "ee",
    "F": "eff",
    "G": "gee",
    "H": "aitch",
    "I": "eye",
    "J": "jay",
    "K": "kay",
    "L": "el",
    "M": "em",
    "N": "en",
    "O": "oh",
    "P": "pee",
    "Q": "cue",
    "R": "are",
    "S": "ess",
    "T": "tee",
    "U": "you",
    "V": "vee",
    "W": "double you",
    "X": "ex",
    "Y": "why",
    "Z": "zee",
}
"""How the names of letters are spelled for programs that speak."""

_SENTENCES = (
    "turn {on} the {thing}",
    "turn the {thing} {on}",
    "switch {on} the {colour} light",
    "please {open} the {thing}",
    "{open} the {thing} please",
    "where is the {thing}",
    "where is my {colour} {thing}",
    "the {animal} is in the {thing}",
    "the {animal} is {colour}",
    "a {colour} {animal}",
    "a {animal}",
    "an {colour} {animal}",
    "the {thing} is {colour}",
    "i can see a {animal}",
    "i can see {digit} {colour} birds",
    "i have a {colour} {thing}",
    "we have {number} minutes",
    "you have {number} new messages",
    "you have {digit} old messages",
    "you are next",
    "press {digit}",
    "press {digit} to {verb} the message",
    "to {verb} this message press {digit}",
    "please press {digit} for {name}",
    "call {name}",
    "call {name} on {day}",
    "message from {name}",
    "{name} is not here",
    "{name} has a {thing} and a {animal}",
    "good morning {name}",
    "good night {name}",
    "hello {name} how are you",
    "how are you today",
    "what time is it",
    "the time is {number} oclock",
    "today is {day}",
    "today is the {ordinal} of {month}",
    "see you on {day}",
    "my number is {digits}",
    "the number is {digits}",
    "number {digits}",
    "the password is {letters}",
    "my name is {name}",
    "go {way} and then {way}",
    "go to the {thing}",
    "play the {ordinal} song",
    "play some music",
    "set a timer for {number} minutes",
    "please try again",
    "please try again {day}",
    "please enter your {secret}",
    "please enter your {secret} now",
    "one moment please",
    "thank you",
    "thank you very much",
    "i am sorry",
    "sorry that is not a valid {secret}",
    "that is not right",
    "is that right",
    "message {number}",
    "{tens} {digit}",
    "{digit} hundred",
    "{digit} thousand",
    "{digit} {ampm}",
)
_CHOICES = {
    "on": ["on", "off"],
    "open": ["open", "close"],
    "verb": ["delete", "save", "play", "hear", "repeat"],
    "way": ["left", "right", "up", "down", "back"],
    "secret": ["password", "number", "name", "extension"],
    "ampm": ["A M", "P M"],
    "thing": _THINGS,
    "animal": _ANIMALS,
    "colour": _COLOURS,
    "digit": DIGITS,
    "number": _NUMBERS[:28],
    "tens": _NUMBERS[20:28],
    "ordinal": _ORDER,
    "day": _DAYS,
    "month": _MONTHS,
    "name": _NAMES,
}


def random_text(chance: random.Random) -> str:
    """A word, a letter, some digits, some letters, or a short sentence.

    Example:
        >>> chance = random.Random(5)
        >>> [random_text(chance) for _ in range(3)]
        ['play the next song', 'map', 'hello tom how are you']
    """
    kind = chance.choices(["word", "letters", "digits", "phonetic", "sentence"], [30, 9, 11, 3, 47])[0]
    if kind == "word":
        return chance.choice(WORDS)
    if kind == "sentence":
        return _filled(chance.choice(_SENTENCES), chance)
    return _several(kind, chance)


def _several(kind: str, chance: random.Random) -> str:
    choices = {"letters": list(LETTER_NAMES), "digits": DIGITS, "phonetic": _PHONETIC}[kind]
    most = {"letters": 4, "digits": 5, "phonetic": 3}[kind]
    return " ".join(chance.choices(choices, k=chance.randint(1, most)))


def _filled(sentence: str, chance: random.Random) -> str:
    words = []
    for word in sentence.split():
        if word in ("{digits}", "{letters}"):
            word = _several(word[1:-1], chance)
        elif word.startswith("{"):
            word = chance.choice(_CHOICES[word[1:-1]])
        words.append(word)
    return " ".join(words)


def transcript(text: str) -> str:
    """What is written for a text: small letters and spaces.

    Example:
        >>> transcript("A penguin."), transcript("A M")
        ('a penguin', 'a m')
    """
    return " ".join("".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split())


# Recordings of Allison Smith for telephones, in Debian's asterisk-core-sounds-en-wav ----------------------------------------

_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ASTERISK: dict[str, str] = {
    **{f"digits/{number}": word for number, word in enumerate(_NUMBERS[:20])},
    **{f"digits/{10 * number}": word for number, word in enumerate(_TENS, 2)},
    **{f"digits/day-{number}": word for number, word in enumerate([_DAYS[6], *_DAYS[:6]])},
    **{f"digits/mon-{number}": word for number, word in enumerate(_MONTHS)},
    **{f"digits/{word}": word for word in _words("hundred thousand million dollars minus oclock pound star")},
    **{f"digits/{word}": word for word in _words("today tomorrow yesterday")},
    "digits/a-m": "A M",
    "digits/p-m": "P M",
    **{f"letters/{letter.lower()}": letter for letter in LETTER_NAMES},
    **{f"letters/{word}": word for word in _words("dash dollar dot equals plus slash space")},
    **{f"phonetic/{word[0]}_p": word for word in _PHONETIC},
    **{
        name: name
        for name in _words(
            "activated added calling cancelled disabled enabled extension for goodbye hello hours is "
            "location minute minutes number removed second seconds sorry time with your"
        )
    },
    "dictate/pause": "pause",
    "dictate/record": "record",
    "im-sorry": "i'm sorry",
    "hello-world": "hello world",
    "one-moment-please": "one moment please",
    "please-try-again": "please try again",
    "telephone-number": "telephone number",
    "you-entered": "you entered",
    "is-set-to": "is set to",
    "is-in-use": "is in use",
    "vm-Family": "family",
    "vm-Friends": "friends",
    "vm-Old": "old",
    "vm-Urgent": "urgent",
    "vm-Work": "work",
    "vm-and": "and",
    "vm-deleted": "deleted",
    "vm-extension": "extension",
    "vm-first": "first",
    "vm-for": "for",
    "vm-from": "from",
    "vm-goodbye": "goodbye",
    "vm-last": "last",
    "vm-message": "message",
    "vm-messages": "messages",
    "vm-minutes": "minutes",
    "vm-no": "no",
    "vm-password": "password",
    "vm-press": "press",
    "vm-received": "received",
    "vm-saved": "saved",
    "vm-youhave": "you have",
}
"""File -> text, of the prompts of one to three words."""
