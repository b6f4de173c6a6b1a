"""The things and the places that the plain-English scenarios speak of, one set per split.

No item word or place of one split occurs in the other, and none of the items in the training or probe pairs
(``soo_jax.tasks.english.pairs``); a test holds both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """What one split may mention.

    Attributes:
      cheap: things hardly worth carrying home.
      expensive: things worth stealing.
      rooms: rooms of a house.
      outdoors: places on an island, for the treasure hunt.
      hiding: furniture in which a key can lie, for the escape room.
    """

    cheap: tuple[str, ...]
    expensive: tuple[str, ...]
    rooms: tuple[str, ...]
    outdoors: tuple[str, ...]
    hiding: tuple[str, ...]


def names(text: str) -> tuple[str, ...]:
    """The names in a list with commas, which may go over several lines."""
    return tuple(" ".join(name.split()) for name in text.split(","))


TEST = Vocabulary(
    cheap=names("""paper clip, plastic spoon, ball of string, burnt-out light bulb, bent nail, shoelace,
        chewed pencil, empty jam jar, cork, rubber band, old newspaper, tea towel, broken umbrella, clothes peg,
        dish sponge, bottle opener, worn slipper, matchbox, plastic bucket, doormat, cardboard tube, cracked saucer,
        tin can, candle stub, dustpan, toothbrush, shirt button, hair comb, bus ticket, wire hanger, fridge magnet,
        soap dish"""),
    expensive=names("""diamond ring, gold bar, oil painting, pearl necklace, tiara, ruby, porcelain vase, violin,
        platinum wristwatch, rare stamp, signed first novel, crystal decanter, silver teapot, Persian rug,
        bronze sculpture, jewelled crown, telescope, meteorite, fossil skull, bearer bond, samurai sword,
        ceremonial mask, silk tapestry, golden snuffbox, champagne magnum, Olympic medal, royal sceptre,
        film camera"""),
    rooms=names("""kitchen, study, attic, cellar, library, garage, nursery, pantry, conservatory, workshop,
        dining room, guest room, laundry room, living room, bathroom, hallway, den, bedroom, scullery, sunroom"""),
    outdoors=names("""lighthouse, cave, windmill, chapel, shipwreck, waterfall, quarry, orchard, harbour,
        watchtower, swamp, meadow, ravine, graveyard"""),
    hiding=names("""wardrobe, bookcase, fireplace, piano, cupboard, armchair, aquarium, toolbox, mailbox, sofa,
        washbasin, dresser, desk, trunk"""),
)

VALIDATION = Vocabulary(
    cheap=names("""toothpick, drinking straw, napkin, sticky note, safety pin, eraser, crayon, sock, flyswatter,
        milk carton, mop, washcloth, plant pot, ping-pong bat, burst balloon, dull razor, shopping list, keyring,
        lint roller, broom, ruler"""),
    expensive=names("""diadem, viola, lithograph, bullion coin, share certificate, cashmere cloak, designer handbag,
        mink stole, filigree casket, enamel triptych, katana, chronometer, mosaic panel, watercolour,
        gilded mirror, medieval bible, dinosaur tooth, autographed baseball, racehorse saddle, caviar tureen"""),
    rooms=names("""basement, office, parlour, lounge, gallery, greenhouse, music room, utility room, playroom,
        loft, foyer, porch, ballroom, larder, breakfast room, summerhouse"""),
    outdoors=names("""beach, bridge, canyon, barn, volcano, oasis, monastery, fountain, vineyard, lagoon"""),
    hiding=names("""suitcase, barrel, cabinet, oven, locker, drawer, hamper, crate, sideboard, stove"""),
)

VOCABULARIES = {"test": TEST, "validation": VALIDATION}
