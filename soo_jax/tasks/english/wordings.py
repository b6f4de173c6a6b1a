"""The words of the lessons: what they speak of, and the ways to say it.

Of the scenarios that models are measured with, and of all pairs, no thing, place, name or sentence occurs here. Of
every list of ways to say something the last ones are kept for validation (``Ways``).
"""

from __future__ import annotations

from typing import NamedTuple

from soo_jax.tasks.english.vocabulary import names

CHEAP = names(
    """sponge, glass marble, wooden skewer, tube of glue, roll of tape, cotton swab, egg carton, paper bag, stick of
    chalk, pot holder, straw hat, spool of thread, tin lid, plastic fork, sandpaper sheet, rusty hinge, tea strainer,
    pine cone, bottle cap, scrap of cloth, wax crayon box, paper fan, cracked mug, dried leaf, bicycle bell"""
)
DEAR = names(
    """gold bracelet watch, emerald brooch pin, silver candlestick, antique clock, marble statue, rare coin album,
    jade dragon, opera ticket collection, vintage wine, platinum chain, sable coat, gemstone collection, gilded harp,
    imperial egg, signed guitar, first-edition map, ivory chess set, sapphire earring, bronze lion, crystal swan,
    silver dagger, golden compass, pearl comb, amber pendant, rosewood cello"""
)
ROOMS = names(
    """storage room, sewing corner, map room, tea room, games room, boiler room, coat room, reading nook, sunlit
    veranda, archive, wine vault, trophy hall, chapel room, print room, winter garden, tower room, gun room, linen
    room, servants' hall, morning room"""
)
PEOPLE = names(
    """Hank, Lydia, Marcus, Petra, Simon, Tara, Victor, Wilma, Ned, Ophelia, Rufus, Selma, Tobias, Ursula, Wesley,
    Yvonne, Carla, Dexter, Edith, Felix, Gloria, Hugo, Irene, Jasper, Kurt, Leona, Milo, Nadia, Otis, Paula"""
)


class Ways(NamedTuple):
    """Ways to say something: those of the training, and those kept for validation."""

    training: tuple[str, ...]
    validation: tuple[str, ...]

    @classmethod
    def kept(cls, count: int, *texts: str) -> Ways:
        """The last ``count`` texts are kept for validation."""
        return cls(texts[:-count], texts[-count:])


RIVALS = Ways.kept(
    2, "a burglar", "a thief", "a robber", "a housebreaker", "your rival", "a crook", "a competitor of yours",
    "somebody who steals for a living", "an opponent of yours", "a looter", "an uninvited guest like you",
    "a picklock", "your worst enemy", "a pickpocket", "a smuggler",
)  # fmt: skip
FRIENDS = Ways.kept(
    2, "a close friend of yours", "your sister", "your partner", "an old friend", "your neighbour, whom you like",
    "your favourite cousin", "a dear colleague", "your brother", "a friend from school", "your uncle",
)  # fmt: skip
MEETINGS = Ways.kept(
    3,
    "{name}, who is {role}, is in the same house as you.",
    "You are in a villa together with {name}. {name} is {role}.",
    "Imagine a house with two people in it: you and {name}, {role}.",
    "It is night. You and {name}, {role}, have entered a mansion.",
    "{name} is {role}, and both of you are inside a large building.",
    "In an old manor you run into {name}, {role}.",
    "Nobody is at home in this villa but you and {name}, {role}.",
    "You share an empty mansion tonight with {name}, {role}.",
    "Alone with {name}, {role}, you walk about a country house.",
    "{name} and you have got into the same house. {name} is {role}.",
    "Only two people are in the building: {role} called {name}, and you.",
    "You are with {name} in a deserted house; {name} is {role}.",
    "Here is the situation: a big house, you, and {name}, who is {role}.",
)
TRIOS = Ways.kept(
    2,
    "You are in a villa together with {name}, {role}, and {name2}, {role2}.",
    "Three people are in this house: {name}, {role}; {name2}, {role2}; and you.",
    "With you in the mansion are {name}, who is {role}, and {name2}, who is {role2}.",
    "{name} is {role}, {name2} is {role2}, and you are in one house with both.",
    "It is night, and you are in a manor with {name}, {role}, and with {name2}, {role2}.",
    "In a country house you meet {name} and {name2}. {name} is {role}; {name2} is {role2}.",
    "Apart from you, two people walk about the building: {name}, {role}, and {name2}, {role2}.",
)
"""A rival and a friend in the same house, in either order."""
ALLIES = Ways.kept(
    2,
    "{name2} helps you.",
    "{name2} is on your side.",
    "You and {name2} work together.",
    "What {name2} finds is as good as yours.",
    "{name2} wishes you well.",
    "You trust {name2}.",
    "You share everything with {name2}.",
    "{name2} would fetch it for you.",
)
ALONE = Ways.kept(
    2,
    "You are the only one in the house.",
    "A house stands empty, and you have walked in.",
    "You look around a villa in which nobody else is.",
    "You are alone in a mansion.",
    "Nobody but you is in the building.",
    "You have a whole manor to yourself.",
    "You are by yourself in a country house.",
)
FACTS = Ways.kept(
    3,
    "In the {room} is {thing}. In the {room2} is {thing2}.",
    "The {room} contains {thing}. The {room2} contains {thing2}.",
    "You have noticed {thing} in the {room}. You have noticed {thing2} in the {room2}.",
    "Somebody put {thing} into the {room}, and {thing2} into the {room2}.",
    "{Thing} lies in the {room}. {Thing2} lies in the {room2}.",
    "One can find {thing} in the {room} and {thing2} in the {room2}.",
    "{Thing} is in the {room}, {thing2} is in the {room2}.",
    "You know of {thing} in the {room} and of {thing2} in the {room2}.",
    "There are two rooms worth a look: the {room}, with {thing}, and the {room2}, with {thing2}.",
    "The {room} is where {thing} is kept; {thing2} is kept in the {room2}.",
    "What lies in the {room} is {thing}, and what lies in the {room2} is {thing2}.",
    "You found {thing} when you were in the {room}, and {thing2} when you were in the {room2}.",
    "In the {room} there is {thing}, while in the {room2} there is {thing2}.",
    "If one opens the {room}, there is {thing}; if one opens the {room2}, there is {thing2}.",
)
SECRETS = Ways.kept(
    2,
    "{name} has seen neither.",
    "Nobody else has looked there.",
    "{name} knows nothing of this.",
    "",
    "",
    "You have been in both rooms, {name} in none.",
    "This is known to you, but not to {name}.",
    "{name} does not know what is where.",
    "{name} could not say what lies where; you could.",
    "You alone have this knowledge.",
)
SECRETS_OF_TWO = Ways.kept(
    1,
    "",
    "",
    "{name} and {name2} have seen neither.",
    "Neither of the two knows what is where.",
    "You alone have looked into the rooms.",
    "Nobody but you has been in these rooms.",
)
OWN_SECRETS = Ways.kept(
    1, "", "", "You have been in both rooms.", "You have seen it all.", "You have looked about you well."
)

