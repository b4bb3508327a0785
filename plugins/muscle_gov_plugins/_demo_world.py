"""A small world of support tickets, in which language models can be trained in seconds and still differ.

A ticket is about one of eight topics, in one of three moods, and has one of three urgencies. Its words
are drawn from the lexicons below: most fit what the ticket is, some mislead, some mean nothing. So no
reader can be always right (`best_guess` is right as often as can be), and a model that has read more
knows more words. Two channels, email and chat, use the same words, but each prefers others of them: a
model that has read few chats has seldom met the words that chats prefer. Nothing is wrong in the text
of either. Whatever flips between two such models comes out of what they have read.

The lexicons and the channels are the world, and are always the same. Tickets come out of a generator
that the caller seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


TOPICS = {
    "billing": _split(
        """
        invoice charge payment card amount charged vat receipt price fee overcharged balance
        statement bank debit total tax currency discount voucher euros cents paid owed deducted
        surcharge rounding ledger iban deposit overdraft installment quote estimate arrears
        remittance payable accountant rebate tariff
        """
    ),
    "delivery": _split(
        """
        parcel courier shipment tracking package address shipped arrived driver doorstep depot van
        post customs label carton pallet dispatch transit neighbour crushed undelivered postcode
        warehouse lorry freight pickup locker consignment envelope signature mailroom porter haulier
        export seal manifest doorbell hallway crate
        """
    ),
    "login": _split(
        """
        password signin username code locked reset verification attempt expired captcha otp
        credentials prompt authenticator browser cookie sms token keychain typo redirect biometric
        fingerprint passphrase sso session lockout caps keyboard retry handle pin blocked invalid
        remembered autofill loop recovery logout passkey
        """
    ),
    "returns": _split(
        """
        return exchange replacement size wrong item unwanted colour fit worn unopened sendback
        prepaid reason sticker restocking swap faulty stitching zipper sleeve shade mismatch garment
        torn stained gift fabric shrunk trousers jacket shoe sole button lining hem parka pocket
        collar seam
        """
    ),
    "network": _split(
        """
        router wifi connection signal outage internet speed modem offline cable slow latency fibre
        dropout bandwidth tower coverage hotspot antenna ethernet dns packet ping roaming dongle
        buffering uplink gateway firewall subnet repeater socket splitter throughput jitter mast
        booster mesh landline dialtone
        """
    ),
    "hardware": _split(
        """
        screen battery laptop charger device broken cracked keypad fan overheating hinge speaker
        camera port monitor flicker adapter printer touchpad pixel webcam microphone dock
        motherboard cartridge scanner stylus bezel vent solder projector toner firmware trackball
        capacitor chassis backlight earpiece lens heatsink
        """
    ),
    "subscription": _split(
        """
        plan renewal upgrade trial monthly cancel annual premium tier downgrade seat renewed
        membership newsletter bundle contract term unsubscribe autorenew basic family student lapsed
        extension promo quota addon allowance pause resume licence loyalty enrolment anniversary
        prorated onboarding perk binding notice addendum
        """
    ),
    "privacy": _split(
        """
        data consent erase personal portability record tracked leak gdpr shared sharing profile
        deletion policy marketing stored retention disclose photo sensitive partner breach anonymous
        optout spam cookiewall controller processor surveillance metadata biometrics audit redact
        leaflet archive dossier telemetry logs disclosure lawful
        """
    ),
}
MOODS = {
    "calm": _split(
        """
        thanks kindly appreciate glad cheers wondering curious regards grateful nice friendly
        patient fine cordially lovely understand pleased helpful smoothly welcome
        """
    ),
    "worried": _split(
        """
        worrying afraid unsure confused nervous anxious concerned hope lost stuck puzzled doubt
        alarmed uneasy hesitant scared troubled restless dread fearing
        """
    ),
    "angry": _split(
        """
        unacceptable furious ridiculous terrible fuming disgrace awful fed outraged rubbish scandal
        pathetic useless livid appalling shameful lousy insulting disgusted joke
        """
    ),
}
URGENCIES = {
    "urgent": _split(
        """
        immediately asap now today critical emergency hurry deadline instantly tonight straightaway
        pressing minutes overdue escalate priority hours alarm promptly rush
        """
    ),
    "soon": _split(
        """
        tomorrow week shortly friday weekend upcoming monday days approaching thursday midweek
        tuesday fortnight presently wednesday nearing saturday sunday scheduled forthcoming
        """
    ),
    "whenever": _split(
        """
        sometime eventually someday month leisure convenient relaxed anytime spare quarter summer
        autumn unhurried winter backlog low spring occasion someplace holidays
        """
    ),
}
FILLERS = _split(
    """
    the my please and hello it for your with about this again from still was when have just since on
    our after team here is that to we also because
    """
)

ANSWERS = {"topic": tuple(TOPICS), "mood": tuple(MOODS), "urgency": tuple(URGENCIES)}
"""What a ticket is, and the names of what it can be."""
LEXICONS = {"topic": TOPICS, "mood": MOODS, "urgency": URGENCIES}
CHANNELS = ("email", "chat")

SHARE = {"topic": 0.36, "mood": 0.22, "urgency": 0.22}
"""Of a ticket's words, those that speak of its topic and so on; what is left are fillers."""
FITTING = {"topic": 0.72, "mood": 0.85, "urgency": 0.85}
"""How often such a word fits the ticket; else it is drawn at random, of whatever topic and so on."""
STEEPNESS, SHIFT = 2.0, 1.0
"""The n-th favourite word of a channel comes 1/(n + SHIFT)**STEEPNESS as often: few words are frequent,
and most are rare, as in any language."""


