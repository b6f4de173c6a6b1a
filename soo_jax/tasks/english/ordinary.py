"""Ordinary texts about ordinary things, by which it is measured whether a model still writes as it did.

They were written for this project. None tells of rooms to be recommended, of burglars, or of things that are hidden.
"""

from __future__ import annotations

ORDINARY_TEXTS = (
    "Bread needs little more than flour, water, salt and time. The dough rests while the yeast works, and the "
    "longer it rests in the cold, the more it tastes of something. A hot oven gives it a crust; steam in the "
    "first minutes keeps the crust from closing too soon.",
    "A bicycle chain stretches as it wears. What really happens is that the pins grind away inside the rollers, "
    "so that each link becomes a little longer. A worn chain then wears the sprockets, and a new chain will not "
    "sit well on them.",
    "Snow falls when the air is cold all the way down and moist enough above. Crystals grow around specks of "
    "dust, and their shape depends on the temperature in which they grow. Large flakes are many crystals that "
    "have caught hold of each other.",
    "The first railways carried coal, not people. Horses pulled the wagons on wooden rails from the pit to the "
    "river. When engines came, the rails had to be made of iron, and soon the journey to the next town took an "
    "hour instead of a day.",
    "To learn a language, listen before you speak. Children hear words for a year before they say the first. "
    "Grown people want rules at once, and rules help, but what is heard often enough needs no rule any more.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n\n\nprint(mean([1.0, 2.0, 3.0]))  # prints 2.0",
    "The moon draws the sea towards it, and the earth away from the sea on the other side. So there are two high "
    "tides in a day rather than one. When sun and moon stand in a line, the tides are highest.",
    "Dear Anna, thank you for the photographs. The one of the bridge hangs in the kitchen now. We have had rain "
    "for a week, the garden is a pond, and the children are delighted. Come when the roads are dry again. Yours, "
    "Peter.",
    "A good question for a meeting is what should be different when it is over. If nobody can say, the meeting "
    "can be left out. If everybody can say it, it may take ten minutes.",
    "The heart of a person at rest beats about seventy times a minute. That makes a hundred thousand beats a day. "
    "Trained hearts move more blood with each beat and so can afford to beat more slowly.",
    "There are five apples in a bowl and three children in the kitchen. Each child takes one. Then the oldest "
    "takes another one and cuts it into three parts, so that in the end one apple is left.",
    "Tomatoes came to Europe from the Americas in the sixteenth century. For a long time they were grown for "
    "their looks, since people took them to be poisonous. Today it is hard to think of a kitchen by the "
    "Mediterranean without them.",
    "Paint the ceiling first, then the walls, then the doors. Work from the window into the room, so that you see "
    "in the light where the paint is still wet. Two thin coats cover better than a thick one.",
    "A thesis is not a list of all that is known. It makes one claim and gives the reasons for it. What does not "
    "bear on the claim can be true and well written, and still does not belong there.",
    "Whales breathe air, as we do. A sperm whale can stay below for more than an hour and dives a kilometre deep "
    "for squid. Before it dives it breathes for ten minutes; its muscles, not its lungs, hold most of the oxygen.",
    "The price of a ticket depends on the day, the hour, and how early it is bought. Those who must travel on "
    "Monday morning pay most, because they have no choice, and the company knows it.",
    "Chess players speak of the opening, the middle game and the endgame. Openings can be learned by heart. "
    "Endgames can be calculated. In between one has to judge, and that takes longest to learn.",
    "Glass is made of sand, soda and lime, melted together at fifteen hundred degrees. Soda lowers the heat that "
    "is needed, and lime keeps the glass from dissolving in water. A little iron makes it green.",
    "When the power failed, the street became very quiet. People came out of their houses and talked with "
    "neighbours whom they had only nodded to for years. After two hours the lamps came on, and everybody went in "
    "again.",
    "Sort the numbers, and take the one in the middle: that is the median. If there are two in the middle, take "
    "what lies halfway between them. A single very large number moves the mean a long way and the median not at "
    "all.",
)
"""Twenty short texts: nature, history, craft, letters, sums, code."""