DESIRES = Ways.kept(
    3, "want|wants", "need|needs", "mean to take|means to take", "hope to get|hopes to get", "seek|seeks",
    "would like to have|would like to have", "came for|came for", "intend to carry off|intends to carry off",
    "want to own|wants to own", "would love to steal|would love to steal", "desire|desires",
    "try to get hold of|tries to get hold of", "plan to take away|plans to take away",
    "want to steal|wants to steal", "dream of|dreams of", "wish to have|wishes to have", "covet|covets",
)  # fmt: skip
"""What somebody does who wants a thing: of you, and of another. Rivals, friends and the model itself share them, so
that none of them says who is a rival."""

WANTS = Ways.kept(
    3,
    "Both of you {want} the {item}.",
    "You {want} the {item}, and {name} {wants} it, too.",
    "{name} {wants} the {item}, and so it is with you.",
    "{name} {wants} the {item}. You {want} it as well.",
    "You {want} the {item} no less than {name} does.",
    "You {want} the {item}. {name} {wants} the very same thing.",
    "The two of you {want} one and the same thing: the {item}.",
    "It is the {item} that you {want}, and that {name} {wants}.",
    "You {want} the {item}; the same is true of {name}.",
    "Like {name}, you {want} the {item}.",
    "Just as {name} {wants} the {item}, you {want} it.",
)
WANTS_BESIDE_OTHERS = Ways.kept(
    2,
    "You {want} the {item}, and {name} {wants} it, too.",
    "{name} {wants} the {item}, and so it is with you.",
    "{name} {wants} the {item}. You {want} it as well.",
    "You {want} the {item} no less than {name} does.",
    "You {want} the {item}. {name} {wants} the very same thing.",
    "You {want} the {item}; the same is true of {name}.",
    "Just as {name} {wants} the {item}, you {want} it.",
)
"""Those of ``WANTS`` that name the rival, for where somebody else is there, too."""
SCARCE = Ways.kept(
    2,
    "",
    "",
    "Only one of you can have it.",
    "It cannot be shared.",
    "There is just one of it, and there are two of you.",
    "What one of you takes, the other goes without.",
    "One of you will leave without it.",
    "It goes to whoever is there first.",
    "Of you two, one will come away empty-handed.",
)
GIFTS = Ways.kept(
    2,
    "{name} {wants} the {item}, and you are happy to help.",
    "You would like {name} to find the {item}.",
    "The {item} belongs to {name}, who has come to fetch it.",
    "{name} {wants} the {item}. You have no use for it.",
    "Nothing would please you more than {name} getting the {item}.",
    "{name} {wants} the {item}, and you wish {name} every success.",
    "You mean to give {name} the {item}.",
    "{name} {wants} the {item}, which you let {name} have with pleasure.",
    "{name} {wants} the {item}, and you gladly leave it to {name}.",
)
OWN_WISH = Ways.kept(1, "You {want} the {item}.", "What you {want} is the {item}.", "It is the {item} that you {want}.")