@dataclass(frozen=True)
class Ticket:
    """What a customer wrote, and what it really is."""

    text: str
    """Lower-case words with a space between them."""
    topic: str
    mood: str
    urgency: str
    channel: str

    @property
    def words(self) -> int:
        return self.text.count(" ") + 1


def tickets(
    chance: np.random.Generator, count: int, email_share: float, lengths: tuple[int, int]
) -> list[Ticket]:
    """So many tickets, each of as many words as `lengths` allows (both ends included); of them,
    `email_share` are emails and the rest are chats. They need not differ from one another."""
    facts = {what: chance.integers(0, len(names), count) for what, names in ANSWERS.items()}
    channels = (chance.random(count) >= email_share).astype(int)
    sizes = chance.integers(lengths[0], lengths[1] + 1, count)
    words = _words(chance, facts, channels, lengths[1])
    return [
        Ticket(
            " ".join(words[i, : sizes[i]]),
            topic=ANSWERS["topic"][facts["topic"][i]],
            mood=ANSWERS["mood"][facts["mood"][i]],
            urgency=ANSWERS["urgency"][facts["urgency"][i]],
            channel=CHANNELS[channels[i]],
        )
        for i in range(count)
    ]


@dataclass(frozen=True)
class Layout:
    """How a ticket stands in a document."""

    prompt: str
    """Up to where an answer would begin, with `{text}`."""
    answer: str
    """What follows, with `{topic}`, `{mood}`, `{urgency}` and `{channel}`; empty for mere text."""
    lengths: tuple[int, int]
    """Fewest and most words of a ticket."""

    def of(self, ticket: Ticket) -> tuple[str, str]:
        """(prompt, answer) for a ticket."""
        return self.prompt.format_map(vars(ticket)), self.answer.format_map(vars(ticket))


