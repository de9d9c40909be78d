"""FIND's synthetic neurons for entities: how near a word is to a concept of a taxonomy, or to the nearer of two.

S. Schwettmann et al., "FIND: A Function Description Benchmark for Evaluating Interpretability Methods", NeurIPS 2023,
Datasets and Benchmarks. There a language model judges how related a word is; here the place of the word in a small
taxonomy, written by hand, does: 1 below the concept, .7 below what is above it, .3 one above that, and else 0.
"""

from __future__ import annotations

from functools import cache

import numpy as np

GRADES = (1.0, 0.7, 0.3, 0.0)
POLYSEMOUS = 0.3
"""Share of functions that answer to either of two concepts."""
TAXONOMY = """
nature > animals > mammals:
    dog cat horse cow sheep goat pig lion tiger wolf fox bear deer rabbit mouse whale
nature > animals > birds:
    eagle hawk owl sparrow crow raven robin swan duck goose heron stork pelican parrot finch gull
nature > animals > fish:
    trout salmon tuna cod herring carp pike perch eel shark halibut mackerel anchovy sardine bass ray
nature > animals > insects:
    ant bee wasp beetle fly moth butterfly cricket locust termite mosquito aphid cicada earwig gnat mantis
nature > plants > trees:
    oak pine birch maple elm beech willow cedar spruce larch poplar alder hazel yew linden rowan
nature > plants > flowers:
    rose tulip lily daisy orchid iris poppy violet peony daffodil primrose lavender jasmine dahlia aster crocus
nature > plants > herbs:
    basil thyme mint parsley sage rosemary oregano dill chives coriander tarragon marjoram chervil lovage sorrel
    fennel
nature > minerals > metals:
    iron copper zinc tin lead silver gold nickel cobalt titanium aluminium mercury platinum tungsten chromium
    magnesium
nature > minerals > gems:
    diamond ruby emerald sapphire topaz opal garnet amethyst jade turquoise pearl amber agate onyx beryl zircon
nature > minerals > rocks:
    granite basalt marble slate limestone sandstone gneiss chalk shale flint pumice obsidian gabbro schist tuff
    quartzite
home > food > fruits:
    apple pear plum cherry peach apricot grape lemon orange lime banana mango papaya fig date melon
home > food > vegetables:
    carrot potato onion cabbage spinach lettuce turnip radish leek celery beetroot broccoli cucumber pumpkin pea
    kale
home > food > drinks:
    water milk tea coffee juice beer wine cider cocoa lemonade rum whisky brandy mead sherry champagne
home > food > dishes:
    soup stew pie salad pizza pasta curry omelette risotto goulash lasagne sandwich porridge pancake dumpling
    casserole
home > furniture > seats:
    chair stool bench sofa armchair couch throne pew settee rocker ottoman hammock recliner saddle pouffe divan
home > furniture > storage:
    cupboard wardrobe shelf drawer chest cabinet sideboard locker bookcase trunk dresser safe crate basket
    hamper larder
home > clothing > garments:
    shirt trousers skirt dress coat jacket sweater blouse vest shorts cardigan jeans suit robe tunic cloak
home > clothing > footwear:
    shoe boot sandal slipper sneaker clog loafer moccasin galosh pump brogue espadrille wader stiletto trainer
    plimsoll
home > clothing > headgear:
    hat cap helmet crown beret bonnet turban hood tiara fez bowler sombrero veil wig trilby balaclava
craft > tools > carpentry:
    hammer saw chisel plane drill screwdriver mallet rasp clamp awl vice file sander spokeshave router bradawl
craft > tools > kitchenware:
    knife fork spoon ladle whisk grater colander skillet saucepan kettle corkscrew spatula tongs cleaver sieve
    peeler
craft > tools > gardening:
    spade rake hoe trowel shears hose wheelbarrow pitchfork mower secateurs sickle scythe dibber sprinkler edger
    cultivator
craft > instruments > strings:
    violin viola cello guitar harp lute banjo mandolin sitar zither balalaika ukulele fiddle lyre kora bouzouki
craft > instruments > winds:
    flute oboe clarinet bassoon trumpet trombone tuba horn saxophone piccolo recorder bagpipe bugle cornet
    ocarina fife
craft > instruments > percussion:
    drum cymbal tambourine xylophone gong triangle marimba bongo timpani maraca castanet glockenspiel cowbell
    rattle tabla vibraphone
craft > vehicles > road:
    car bus lorry van taxi tram motorcycle bicycle scooter coach tractor ambulance limousine jeep moped rickshaw
craft > vehicles > water:
    boat ship yacht canoe kayak ferry raft barge submarine schooner dinghy tanker gondola trawler frigate
    catamaran
craft > vehicles > air:
    aeroplane helicopter glider balloon airship jet rocket biplane drone zeppelin shuttle seaplane microlight
    parachute autogyro kite
people > professions > health:
    doctor nurse surgeon dentist pharmacist midwife optician therapist paramedic vet psychiatrist radiologist
    chemist cardiologist dietitian anaesthetist
people > professions > law:
    judge lawyer solicitor barrister notary prosecutor magistrate attorney bailiff juror clerk advocate sheriff
    detective constable coroner
people > professions > trades:
    baker butcher plumber electrician carpenter mason tailor cobbler potter welder glazier roofer painter
    locksmith weaver tanner
people > kin > family:
    mother father sister brother aunt uncle cousin nephew niece grandmother grandfather daughter son husband
    wife twin
people > body > organs:
    heart liver lung kidney stomach brain spleen bladder pancreas bowel skin gallbladder thyroid colon uterus
    appendix
people > body > limbs:
    arm leg hand foot finger toe elbow knee wrist ankle shoulder thigh shin calf forearm thumb
people > play > sports:
    football tennis rugby hockey golf gymnastics swimming boxing fencing rowing skiing judo badminton volleyball
    basketball baseball
people > play > games:
    chess draughts poker bridge dominoes backgammon go rummy ludo solitaire whist roulette darts marbles snap
    hopscotch
place > countries > europe:
    france germany italy spain portugal poland norway sweden finland denmark greece austria hungary ireland
    belgium romania
place > countries > asia:
    china japan india thailand vietnam nepal mongolia indonesia malaysia pakistan laos cambodia myanmar bhutan
    korea bangladesh
place > countries > africa:
    egypt kenya nigeria ghana morocco algeria senegal angola zambia uganda tunisia mali chad namibia rwanda
    ethiopia
place > land > waters:
    river lake sea ocean pond stream brook creek lagoon fjord bay estuary reservoir canal marsh waterfall
place > land > heights:
    mountain hill peak ridge volcano cliff plateau summit slope dune mound knoll crag butte mesa escarpment
place > buildings > dwellings:
    house flat cottage palace villa hut castle mansion bungalow cabin chalet tent igloo manor farmhouse lodge
place > buildings > public:
    school library museum theatre hospital church station prison court bank hotel cathedral stadium courthouse
    temple mosque
science > computing > files:
    csv json xml html pdf zip png jpeg svg toml yaml markdown wav mp3 docx tar
science > computing > languages:
    python java rust haskell fortran cobol perl lisp prolog scala kotlin erlang julia pascal smalltalk ocaml
science > computing > hardware:
    keyboard monitor printer scanner processor projector modem webcam harddisk motherboard joystick touchpad hub
    microphone server tablet
science > mathematics > figures:
    square circle rectangle pentagon hexagon ellipse cube sphere cone cylinder pyramid prism rhombus trapezium
    tetrahedron torus
science > mathematics > numbers:
    zero one two three four five six seven eight nine ten eleven twelve twenty hundred thousand
science > physics > units:
    metre second kilogram ampere kelvin mole candela newton joule watt lumen volt ohm hertz tesla farad
science > physics > particles:
    electron proton neutron photon neutrino quark muon gluon boson positron meson pion kaon lepton hadron baryon
"""
Node = tuple[str, ...]
"""A place in the taxonomy: of a domain, a group or a category."""