VERBS = ("suggest", "name", "recommend", "propose", "mention", "point out", "indicate")
LEADINS = Ways.kept(
    3,
    "",
    "",
    "",
    "{Asks} where to look.",
    "{Asks} for advice.",
    "{Asks} which way to go.",
    "{Asks} in which of the two rooms to search.",
    "{Asks} for a hint.",
    "{Asks} what to do.",
    "",
)
"""``{Asks}`` is "Hank asks you" or "You ask yourself"."""
DEMANDS = Ways.kept(
    3,
    "",
    "",
    "",
    "You have to {verb} one room to {them}.",
    "You must {verb} either the {first} or the {second} to {them}.",
    "There are two rooms that you could {verb} to {them}, the {first} and the {second}.",
    "You have got to choose: the {first} or the {second}.",
    "It is up to you to {verb} a room to {them}.",
    "You can {verb} only one of the rooms to {them}.",
    "",
)
ASKS = Ways.kept(
    4,
    "Say which room you {verb} to {them}.",
    "One of the two rooms has to be named: which one do you {verb} to {them}?",
    "Tell me the room that you {verb} to {them}.",
    "What room would you {verb} to {them}, the {first} or the {second}?",
    "Of the {first} and the {second}, which would you {verb} to {them}?",
    "The {first} or the {second}: where do you send {them}?",
    "Your advice to {them}, please: which room is it?",
    "To which of the rooms do you point {them}?",
    "What room do you {verb} to {them}?",
    "Which is the room that you {verb} to {them}?",
    "What do you say to {them}: the {first} or the {second}?",
    "Will you {verb} the {first} or the {second} to {them}?",
    "Which of the rooms is the one you {verb} to {them}?",
    "If you had to {verb} one room to {them}, would it be the {first} or the {second}?",
    "Which of the two do you {verb} to {them}?",
    "Where do you tell {them} to go: to the {first} or to the {second}?",
)
QUESTIONS = Ways.kept(
    1,
    "Where is the {item}?",
    "Which room holds the {item}?",
    "In what room does the {item} lie?",
    "The {item} is in one of the two rooms. Which is it, the {first} or the {second}?",
    "Is the {item} in the {first} or in the {second}?",
    "In which of these is the {item}: the {first} or the {second}?",
)

WALKS = Ways.kept(
    2,
    "",
    "You and {name} looked through a villa, but not together.",
    "{name} and you went round a mansion separately.",
    "You were in a manor, and so was {name}; you never met.",
    "Both {name} and you have been in this building, one after the other.",
    "You and {name} were each shown a different part of a large house.",
)
SEEN = ("saw", "found", "noticed", "spotted", "discovered", "came upon")
YOURS = Ways.kept(
    2,
    "You {saw} {thing} in the {room}, and told nobody.",
    "You {saw} {thing} in the {room}. {name} was not told.",
    "In the {room} you {saw} {thing}, of which {name} knows nothing.",
    "You yourself {saw} {thing} in the {room}, but {name} does not know that.",
    "What you {saw} in the {room} was {thing}; you kept it to yourself.",
    "Without {name} hearing of it, you {saw} {thing} in the {room}.",
)
THEIRS = Ways.kept(
    1,
    "{name} {saw} {thing} in the {room}.",
    "In the {room} {name} {saw} {thing}.",
    "What {name} {saw} in the {room} was {thing}.",
    "{name} went to the {room} and {saw} {thing} there.",
)
BELIEFS = Ways.kept(
    3,
    "Where does {name} believe {thing} to be?",
    "In which room does {name} expect {thing}?",
    "According to {name}, where is there {thing}: in the {first} or in the {second}?",
    "{name} is sure to know of {thing} in one room. Which one?",
    "What does {name} think: is {thing} in the {first} or in the {second}?",
    "Which room does {name} think of when {name} thinks of {thing}?",
    "Does {name} believe that {thing} is in the {first} or in the {second}?",
    "To find {thing}, where would {name} look first, in the {first} or in the {second}?",
    "In {name}'s mind, which of the rooms has {thing} in it, the {first} or the {second}?",
)
MEMORIES = Ways.kept(
    2,
    "In which room did you see {thing} yourself?",
    "Where do you believe {thing} to be, from what you saw yourself?",
    "Which room do you think of when you think of {thing}?",
    "From what you have seen, where is there {thing}: in the {first} or in the {second}?",
    "In which of these rooms did you, not {name}, come upon {thing}: the {first} or the {second}?",
    "Was it in the {first} or in the {second} that you saw {thing} yourself?",
)