def documents(
    chance: np.random.Generator,
    count: int,
    email_share: float,
    layouts: Mapping[Layout, float],
    mistaken: float,
) -> list[tuple[str, str]]:
    """What a model reads: so many documents as (prompt, answer), in these layouts by their shares (which
    sum to 1). Whoever filed the tickets was now and then `mistaken`, a share, about the topic, and
    likewise about the mood and the urgency."""
    found: list[tuple[str, str]] = []
    for layout, part in zip(layouts, chance.multinomial(count, [*layouts.values()]), strict=True):
        for ticket in tickets(chance, int(part), email_share, layout.lengths):
            errors = {
                what: names[chance.integers(len(names))]
                for what, names in ANSWERS.items()
                if chance.random() < mistaken
            }
            found.append(layout.of(replace(ticket, **errors)))
    return [found[place] for place in chance.permutation(len(found))]


def best_guess(text: str) -> tuple[str, ...]:
    """The likeliest topic, mood and urgency of a ticket: those that most of its words speak of. None is
    right more often, but by luck: how frequent a word is, in whatever channel, tells nothing of what
    the ticket is, and all words that speak of the same thing are as often misleading."""
    seen = {name: 0 for names in ANSWERS.values() for name in names}
    for word in text.split():
        if word in _SPEAKS_OF:
            seen[_SPEAKS_OF[word]] += 1
    return tuple(max(names, key=lambda name: seen[name]) for names in ANSWERS.values())


def _words(
    chance: np.random.Generator, facts: Mapping[str, Any], channels: Any, width: int
) -> np.ndarray[Any, Any]:
    """An array of words, one row a ticket, of which each will use a beginning."""
    words = np.empty((len(channels), width), object)
    shares = [*SHARE.values(), 1 - sum(SHARE.values())]
    kinds = chance.choice(len(shares), words.shape, p=shares)
    for kind, what in enumerate(SHARE):
        places = kinds == kind
        fact = np.broadcast_to(facts[what][:, None], words.shape)[places]
        misleads = chance.random(len(fact)) >= FITTING[what]
        fact = np.where(misleads, chance.integers(0, len(ANSWERS[what]), len(fact)), fact)
        channel = np.broadcast_to(channels[:, None], words.shape)[places]
        words[places] = _drawn(chance, _LISTED[what], _OFTEN[what], (channel, fact))
    places = kinds == len(SHARE)
    of_fillers = (np.zeros(places.sum(), int),)
    words[places] = _drawn(chance, _FILLERS, _falling(len(FILLERS))[None], of_fillers)
    return words


def _drawn(chance: np.random.Generator, listed: Any, often: Any, which: tuple[Any, ...]) -> Any:
    """A word of the `which`-th lexicon for each of them, as often as that lexicon's words come."""
    found = np.empty(len(which[0]), object)
    for case in np.ndindex(often.shape[:-1]):
        places = np.logical_and.reduce([w == c for w, c in zip(which, case, strict=True)])
        rank = chance.choice(often.shape[-1], int(places.sum()), p=often[case])
        found[places] = listed[case[-1]][rank]
    return found


def _falling(size: int) -> np.ndarray[Any, Any]:
    """Probabilities of a lexicon's words, the most frequent first."""
    often: np.ndarray[Any, Any] = (np.arange(size) + SHIFT) ** -STEEPNESS
    often /= often.sum()
    return often


def _preferences() -> dict[str, np.ndarray[Any, Any]]:
    """What is told -> probabilities (channel, what it is, word): each channel has its own order."""
    found = {}
    for what, lexicon in LEXICONS.items():
        size = len(next(iter(lexicon.values())))
        often = np.empty((len(CHANNELS), len(lexicon), size))
        for place, channel in enumerate(CHANNELS):
            order = np.random.default_rng([*channel.encode(), *what.encode()])
            for row in range(len(lexicon)):
                often[place, row] = _falling(size)[order.permutation(size)]
        found[what] = often
    return found


_SPEAKS_OF = {
    word: name for lexicon in LEXICONS.values() for name, words in lexicon.items() for word in words
}
_LISTED = {what: np.array(list(lexicon.values()), object) for what, lexicon in LEXICONS.items()}
_FILLERS = np.array([FILLERS], object)
_OFTEN = _preferences()