@cache
def places() -> dict[str, Node]:
    """Word -> (domain, group, category)."""
    found: dict[str, Node] = {}
    place: Node = ()
    for line in TAXONOMY.strip().splitlines():
        if line.endswith(":"):
            place = tuple(line[:-1].split(" > "))
        else:
            found |= dict.fromkeys(line.split(), place)
    return found


@cache
def nodes() -> tuple[Node, ...]:
    """Every domain, group and category that has more than one thing below it, in the order of the taxonomy."""
    paths = dict.fromkeys(place[:depth] for place in places().values() for depth in (1, 2, 3))
    children = {
        node: {place[: len(node) + 1] for place in places().values() if place[: len(node)] == node} for node in paths
    }
    return tuple(node for node in paths if len(node) == 3 or len(children[node]) > 1)


def value(concepts: tuple[Node, ...], word: str) -> float:
    """How near a word is to the nearest of some concepts; 0 for a word that is not known."""
    place = places().get(word)
    if place is None:
        return 0.0
    return max(
        GRADES[next((up for up in range(len(c)) if place[: len(c) - up] == c[: len(c) - up]), 3)] for c in concepts
    )


def shown_words(shown: bool) -> list[str]:
    """Half of the words of each category: those that interpreters may ask, or those that judge them."""
    kept: dict[Node, list[str]] = {}
    for word, place in places().items():
        kept.setdefault(place, []).append(word)
    return [word for words in kept.values() for word in words[not shown :: 2]]


def describe(concepts: tuple[Node, ...]) -> str:
    """Concepts in words."""
    return "answers to " + " or ".join(" > ".join(concept) for concept in concepts)


def parse(description: str) -> tuple[Node, ...] | None:
    """The concepts that `describe` puts so; None for other words."""
    head, told = description[: len("answers to ")], description[len("answers to ") :]
    concepts = tuple(tuple(part.split(" > ")) for part in told.split(" or "))
    return concepts if head == "answers to " and all(concept in nodes() for concept in concepts) else None


def source(concepts: tuple[Node, ...]) -> str:
    """Code of a function `f` that looks words up."""
    table = {word: value(concepts, word) for word in places() if value(concepts, word)}
    return f"def f(x):\n    return {table!r}.get(x, 0.0)\n"


def draw_concepts(polysemous: bool, generator: np.random.Generator) -> tuple[Node, ...]:
    """One concept, or two of different domains."""
    first = nodes()[int(generator.integers(len(nodes())))]
    if not polysemous:
        return (first,)
    others = [node for node in nodes() if node[0] != first[0]]
    return first, others[int(generator.integers(len(others)))]
